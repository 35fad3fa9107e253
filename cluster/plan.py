"""From a dataset, concepts and settings to the runs of a job: pure, quick, and before anything is started.

Runs whose result is published already are left out; a concept whose data are broken becomes a refusal and does not stand
in the way of the others.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cluster.digests import Digest, digests
from unictokens.backbones.showo.config import read_json
from unictokens.backbones.showo.places import locate
from unictokens.config import RunConfig, config_hash
from unictokens.data.catalog import Catalog
from unictokens.errors import ConfigError
from unictokens.learn import Output, RunPlan, plan_known, published_version
from unictokens.training.branch import Branch, common_stages

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Skipped:
    """A run that is published already."""

    plan: RunPlan
    version: int


@dataclass(frozen=True)
class Refused:
    """A concept that cannot be trained, and why."""

    concept: str
    reason: str


@dataclass(frozen=True)
class JobPlan:
    """What a job will do: `runs` to train; what needs no training (`skipped`) or permits none (`refused`).

    concepts  all of them in the order asked for
    called    its name, where that is not to follow from its runs
    more      how many runs may be added while it works (see `cluster.sweeping`)
    """

    concepts: tuple[str, ...]
    runs: tuple[RunPlan, ...]
    skipped: tuple[Skipped, ...] = ()
    refused: tuple[Refused, ...] = ()
    called: str = ""
    more: int = 0

    @property
    def name(self) -> str:
        """A stable name: the same concepts, settings and data give the same job, finished or not."""
        if self.called:
            return self.called
        names = sorted([run.name for run in self.runs] + [skip.plan.name for skip in self.skipped])
        refused = sorted(refusal.concept for refusal in self.refused)
        return f"job-{hashlib.sha256(' '.join([*names, *refused]).encode()).hexdigest()[:12]}"


def plan_job(catalog: Catalog, concepts: Sequence[str], config: RunConfig, output: Output, resume: bool) -> JobPlan:
    """The runs that teach `concepts` of `catalog` with `config` into `output`; raises as `plan_runs` does."""
    return plan_runs(catalog, [(concept, config) for concept in concepts], output, resume)


def plan_runs(catalog: Catalog, wanted: Sequence[tuple[str, RunConfig]], output: Output, resume: bool) -> JobPlan:
    """A run for every (concept, configuration); equal ones once. Those that begin alike learn that once (see `Branch`).

    Raises ConfigError when a run was begun before and `resume` does not ask to continue it, and for settings that the
    method cannot follow.
    """
    concepts = tuple(dict.fromkeys(concept for concept, _ in wanted))
    known, published = _Known(catalog, concepts), output.published(concepts)
    runs: dict[str, RunPlan] = {}
    skipped: dict[str, Skipped] = {}
    alike: dict[str, list[RunPlan]] = {}
    fingerprints: dict[str, str] = {}
    for concept, config in wanted:
        plan = known.plan(concept, config)
        if plan is None or plan.name in runs or plan.name in skipped:
            continue
        if config.backbone not in fingerprints:
            fingerprints[config.backbone] = expected_fingerprint(config.backbone)
        version = published_version(output, plan, fingerprints[config.backbone]) if concept in published else None
        before = alike.setdefault(concept, [])
        if version is not None:
            skipped[plan.name] = Skipped(plan, version)
        else:
            plan = runs[plan.name] = replace(plan, branch=_branch(plan, before))
        before.append(plan)
    begun = () if resume else tuple(dict.fromkeys(runs[name].concept for name in output.begun(tuple(runs))))
    if begun:
        raise ConfigError(
            f"'{output.root}' holds unfinished runs of {', '.join(begun[:5])}{', ...' if len(begun) > 5 else ''}: "
            "add --resume to continue them, or choose another --out"
        )
    return JobPlan(concepts, tuple(runs.values()), tuple(skipped.values()), tuple(known.refused.values()))


def expected_fingerprint(backbone: str) -> str:
    """What a backbone folder says of its own weights; "" for a hub name and a published folder, where only loading can tell.

    Raises CheckpointError for a folder that holds no Show-o.
    """
    if backbone != "mini" and not Path(backbone).is_dir():
        return ""
    return str(read_json(locate(backbone).config).get("fingerprint", ""))


class _Known:
    """Digests of concepts, each read once (what they say is not kept: there may be 100,000); concepts that cannot be read.

    They come while runs are planned: the first are worked with before the last are read.
    """

    def __init__(self, catalog: Catalog, concepts: Sequence[str]) -> None:
        self._hashes: dict[int, tuple[RunConfig, str]] = {}
        self._digests: dict[str, str] = {}
        self._coming = digests(catalog, concepts)
        self.refused: dict[str, Refused] = {}

    def plan(self, concept: str, config: RunConfig) -> RunPlan | None:
        """The run, None for a concept that is refused."""
        while concept not in self._digests and concept not in self.refused:
            self._take(next(self._coming))
        if concept in self.refused:
            return None
        return plan_known(concept, self._digests[concept], config, self._hash(config))

    def _take(self, found: Digest) -> None:
        if found.refusal:
            log.warning("concept '%s' is left out: %s", found.concept, found.refusal)
            self.refused[found.concept] = Refused(found.concept, found.refusal)
        else:
            self._digests[found.concept] = found.digest

    def _hash(self, config: RunConfig) -> str:
        # The configuration is kept beside its hash, so that no other can get its identity.
        if id(config) not in self._hashes:
            self._hashes[id(config)] = (config, config_hash(config))
        return self._hashes[id(config)][1]


def _branch(plan: RunPlan, alike: Sequence[RunPlan]) -> Branch | None:
    """The run among those of its concept with which this one has the most first stages in common, all but the whole."""
    shared = [(common_stages(run.config, plan.config), run) for run in alike]
    stages, parent = max(shared, key=lambda each: each[0], default=(0, None))
    return Branch(parent.name, parent.config_hash, stages) if parent is not None and stages else None
