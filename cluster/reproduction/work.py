"""What a table needs, before anything is started: its runs and the job that trains them, its examinations, and what is there already."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.plan import JobPlan, plan_runs
from cluster.reproduction.table import Table
from cluster.reproduction.tasks import ExamTask, Looks, Place, tasks_of
from unictokens.config import RunConfig, config_hash
from unictokens.data.catalog import Catalog
from unictokens.learn import Output, RunPlan


@dataclass(frozen=True)
class Work:
    """All that a table needs: `runs` by (variant, concept, seed), the job that trains them, the examinations."""

    table: Table
    config: RunConfig
    concepts: tuple[str, ...]
    seeds: tuple[int, ...]
    output: Output
    data: Path
    plan: JobPlan
    runs: Mapping[tuple[str, str, int], RunPlan]
    tasks: Mapping[Place, ExamTask]

    @property
    def left(self) -> list[ExamTask]:
        """Examinations that are not complete, each once."""
        return [task for task in {each.folder: each for each in self.tasks.values()}.values() if not task.done]


def plan_work(table: Table, config: RunConfig, data: Path, out: Path, chosen: str, seeds: int, looks: Looks) -> Work:
    """What a table of the `chosen` concepts ("all", or names with commas) and so many seeds needs into `out`.

    looks  who measures drawings
    Raises DataError for a dataset or concept that is not there, ConfigError for settings that a method cannot follow.
    """
    catalog, output = Catalog.open(data), Output(out)
    concepts = catalog.select(chosen)
    trained = [variant for variant in table.variants if variant.trained]
    wanted = {
        (variant.name, concept, seed): variant.config(config, seed)
        for seed in range(seeds)
        for variant in trained
        for concept in concepts
    }
    plan = plan_runs(catalog, [(concept, each) for (_, concept, _), each in wanted.items()], output, resume=True)
    known = {(run.concept, run.config_hash): run for run in plan.runs}
    known |= {(skip.plan.concept, skip.plan.config_hash): skip.plan for skip in plan.skipped}
    found = {place: known.get((place[1], config_hash(each))) for place, each in wanted.items()}
    runs = {place: run for place, run in found.items() if run is not None}
    readable = [concept for concept in concepts if concept not in refused(plan)]
    prompts = {concept: catalog.evaluation_prompts(catalog.concept(concept).kind) for concept in readable}
    tasks = tasks_of(table, runs, readable, range(seeds), config, prompts, output, looks)
    return Work(table, config, concepts, tuple(range(seeds)), output, data, plan, runs, tasks)


def refused(plan: JobPlan) -> dict[str, str]:
    """Concepts that cannot be trained, and why."""
    return {refusal.concept: refusal.reason for refusal in plan.refused}


def opening(work: Work) -> str:
    """What there is to do, for people."""
    variants = sum(variant.trained for variant in work.table.variants)
    trained, examined = len(work.plan.skipped), len({task.folder for task in work.tasks.values()}) - len(work.left)
    before = f" ({trained} runs and {examined} examinations are there already)" if trained or examined else ""
    branched = sum(run.branch is not None for run in work.plan.runs)
    share = f", {branched} of them from a stage of another run" if branched else ""
    return (
        f"{work.table.source}: {work.table.title.lower()}; {variants} trained variants, {len(work.concepts)} concepts, "
        f"{len(work.seeds)} seeds\nto do: {len(work.plan.runs)} runs{share}, {len(work.left)} examinations{before}"
    )


def name_of(work: Work) -> str:
    """What the tracker calls it."""
    return f"table-{work.table.name}-{config_hash(work.config)[:6]}-{len(work.concepts)}x{len(work.seeds)}"
