"""Reproduced tables on disk: nothing is lost, ours stands beside the paper's, what is absent says why, plots have what they need."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unictokens.report.findings import Cell, Finding, Findings, Line, Plot, load_findings, save_findings, to_markdown
from unictokens.report.plots import draw
from unictokens.report.reproduction import PLOT_FILE, write_page


@pytest.fixture
def findings() -> Findings:
    return Findings(
        table="stages",
        title="What each <stage> adds",
        source="Paper Table 3",
        columns=("rec", "clip-i"),
        lines=(
            Line(
                name="no concept",
                cells={"rec": Cell(mean=0.5, half=0.0, concepts=3, values=3), "clip-i": Cell(why="no model")},
            ),
            Line(
                name="stage 1",
                note="half trained",
                cells={
                    "rec": Cell(mean=0.75, half=0.125, concepts=3, values=6, paper=0.637),
                    "clip-i": Cell(why="no model", paper=0.524),
                },
                x=1,
                series="epochs",
                holes=("miru, seed 0: '0.png' is torn",),
            ),
        ),
        findings=(
            Finding(claim="rec rises", holds=True, said="+0.25"),
            Finding(claim="clip-i rises", holds=None, said="absent"),
        ),
        plot=Plot(kind="bars", columns=("rec", "clip-i")),
        notes=("numbers of another world",),
        values={"stage 1": {"rec": {"bo": [0.7, 0.8]}}},
    )


def test_what_is_saved_is_read_again(findings: Findings, tmp_path: Path) -> None:
    assert {path.name for path in save_findings(findings, tmp_path)} == {"table.json", "table.csv", "table.md"}
    assert load_findings(tmp_path) == findings
    rows = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text())))
    assert len(rows) == 4
    assert (rows[2]["mean"], rows[2]["half_95"], rows[2]["paper"]) == ("0.75", "0.125", "0.637")
    assert (rows[3]["mean"], rows[3]["why_absent"]) == ("", "no model")


def test_markdown_has_ours_the_paper_s_the_verdicts_and_the_reasons(findings: Findings) -> None:
    text = to_markdown(findings)
    assert "| variant | rec | paper | clip-i | paper |" in text
    assert "| stage 1 | 0.750 ± 0.125 | 0.637 | n/a | 0.524 |" in text
    assert "- **holds**: rec rises (+0.25)" in text and "- **not measured**: clip-i rises" in text
    assert "clip-i: no model (no concept, stage 1)" in text and "0.png" in text and "stage 1: half trained" in text


@pytest.mark.parametrize("kind", ["bars", "lines", "scatter"])
def test_every_kind_of_plot_is_drawn_from_what_there_is(findings: Findings, tmp_path: Path, kind: str) -> None:
    drawn = replace(findings, plot=replace(findings.plot, kind=kind, x_label="tokens"))
    path = tmp_path / "plot.png"
    assert draw(drawn, path) is (kind != "scatter"), "a scatter plot needs a second column"
    if kind == "scatter":
        lines = [replace(line, cells={**line.cells, "clip-i": Cell(mean=0.3, half=0.1)}) for line in findings.lines]
        assert draw(replace(drawn, lines=tuple(lines)), path)
    with Image.open(path) as picture:
        pixels = np.array(picture.convert("RGB")).astype(int)
    assert pixels.shape[1] > 600 and (pixels.max(2) < 128).any()
    if kind != "scatter":  # the paper's orange marks are there
        assert ((abs(pixels - np.array([0xE0, 0x7B, 0x28]))).sum(2) < 30).sum() > 20


def test_a_table_without_numbers_has_no_plot(findings: Findings, tmp_path: Path) -> None:
    empty = [replace(line, cells={name: Cell(why="x") for name in line.cells}) for line in findings.lines]
    assert not draw(replace(findings, lines=tuple(empty)), tmp_path / "plot.png")
    assert not (tmp_path / "plot.png").exists()


def test_the_page_holds_all_tables_and_names_a_damaged_one(findings: Findings, tmp_path: Path) -> None:
    for name in ("stages", "tokens"):
        save_findings(replace(findings, table=name), tmp_path / "tables" / name)
        draw(findings, tmp_path / "tables" / name / PLOT_FILE)
    (tmp_path / "tables/broken").mkdir()
    (tmp_path / "tables/broken/table.json").write_text("{")
    page = write_page(tmp_path).read_text()
    assert page.count("<section") == 2 and page.count("data:image/png;base64,") == 2
    assert "What each &lt;stage&gt; adds" in page and "<stage>" not in page
    assert "broken" in page and "0.750" in page and "±" in page and "half trained" in page
