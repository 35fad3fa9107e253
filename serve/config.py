"""All settings of the endpoint on a Ray cluster, as one tree of frozen dataclasses, and the rules between them.

Ray drops keys of its own files that it does not know; here every unknown key is refused by its name.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from serve.engine.settings import EngineSettings
from serve.limits import Limits
from serve.naming import hot_names
from unictokens.config import Precision
from unictokens.errors import ConfigError
from unictokens.settings import override as override_tree
from unictokens.settings import parse_settings, read, to_dict

STRICT = ConfigDict(extra="forbid")
LISTED = "run 'python -m serve config' to list all settings"
SLACK = 10.0
"""Seconds beyond a request's own time that whatever stands around it must wait."""

Count = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class Models:
    """Replicas of the model, each with an engine.

    fewest, most     how many there are; between them as many as queues ask for
    busy             requests of one replica, waiting ones too, above which there should be more replicas; None for as many as
                     its engine works at
    grow_after, shrink_after
                     seconds for which that must hold
    cpus, gpus       of one replica
    surge            percent of the replicas that an update may start before old ones end; 0 where no GPU is free for that
    drain_seconds    what a replica that is to end gets for the requests it has
    """

    __pydantic_config__ = STRICT
    fewest: Count = 1
    most: Count = 1
    busy: Seconds | None = None
    grow_after: Seconds = 10.0
    shrink_after: Seconds = 300.0
    cpus: Amount = 1.0
    gpus: Amount = 0.0
    surge: Annotated[int, Field(ge=0, le=100)] = 100
    drain_seconds: Seconds = 140.0


@dataclass(frozen=True, kw_only=True)
class Doors:
    """Replicas of the door: the API, users and keys, no model.

    replicas         how many
    open             requests inside one of them at a time; more are told to come back (429)
    waiting          requests that may stand there until they are told so; beyond them Ray refuses, without the API's words
    """

    __pydantic_config__ = STRICT
    replicas: Count = 1
    open: Count = 512
    waiting: Count = 1024
    cpus: Amount = 0.5


@dataclass(frozen=True, kw_only=True)
class Http:
    """Where Ray listens. Whoever comes in needs a key, whatever the host.

    request_timeout  seconds after which Ray cuts a request, streams too; None leaves that to `limits.deadline`
    """

    __pydantic_config__ = STRICT
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    request_timeout: Seconds | None = None


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """How uploaded concepts are trained: each run is a task of Ray.

    config           a preset or a file, as of `python -m unictokens train`
    negatives        random pictures that no uploaded concept is in
    together         runs at a time; others wait, in the order in which they came
    cpus, gpus       of one run, taken while it trains
    """

    __pydantic_config__ = STRICT
    config: str = "demo"
    negatives: str | None = None
    together: Count = 1
    cpus: Amount = 1.0
    gpus: Amount = 0.0


@dataclass(frozen=True, kw_only=True)
class Registries:
    """Registries of models that concepts follow (`python -m serve users follow`); one door looks at them.

    every            seconds between two looks; what is new is served within five if it is 2
    """

    __pydantic_config__ = STRICT
    every: Seconds = 2.0


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """The endpoint.

    folder           concepts, users, audit log: one that all machines of the cluster see
    database         the users' database, in place of <folder>/users.sqlite
    backbone         mini, a folder or a hub name; device: auto, cpu, cuda or spread
    teaching         None: this endpoint does not train
    registries       None: concepts that follow a registry keep the versions they have
    hot              concepts that each replica loads when it starts and keeps, as "ada/bo"; of others the least used go first
    """

    __pydantic_config__ = STRICT
    folder: str = "endpoint"
    database: str | None = None
    backbone: str = "mini"
    device: str = "auto"
    precision: Precision = "fp32"
    models: Models = Models()
    doors: Doors = Doors()
    http: Http = Http()
    teaching: Teaching | None = Teaching()
    registries: Registries | None = Registries()
    hot: tuple[str, ...] = ()
    engine: EngineSettings = EngineSettings()
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        hot_names(self.hot)
        models, longest = self.models, self.limits.deadline
        whole = self.limits.body_seconds + longest + SLACK
        if models.fewest > models.most:
            raise ConfigError(
                f"setting 'models.fewest' is {models.fewest}, 'models.most' is {models.most}: choose fewest <= most"
            )
        if longest > self.engine.longest_seconds:
            raise ConfigError(
                f"setting 'limits.deadline' is {longest:g} s, but the engine ends every request after "
                f"'engine.longest_seconds' = {self.engine.longest_seconds:g} s: choose deadline <= longest_seconds"
            )
        if models.drain_seconds < longest + SLACK:
            raise ConfigError(
                f"setting 'models.drain_seconds' is {models.drain_seconds:g}, a request may take {longest:g} s: choose "
                f"{longest + SLACK:g} or more, or an update cuts requests off"
            )
        if self.http.request_timeout is not None and self.http.request_timeout < whole:
            raise ConfigError(
                f"setting 'http.request_timeout' is {self.http.request_timeout:g}, the longest request takes {whole:g} s "
                f"(body, deadline, slack): choose more, or null; Ray's timer cuts streams without a word"
            )
        if self.engine.concepts < self.limits.concepts:
            raise ConfigError(
                f"setting 'limits.concepts' is {self.limits.concepts}, the engine takes {self.engine.concepts} "
                "('engine.concepts'): choose limits.concepts <= engine.concepts"
            )

    @property
    def working(self) -> int:
        """Requests that one engine works at."""
        return self.engine.canvases + self.engine.speeches

    @property
    def inside(self) -> int:
        """Calls that one replica may have: what its engine works at and lets wait, and room for short questions beside.

        Requests wait in the engine and not before it: only there they are ordered fairly between users.
        """
        return self.working + 2 * self.engine.waiting + 64


def from_dict(values: Mapping[str, Any]) -> ServeConfig:
    """Read settings. Raises ConfigError that names the dotted path of the first wrong or unknown one."""
    return read(ServeConfig, values, LISTED)


def load_config(path: Path | None, pairs: list[str]) -> ServeConfig:
    """A JSON file (what it does not name stays as it is), then `a.b=value` pairs over it. Raises ConfigError."""
    values: Any = {}
    if path is not None:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"'{path}' cannot be read ({error.strerror}): give a file of settings") from error
        except ValueError as error:
            raise ConfigError(f"'{path}' is not valid JSON ({error}): start from 'python -m serve config'") from error
        if not isinstance(values, dict):
            raise ConfigError(f"'{path}' holds no settings: start from 'python -m serve config'")
    return override_tree(from_dict(values), parse_settings(pairs), LISTED)


def to_json(config: ServeConfig) -> str:
    """As a file that `load_config` reads."""
    return json.dumps(to_dict(config), indent=2)
