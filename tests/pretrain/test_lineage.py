"""A base's history survives its folder, is told on its card, and damage is named."""

from pathlib import Path

import pytest

from unictokens.errors import CheckpointError
from unictokens.pretrain.lineage import FILE, Run, lineage_table, read_lineage, write_lineage
from unictokens.pretrain.recipe import Recipe

RUN = Run.of("ab" * 32, Recipe())


def test_lineage_round_trips(tmp_path: Path) -> None:
    runs = [RUN, Run(RUN.fingerprint, RUN.recipe, "stopped once")]
    write_lineage(tmp_path, runs)
    found = read_lineage(tmp_path)
    assert lineage_table(found) == lineage_table(runs) and [run.note for run in found] == ["", "stopped once"]
    assert read_lineage(tmp_path / "elsewhere") == []


def test_table_tells_steps_and_notes() -> None:
    told = lineage_table([RUN, Run(RUN.fingerprint, RUN.recipe, "stopped once")])
    assert f"{Recipe().language.steps:,} of" in told and "Run 2: stopped once" in told and "Run 1:" not in told


@pytest.mark.parametrize("text", ["{", '[{"fingerprint": "x"}]', "[3]"])
def test_damage_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(CheckpointError, match=FILE):
        read_lineage(tmp_path)
