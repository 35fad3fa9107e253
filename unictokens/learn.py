"""Learning one concept from beginning to end: planned under a stable name, trained, tracked and published.

Both hosts of runs use it: the command line alone, and every lane of a cluster job.
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from unictokens.config import RunConfig, config_hash
from unictokens.data.records import ConceptRecord
from unictokens.errors import StorageError, TrainingError
from unictokens.lookup import resolve
from unictokens.methods.base import METHODS, Method, Setting
from unictokens.methods.draws import SeededDraws
from unictokens.output import Output
from unictokens.storage.workspace import Workspace
from unictokens.tracking.base import Status, Tracker
from unictokens.training.branch import Branch, follow_branch
from unictokens.training.checkpoint import Identity
from unictokens.training.engine import Engine
from unictokens.training.pack import train_pack
from unictokens.training.run import BUNDLE_FILE, Run
from unictokens.training.session import Progress, Session

log = logging.getLogger(__name__)

HASH_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """One concept with one configuration, under a name that only these (and the concept's data) decide.

    stages  names of the stages and their epochs, in order
    branch  another run after whose first stages this one begins, if that has got there; it changes no result
    """

    name: str
    concept: str
    config: RunConfig
    config_hash: str
    dataset_digest: str
    stages: tuple[tuple[str, int], ...]
    branch: Branch | None = None

    def done(self, progress: Progress) -> float:
        """Share of all epochs that is behind, 0 to 1."""
        before = 0
        for stage, epochs in self.stages:
            if stage == progress.stage:
                break
            before += epochs
        within = progress.step / progress.steps if progress.steps else 0.0
        return min(1.0, (before + progress.epoch - 1 + within) / sum(epochs for _, epochs in self.stages))


def plan_run(record: ConceptRecord, config: RunConfig, dataset_digest: str = "") -> RunPlan:
    """The run that teaches `record` with `config`.

    dataset_digest  the record's, where it is known already
    Raises ConfigError for settings that the method cannot follow, StorageError for an unreadable picture.
    """
    return plan_known(record.name, dataset_digest or record.digest(), config, config_hash(config))


def plan_known(concept: str, dataset_digest: str, config: RunConfig, settings: str) -> RunPlan:
    """The run that teaches a concept whose data and configuration (hash `settings`) are known by their digests already.

    Raises ConfigError for settings that the method cannot follow.
    """
    method: Method = resolve(METHODS, config.method, "method")()
    stages = tuple((stage.name, stage.config.epochs) for stage in method.stages(config))
    digest = hashlib.sha256(f"{concept} {settings} {dataset_digest}".encode()).hexdigest()[:HASH_DIGITS]
    return RunPlan(
        name=f"{concept[: 63 - HASH_DIGITS]}-{digest}",
        concept=concept,
        config=config,
        config_hash=settings,
        dataset_digest=dataset_digest,
        stages=stages,
    )


@dataclass(frozen=True, kw_only=True)
class Learned:
    """How a run ended: the version it was published as (None when its host stopped it), its last epoch's mean losses.

    seconds  wall time of training steps, all sessions of the run together
    """

    name: str
    concept: str
    status: Status
    version: int | None
    stage: str
    epoch: int
    losses: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def published_version(output: Output, plan: RunPlan, fingerprint: str = "") -> int | None:
    """The version under which this very run (settings and data alike) is in the store already, or None.

    fingerprint  of the backbone, where it is known: rows that were learned on other weights under its name do not count
    """
    known = output.store.find(plan.concept, plan.config_hash, plan.dataset_digest, fingerprint or None)
    return None if known is None else known.version


class Learning:
    """A run on its way from its plan to the store; whoever trains it (a pack) hands it back to `finish` or `fail`."""

    def __init__(
        self,
        engine: Engine,
        record: ConceptRecord,
        plan: RunPlan,
        output: Output,
        *,
        tracker: Tracker,
        session: Session,
        created: str = "",
        workspace: Workspace | None = None,
    ) -> None:
        """Continues what the run folder holds.

        tracker  told of everything and closed, however the run ends
        session  the host: told of progress, may stop the run after an epoch, or have it leave after a step
        created  UTC time for the concept's card
        workspace  `output.open_run(plan.name)`, where the tracker writes into its folder too
        Raises StorageError for a picture or a kept state that cannot be read.
        """
        self.plan = plan
        self._output = output
        self._tracker = tracker
        setting = Setting(engine.backbone, record, plan.config, SeededDraws(plan.config.seed), engine.codes)
        self._fingerprint = engine.backbone.info.fingerprint
        self._workspace = workspace
        try:
            self._workspace = kept = output.open_run(plan.name) if workspace is None else workspace
            folder = kept.folder
            self._begin_at_branch(folder, engine)
            self.run = Run(
                engine,
                setting,
                folder,
                tracker=tracker,
                session=session,
                created=created,
                saved=kept.push,
            )
        except BaseException:
            self._close("failed")
            raise

    def _begin_at_branch(self, folder: Path, engine: Engine) -> None:
        """Where another run has learned the first stages already, begin there; its damage is no reason to fail."""
        branch, plan = self.plan.branch, self.plan
        if branch is None:
            return
        identity = Identity(plan.concept, plan.config_hash, plan.dataset_digest, engine.backbone.info.fingerprint)
        try:
            parent = self._output.open_run(branch.run)
            follow_branch(branch, parent.folder, folder, plan.config, identity)
            parent.drop()
        except (StorageError, TrainingError) as error:
            log.warning("'%s' trains from the start: %s", plan.name, error)

    def finish(self, confirm: Callable[[], None] | None = None) -> Learned:
        """After the run left its pack in peace: publish what it learned, unless its host stopped it.

        confirm  asked right before publishing; raises Withdrawn when the run is somebody else's by now
        Raises StorageError.
        """
        status: Status = "failed"
        try:
            result = self.run.result()
            version = None
            if result.bundle is not None:
                # A run that was killed between publishing and saying so must not be published twice.
                version = published_version(self._output, self.plan, self._fingerprint)
                if version is None:
                    if confirm is not None:
                        confirm()
                    version = self._output.store.publish(result.bundle, once=True)
                assert self._workspace is not None
                self._tracker.published(self.plan.concept, version, self._workspace.folder / BUNDLE_FILE)
            status = "stopped" if result.bundle is None else "finished"
            return Learned(
                name=self.plan.name,
                concept=self.plan.concept,
                status=status,
                version=version,
                stage=result.stage,
                epoch=result.epoch,
                losses=result.losses,
                seconds=result.seconds,
            )
        finally:
            self._close(status)

    def fail(self) -> None:
        """After the run left its pack with an error."""
        self._close("failed")

    def leave(self) -> None:
        """After the host took the run away; somebody else will go on with it."""
        self._close("stopped", ours=False)

    def _close(self, status: Status, ours: bool = True) -> None:
        # An error while closing must not hide the error that ended the run.
        try:
            self._tracker.close(status)
        except StorageError as error:
            log.warning("the tracker of '%s' did not close: %s", self.plan.name, error)
        if self._workspace is None:
            return
        try:
            if ours:
                self._workspace.push()
        except (StorageError, TrainingError) as error:  # the latter from a host that has given the run to somebody else
            log.warning("the last events of '%s' were not kept: %s", self.plan.name, error)
        self._workspace.drop()


def learn_concept(
    engine: Engine,
    record: ConceptRecord,
    plan: RunPlan,
    output: Output,
    *,
    tracker: Tracker,
    session: Session,
    created: str = "",
    workspace: Workspace | None = None,
) -> Learned:
    """Train one concept alone and publish it; see `Learning`. Raises what ended the run, and StorageError."""
    learning = Learning(
        engine, record, plan, output, tracker=tracker, session=session, created=created, workspace=workspace
    )
    waiting = [learning.run]
    for ended in train_pack(engine, lambda: waiting.pop() if waiting else None, width=1):
        if ended.error is not None:
            learning.fail()
            raise ended.error
    return learning.finish()
