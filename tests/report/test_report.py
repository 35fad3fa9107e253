"""The report: everything inside the page, nothing from outside, and no text of a user that becomes markup."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from unictokens.errors import StorageError
from unictokens.report.curves import curve
from unictokens.report.gather import EpochLosses, gather
from unictokens.report.job import page, write_report

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output with one learned and one refused concept."""
    run = tmp_path / "runs" / "bo-0123456789ab"
    for stage, epoch in (("warmup", 1), ("warmup", 2), ("deepen", 1)):
        (run / "previews").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(run / "previews" / f"{stage}_{epoch:04d}_0.png")
    history = [
        {"number": 0, "stage": "warmup", "epoch": 1, "steps": 2, "losses": {"understanding": 2.0}, "seconds": 1.0},
        {"number": 0, "stage": "warmup", "epoch": 2, "steps": 2, "losses": {"understanding": 1.0}, "seconds": 1.0},
        {"number": 2, "stage": "deepen", "epoch": 1, "steps": 2, "losses": {"generation": 5.0}, "seconds": 1.0},
    ]
    (run / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in history))
    answer = {"stage": "warmup", "epoch": 2, "question": "Who?", "photo": "0.png", "answer": HOSTILE}
    (run / "answers.jsonl").write_text(json.dumps(answer) + "\n")
    rows = [
        {"concept": "bo", "run": run.name, "status": "finished", "version": 3, "error": ""},
        {"concept": "miru", "run": "", "status": "failed", "version": None, "error": f"info.json is {HOSTILE}"},
    ]
    (tmp_path / "summary.json").write_text(json.dumps({"job": "job-1", "rows": rows, "seconds": 61.0}))
    return tmp_path


def test_nothing_is_loaded_from_outside(out: Path) -> None:
    text = write_report(out).read_text()
    sources = re.findall(r'(?:src|href|action|xlink:href)="([^"]*)"', text)
    assert sources and all(source.startswith(("data:image/", "#")) for source in sources)
    assert "url(" not in text and "@import" not in text and "<script" not in text


def test_text_never_becomes_markup(out: Path) -> None:
    text = page(gather(out, None))
    assert text.count("&lt;script&gt;") == 2 and HOSTILE not in text


class TagChecker(HTMLParser):
    """Fails on a tag that is closed in the wrong order; `open_tags` are those still open."""

    def __init__(self) -> None:
        super().__init__()
        self.open_tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "img"):
            self.open_tags.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        """Closed in itself."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag


def test_every_tag_is_closed(out: Path) -> None:
    checker = TagChecker()
    checker.feed(page(gather(out, None)))
    assert not checker.open_tags


def test_failed_concepts_are_named_with_their_reason(out: Path) -> None:
    text = page(gather(out, None))
    assert "&lt;miru&gt;" in text and "info.json is" in text


def test_recognition_stands_in_the_overview(out: Path) -> None:
    assert "recognition" not in page(gather(out, None))
    asked = {"positives": 5, "negatives": 10}
    both = {"with": {"recall": 1.0, "no_recall": 0.8, **asked}, "without": {"recall": 0.2, "no_recall": 0.6, **asked}}
    (out / "showcase").mkdir()
    (out / "showcase" / "showcase.json").write_text(json.dumps({"items": [], "recognition": {"bo": both}}))
    assert "0.90 (0.40)" in page(gather(out, None))


def test_curves_do_not_bridge_stages() -> None:
    history = [EpochLosses(0, "warmup", at, {"understanding": 1.0 / at}, 1.0) for at in (1, 2, 3)]
    history += [EpochLosses(1, "bootstrap", at, {"understanding": 2.0, "generation": 3.0}, 1.0) for at in (1, 2)]
    assert curve(history, "understanding").count("<polyline") == 2
    assert curve(history, "generation").count("<circle") == 2
    assert curve(history, "total") == ""


def test_a_damaged_picture_does_not_spoil_the_page(out: Path) -> None:
    (out / "runs" / "bo-0123456789ab" / "previews" / "deepen_0001_0.png").write_bytes(b"torn")
    assert "cannot be read" in page(gather(out, None))


def test_an_empty_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no runs"):
        write_report(tmp_path)
