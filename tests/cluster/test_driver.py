"""A driver before it starts anything: what it was asked for survives it, lanes fit the nodes there are, one driver per job."""

from dataclasses import replace
from pathlib import Path

import pytest
from cluster_fakes import runs

from cluster.engines import EngineSettings
from cluster.folder import JobFolder, list_jobs
from cluster.job import driving
from cluster.job_settings import JobSettings, asked_of, settings_of
from cluster.keeper import prepare
from cluster.lane_shape import lane_shape
from cluster.lease import Owner
from cluster.nodes import LaneShape, Node
from cluster.plan import JobPlan
from unictokens.errors import ConfigError

PLAN = JobPlan(tuple(f"c{number}" for number in range(10)), runs(10))
HEAD = Node(id="head", cpus=0, gpus=0)


@pytest.fixture
def settings(tmp_path: Path) -> JobSettings:
    engine = EngineSettings(backbone="mini", engine="deepspeed", offload="nvme", folder=tmp_path, processes=2)
    return JobSettings(data=tmp_path / "data", output=tmp_path, engine=engine, max_lanes=5, stall=60.0)


def test_what_was_asked_survives_the_driver(settings: JobSettings) -> None:
    folder = JobFolder(settings.output, PLAN.name)
    prepare(folder, PLAN)
    folder.write_asked(asked_of(settings))
    assert settings_of(folder) == settings
    assert list_jobs(settings.output) == [PLAN.name]


def test_a_job_has_one_driver(settings: JobSettings) -> None:
    folder = JobFolder(settings.output, PLAN.name)
    folder.ask_stop()
    with driving(folder):
        assert not folder.stop_asked(), "what was asked of the last driver is over"
        assert folder.driver() == Owner.here(PLAN.name)
    assert folder.driver() is None


def test_impossible_numbers_are_named(settings: JobSettings) -> None:
    for changes, named in (
        ({"lanes": -1}, "--lanes -1"),
        ({"min_lanes": 0}, "--min-lanes 0"),
        ({"min_lanes": 6}, "--max-lanes 5"),
        ({"stall": 0.0}, "--stall"),
    ):
        with pytest.raises(ConfigError, match=named):
            replace(settings, **changes).check()


def test_lanes_fit_the_nodes_there_are(settings: JobSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = replace(settings, engine=EngineSettings(backbone="mini"), max_lanes=0)
    shape, limits = lane_shape(PLAN, alone, [Node(id="a", cpus=8, gpus=0)])
    assert (shape, limits.most, limits.width) == (LaneShape(processes=1, cpus=2, gpus=0), 4, 3)
    with pytest.raises(ConfigError, match="room for 8"):
        lane_shape(PLAN, replace(alone, lanes=9), [Node(id="a", cpus=8, gpus=0)])
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    nodes = [HEAD, Node(id="a", cpus=3, gpus=0), Node(id="b", cpus=1, gpus=0)]
    shape, limits = lane_shape(PLAN, replace(alone, lanes=2), nodes)
    assert shape.cpus == 1 and limits.least == 2, "two lanes of two cores would not fit"
    gpus = [HEAD, Node(id="a", cpus=16, gpus=2), Node(id="b", cpus=16, gpus=2)]
    shape, limits = lane_shape(PLAN, replace(alone, min_lanes=2, max_lanes=8), gpus)
    assert (shape.cpus, shape.gpus, limits.least, limits.most, limits.grows) == (8, 1, 2, 8, True)
