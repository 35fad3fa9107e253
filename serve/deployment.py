"""The endpoint on Ray Serve: doors with the API and no model, replicas of the model with an engine each, one trainer.

    serve run serve.deployment:app                  # or folder=/shared/endpoint backbone=...: settings of `ServeConfig`
    python -m serve --config endpoint.json          # the same, with our own file

Ray's multiplexing is not used: concepts are rows in a batch, and the header by which a client could steer it does not get past the
door. Deadlines are the engine's; Ray's request timer, which cuts streams without a word, stays off or above them.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.api.app import create_app
from serve.api.state import House
from serve.client import AnswerEvent, Ask, Draw, DrawEvent, ModelInfo
from serve.config import LISTED, ServeConfig, from_dict
from serve.counted import Counted, HttpCounters
from serve.doorstep import Doorstep
from serve.engine_client import EngineClient
from serve.folder import Folder
from serve.follower import Follower
from serve.hot import HotConcepts
from serve.metrics import Numbers
from serve.naming import hot_names
from serve.pulse import Pulse
from serve.ray_metrics import RayMetrics
from serve.ray_trainer import Teacher
from serve.refusal import Refusal
from serve.replica_client import Lost, ReplicaClient, of_ours
from serve.training import NoTrainer, RunFolder, Trainer
from unictokens.backbones import load_backbone
from unictokens.backbones.base import Turn
from unictokens.concepts.prompt import Prompt
from unictokens.errors import UniCTokensError
from unictokens.settings import override, to_dict

NAME = "unictokens"
PUBLISH = 5.0
"""Seconds between two times that numbers are told to Ray."""
RAYS_REPORT, RAYS_LOOK_BACK = 10.0, 30.0
"""Seconds between reports of a queue's length, and over which Ray takes their mean: growing sooner needs shorter ones."""
STOPPED = 30.0
"""Seconds a trainer gets to end a run that is deleted."""


class Model:
    """One engine on one model. A request's events go out as they come, `Lost` last where there is no result."""

    def __init__(self, settings: dict[str, Any]) -> None:
        config = from_dict(settings)
        backbone = load_backbone(config.backbone, device=place(config.device), precision=config.precision)
        self._client = EngineClient.over(backbone, config.engine)
        self._users = Folder(Path(config.folder)).open_users(config.database) if config.hot else None
        self._hot = (
            None if self._users is None else HotConcepts(self._client.concepts, self._users, hot_names(config.hot))
        )
        self._pulse = Pulse(self._client.counters)
        self._telling = asyncio.ensure_future(_tell(Numbers(engine=self._client.counters)))

    async def info(self) -> ModelInfo:
        """What is served."""
        return self._client.info

    async def question_tokens(self, turns: tuple[Turn, ...], longest: int) -> int:
        """Tokens of a conversation; see `Client`."""
        return await asyncio.to_thread(self._client.question_tokens, turns, longest)

    async def drawing_tokens(self, prompt: Prompt) -> int:
        """Tokens of a drawing prompt; see `Client`."""
        return await asyncio.to_thread(self._client.drawing_tokens, prompt)

    async def answer(self, request: Ask) -> AsyncGenerator[AnswerEvent | Lost]:
        """Accepted, pieces, Answered."""
        async with aclosing(_events(self._client.answer(request))) as events:
            async for event in events:
                yield event

    async def draw(self, request: Draw) -> AsyncGenerator[DrawEvent | Lost]:
        """Accepted, sketches, Drawn."""
        async with aclosing(_events(self._client.draw(request))) as events:
            async for event in events:
                yield event

    async def forget(self, concept: str) -> None:
        """Drop a concept's rows."""
        self._client.forget(concept)

    async def numbers(self) -> dict[str, float]:
        """What the engine has counted, by dotted names."""
        return self._client.counters.flat()

    def check_health(self) -> None:
        """Raises ServeError when the engine is dead, stuck or broken; Ray then starts another replica."""
        self._pulse.check(self._client.alive)

    def __del__(self) -> None:
        # Ray calls this when the last request is done; a constructor that failed has left nothing behind.
        if hasattr(self, "_telling"):
            if self._hot is not None:
                self._hot.close()
            if self._users is not None:
                self._users.keys.database.close()
            self._client.close()


class Doors:
    """The API over the replicas of the model."""

    def __init__(self, settings: dict[str, Any], model: DeploymentHandle, teacher: DeploymentHandle | None) -> None:
        self._config = from_dict(settings)
        self._model = model
        self._trainer: Trainer = NoTrainer() if teacher is None else RemoteTrainer(teacher)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """What Ray hands requests to."""
        counters = HttpCounters()
        return Counted(Doorstep(Opened(self._open, counters), self._config.doors.open), counters)

    @contextlib.asynccontextmanager
    async def _open(self, counters: HttpCounters) -> AsyncIterator[ASGIApp]:
        """The app, once a replica of the model has said what it is; at the end its background work stops."""
        folder = Folder(Path(self._config.folder))
        users = folder.open_users(self._config.database)
        client = ReplicaClient(self._model, await self._model.info.remote())
        house = House(client=client, users=users, trainer=self._trainer, limits=self._config.limits)
        registries, follower = self._config.registries, None
        if registries is not None:  # all doors have one, of which one looks, until its door ends
            follower = Follower(users, lambda: client.info.fingerprint, folder.follower, registries.every)
        tasks = [asyncio.ensure_future(work) for work in (client.watch(), _tell(Numbers(http=counters)))]
        try:
            yield create_app(house)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if follower is not None:
                await asyncio.to_thread(follower.close)
            users.keys.database.close()


