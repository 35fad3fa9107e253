"""The curve over exemplars as a table: one training for all its lines, and a number, or a reason, in every cell."""

from dataclasses import replace
from pathlib import Path

from cluster.engines import EngineSettings
from cluster.reproduction.collect import Sheet
from cluster.reproduction.examiner import Examiner, ExaminerSettings
from cluster.reproduction.tables.replay import BY_COUNT, PLAIN, REPLAYS, RULES
from cluster.reproduction.tasks import Looks, tasks_of
from unictokens.cli.main import main
from unictokens.config import load_config, parse_settings
from unictokens.data.catalog import Catalog
from unictokens.evaluation.exam import ExamSettings
from unictokens.evaluation.manifest import Manifest
from unictokens.learn import Output, plan_run


def test_the_table_examines_one_run_in_every_way(
    toyland: Path, tiny_base: Path, short_settings: list[str], tmp_path: Path
) -> None:
    train = ["train", "--data", str(toyland), "--concept", "bo", "--out", str(tmp_path), "--config", "demo"]
    assert main([*train, "--backbone", str(tiny_base), "--device", "cpu", "--set", *short_settings]) == 0
    record, output = Catalog.open(toyland).concept("bo"), Output(tmp_path)
    config = load_config("demo", {**parse_settings(short_settings), "backbone": str(tiny_base)})
    table = replace(REPLAYS, exam=ExamSettings(max_tokens=4, pure=0, knowledge=1, portraits=1, steps=2))
    plans = {(each.name, "bo", 0): plan_run(record, each.config(config, 0)) for each in table.variants if each.trained}
    assert len({plan.name for plan in plans.values()}) == 1 and len(plans) == 1 + len(BY_COUNT) + 1
    tasks = tasks_of(table, plans, ["bo"], [0], config, {"bo": ()}, output, Looks(clip=None))
    assert len({task.folder for task in tasks.values()}) == len(table.variants)
    engine = EngineSettings.of(config)
    examiner = Examiner(ExaminerSettings(data=toyland, output=tmp_path, engine=engine, count=1, cpus=1, gpus=0))
    assert {examiner.sit(task) for task in tasks.values()} == {""} and all(task.done for task in tasks.values())
    lines = {line.name: line for line in Sheet(table, tasks, {}, {}).findings(["bo"], {}).lines}
    for each in table.variants:
        cells = lines[each.name].cells
        assert cells["knowledge score"].mean is not None and not lines[each.name].holes
        assert (cells["right intents"].mean is None) == (each not in (*BY_COUNT, RULES))
    assert lines[RULES.name].cells["right intents"].mean == 1.0
    assert lines["6 exemplars"].cells["knowledge score"].paper == 0.62
    for place, task in tasks.items():
        traces = [drawing.trace for drawing in Manifest.open(task.folder).drawings]
        shown = [trace.exemplars for trace in traces if trace is not None and trace.parser == "exemplars"]
        assert len(traces) == 3 and (place.variant == PLAIN.name or task.plan is None or None not in traces)
        assert shown == [each.x for each in BY_COUNT if each.name == place.variant] * 3
