"""A job's plan on disk: whoever continues a job does what was planned, without looking at the data again.

Settings that many runs share are written once: a plan of 100,000 concepts is 15 MB of JSON.
"""

import json
from collections.abc import Sequence
from typing import Any

from cluster.plan import JobPlan, Refused, Skipped
from unictokens.config import RunConfig, from_dict, to_dict
from unictokens.errors import StorageError, UniCTokensError
from unictokens.learn import RunPlan
from unictokens.storage.base import Place
from unictokens.training.branch import Branch


def encode_plan(plan: JobPlan) -> bytes:
    """A plan as the bytes of a file."""
    values = {
        "concepts": plan.concepts,
        "runs": encode_runs(plan.runs),
        "skipped": encode_runs([skip.plan for skip in plan.skipped]),
        "versions": [skip.version for skip in plan.skipped],
        "refused": [[refusal.concept, refusal.reason] for refusal in plan.refused],
        "called": plan.called,
        "more": plan.more,
    }
    return (json.dumps(values, ensure_ascii=False) + "\n").encode()


def decode_plan(data: bytes, place: Place) -> JobPlan:
    """The opposite of `encode_plan`, for what was found at `place`. Raises StorageError for what is damaged."""
    try:
        values: dict[str, Any] = json.loads(data)
        skipped = decode_runs(values["skipped"])
        return JobPlan(
            tuple(values["concepts"]),
            decode_runs(values["runs"]),
            tuple(Skipped(run, version) for run, version in zip(skipped, values["versions"], strict=True)),
            tuple(Refused(concept, reason) for concept, reason in values["refused"]),
            str(values["called"]),
            int(values["more"]),
        )
    except (ValueError, KeyError, TypeError, UniCTokensError) as error:
        raise StorageError(
            f"'{place}' is damaged ({error}): remove the folder of this job and start it again"
        ) from error


def encode_runs(runs: Sequence[RunPlan]) -> dict[str, Any]:
    """Runs as JSON values: `kinds` of settings, and a row per run that names its kind."""
    kinds: list[dict[str, Any]] = []
    known: dict[int, int] = {}
    rows: list[list[Any]] = []
    for run in runs:
        if id(run.config) not in known:
            known[id(run.config)] = len(kinds)
            kinds.append({"config": to_dict(run.config), "hash": run.config_hash, "stages": run.stages})
        branch = None if run.branch is None else [run.branch.run, run.branch.config_hash, run.branch.stages]
        rows.append([run.name, run.concept, run.dataset_digest, known[id(run.config)], branch])
    return {"kinds": kinds, "rows": rows}


def decode_runs(values: dict[str, Any]) -> tuple[RunPlan, ...]:
    """The opposite of `encode_runs`. Raises ConfigError, KeyError, ValueError or TypeError for what is none."""
    kinds: list[tuple[RunConfig, str, tuple[tuple[str, int], ...]]] = [
        (from_dict(kind["config"]), kind["hash"], tuple((stage, epochs) for stage, epochs in kind["stages"]))
        for kind in values["kinds"]
    ]
    runs = []
    for name, concept, digest, kind, branch in values["rows"]:
        config, settings, stages = kinds[kind]
        runs.append(
            RunPlan(
                name=name,
                concept=concept,
                config=config,
                config_hash=settings,
                dataset_digest=digest,
                stages=stages,
                branch=None if branch is None else Branch(*branch),
            )
        )
    return tuple(runs)