class Opened:
    """An application that exists between the start and the end of its server."""

    def __init__(self, open_app: Any, counters: HttpCounters) -> None:
        self._open = open_app
        self._counters = counters
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        assert self._app is not None, "the server sends requests after the start"
        await self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self._open(self._counters) as self._app:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


class RemoteTrainer:
    """The teacher as a `Trainer`. Not in the event loop."""

    def __init__(self, teacher: DeploymentHandle) -> None:
        self._teacher = teacher

    def start(self, folder: RunFolder, store: Path, name: str) -> None:
        """Queue a run."""
        self._ask(lambda: self._teacher.start.remote(str(folder.path), str(store), name))

    def cancel(self, folder: RunFolder) -> None:
        """End a run."""
        self._ask(lambda: self._teacher.cancel.remote(str(folder.path)))

    def _ask(self, call: Any) -> None:
        try:
            call().result(timeout_s=STOPPED + 30.0)
        except RayTaskError as error:
            raise of_ours(error) from error
        except (RayActorError, TimeoutError) as error:
            raise Refusal(503, "trainer_away", "nobody trains now: try again later", retry_after=30) from error


def application(config: ServeConfig) -> serve.Application:
    """All deployments, wired."""
    settings, models, doors, teaching = to_dict(config), config.models, config.doors, config.teaching
    many: dict[str, Any] = {"num_replicas": models.fewest}
    if models.most > models.fewest:
        many = {
            "autoscaling_config": {
                "min_replicas": models.fewest,
                "max_replicas": models.most,
                "target_ongoing_requests": models.busy or config.working,
                "upscale_delay_s": models.grow_after,
                "downscale_delay_s": models.shrink_after,
                "look_back_period_s": look_back(models.grow_after),
            }
        }
        if models.grow_after < RAYS_REPORT:  # a field that Ray means to replace, so only where it is needed
            many["autoscaling_config"]["metrics_interval_s"] = models.grow_after / 2
    full = {"status_code": 429, "retry_after_s": 2}
    model = serve.deployment(
        Model,
        name="model",
        max_ongoing_requests=config.inside,
        max_queued_requests=doors.open,
        backpressure_config=full,
        max_surge_percent=models.surge,
        graceful_shutdown_timeout_s=models.drain_seconds,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=5,
        health_check_timeout_s=30,
        ray_actor_options={"num_cpus": models.cpus, "num_gpus": models.gpus},
        **many,
    ).bind(settings)
    teacher = None
    if teaching is not None:
        teacher = serve.deployment(
            Teacher,
            name="teacher",
            num_replicas=1,
            max_surge_percent=0,
            max_ongoing_requests=16,
            max_queued_requests=64,
            graceful_shutdown_timeout_s=STOPPED * 2,
            ray_actor_options={"num_cpus": 0},  # it waits; its runs ask for what they need
        ).bind(settings)
    return serve.deployment(
        serve.ingress()(Doors),
        name="doors",
        num_replicas=doors.replicas,
        # The door itself says no, in the API's words.
        max_ongoing_requests=doors.open + doors.waiting,
        max_queued_requests=doors.waiting,
        backpressure_config=full,
        max_surge_percent=100,
        graceful_shutdown_timeout_s=models.drain_seconds,
        graceful_shutdown_wait_loop_s=0.5,
        ray_actor_options={"num_cpus": doors.cpus},
    ).bind(settings, model, teacher)


def look_back(grow_after: float) -> float:
    """Seconds of a queue's past that decide: no longer than they must be, and longer than a report takes to come."""
    return grow_after if grow_after < RAYS_REPORT else min(RAYS_LOOK_BACK, max(1.5 * RAYS_REPORT, grow_after))


def app(given: dict[str, Any]) -> serve.Application:
    """What `serve run serve.deployment:app` and a RayService build: settings as a tree, or at dotted paths.

    Raises ConfigError.
    """
    return application(override(ServeConfig(), given, LISTED))


def start(config: ServeConfig) -> None:
    """Begin to serve, or change what is served, on the Ray that is connected; returns when it is up."""
    options = {"host": config.http.host, "port": config.http.port, "request_timeout_s": config.http.request_timeout}
    logs = LoggingConfig(enable_access_log=False)
    serve.start(proxy_location="EveryNode", http_options=options, logging_config=logs)
    serve.run(application(config), name=NAME, route_prefix="/", logging_config=logs)


def stop() -> None:
    """End the endpoint; requests that are inside finish."""
    serve.shutdown()


def place(device: str) -> str:
    """`auto` as a device."""
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


async def _events(events: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
    async with aclosing(events):
        try:
            async for event in events:
                yield event
        except UniCTokensError as error:
            yield Lost(error)


async def _tell(numbers: Numbers) -> None:
    """Tell Ray a replica's numbers, for ever."""
    metrics = RayMetrics(numbers, serve.get_replica_context().replica_tag)
    while True:
        metrics.publish()
        await asyncio.sleep(PUBLISH)
