"""Runs that begin where another run of the same concept ended a stage, because until there both learn the same.

An ablation of the last stage needs the first stages once, not once per variant. The state is copied under the identity of the
run that goes on, so that its folder is what it would be had it trained alone from the start.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from unictokens.config import RunConfig, to_dict
from unictokens.lookup import resolve
from unictokens.methods.base import METHODS, Method, Stage
from unictokens.training.checkpoint import Checkpoint, Cursor, Identity, cursors, load_checkpoint, save_checkpoint
from unictokens.training.history import History

log = logging.getLogger(__name__)

UNDECISIVE = ("stages", "preview")
"""Settings that are compared stage by stage, and those that decide nothing."""


@dataclass(frozen=True)
class Branch:
    """Where a run may begin: after the first `stages` stages of the run `run`, whose settings have the hash `config_hash`."""

    run: str
    config_hash: str
    stages: int


def common_stages(first: RunConfig, second: RunConfig) -> int:
    """How many stages two configurations begin alike: those in which every setting that decides anything is equal."""
    mine, theirs = ({k: v for k, v in to_dict(each).items() if k not in UNDECISIVE} for each in (first, second))
    if mine != theirs:
        return 0
    count = 0
    for one, other in zip(_stages(first), _stages(second), strict=False):
        if one != other:
            break
        count += 1
    return count


def follow_branch(branch: Branch, parent: Path, folder: Path, config: RunConfig, identity: Identity) -> bool:
    """Put the states that the run in `folder` begins from there; False when it has begun already, or `parent` lacks them.

    parent  folder of the run that `branch` names
    Raises StorageError for damaged states, TrainingError for those of another concept, dataset or backbone.
    """
    here, there = folder / "checkpoints", parent / "checkpoints"
    stages = _stages(config)
    if cursors(here) or branch.stages == 0:
        return False
    last = stages[branch.stages - 1]
    number, epochs = branch.stages - 1, {last.config.epochs}
    if branch.stages < len(stages) and stages[branch.stages].config.start_epoch is not None:
        epochs.add(stages[branch.stages].config.start_epoch or 0)
    wanted = [Cursor(number, last.name, epoch) for epoch in sorted(epochs)]
    if not set(wanted) <= set(cursors(there)):
        return False
    written = Identity(identity.concept, branch.config_hash, identity.dataset_digest, identity.backbone)
    loaded = [Checkpoint(cursor, load_checkpoint(there, cursor, written).tensors) for cursor in wanted]
    lived, mine = History(parent / "history.jsonl"), History(folder / "history.jsonl")
    lived.reopen(wanted[-1])
    for record in lived.records:
        mine.add(record)
    kept = frozenset((cursor.number, cursor.epoch) for cursor in wanted)
    for checkpoint in loaded:
        save_checkpoint(here, identity, checkpoint, kept)
    log.info("'%s' begins after %s of '%s'", folder.name, last.name, parent.name)
    return True


def _stages(config: RunConfig) -> tuple[Stage, ...]:
    method: Method = resolve(METHODS, config.method, "method")()
    return method.stages(config)
