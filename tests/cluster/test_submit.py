"""Sending commands to a cluster, without one: a job server behind the protocol, and addresses that answer wrongly.

F17: the same command given twice, also at the same moment, is one job.
"""

import argparse
import io
import json
import threading
import zipfile
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from fake_server import FakeServer

from cluster import remote
from cluster.__main__ import main
from cluster.package import packed
from cluster.submit import JOB, Attempt, read_token
from cluster.train import add
from unictokens.errors import ClusterError, ConfigError, StorageError

ADDRESS = "http://127.0.0.1:1"


def read(*words: str) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--verbose", action="store_true")
    add(parser)
    remote.add_sending(parser)
    return parser.parse_args(["--data", "/data", "--out", "/out", *words]), parser


def named(*words: str) -> str:
    return remote.job_name("train", *read(*words))


def begin(server: FakeServer, metadata: Mapping[str, str] | None = None) -> Attempt:
    return remote.begin(server, "train-1", ["train", "--data", "/d"], {}, metadata or {JOB: "train-1"}, may_resume=True)


def test_a_job_is_named_after_what_it_makes_and_not_after_how() -> None:
    plain = named("--concepts", "bo,miru")
    assert (
        plain
        == named("--concepts", "miru,bo")
        == named("--concepts", "bo,miru", "--lanes", "2", "--pack", "1", "--verbose")
    )
    assert plain == named("--concepts", "bo,miru", "--address", ADDRESS, "--follow", "--resume")
    assert plain == named("--concepts", "bo,miru", "--set", "stages.warmup.epochs=20")  # what `paper` says anyway
    different = [
        named("--concepts", "bo"),
        named("--concepts", "bo,miru", "--config", "demo"),
        named("--concepts", "bo,miru", "--set", "layout.shared=3"),
        named("--concepts", "bo,miru", "--out", "/elsewhere"),
    ]
    assert len({plain, *different}) == 5


def test_the_same_job_twice_is_one_job(capsys: pytest.CaptureFixture[str]) -> None:
    server = FakeServer()
    assert begin(server).id == begin(server).id == "train-1-1"
    assert len(server.sent) == 1
    assert "already" in capsys.readouterr().out


def test_the_same_job_sent_by_two_at_the_same_moment_is_one_job(capsys: pytest.CaptureFixture[str]) -> None:
    server = FakeServer(late=Attempt(id="train-1-1", status="PENDING", metadata={JOB: "train-1"}))
    assert begin(server).status == "PENDING"
    assert not server.sent
    assert "somebody else" in capsys.readouterr().out


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "STOPPED"])
def test_a_job_that_is_over_goes_on_as_the_next_attempt(status: str) -> None:
    server = FakeServer()
    begin(server)
    server.end("train-1-1", status, 1 if status == "FAILED" else None)
    assert begin(server).id == "train-1-2"
    first, second = server.sent
    assert first.command == "python -m cluster train --data /d"
    assert second.command == "python -m cluster train --data /d --resume"


def test_a_config_of_this_machine_goes_along(tmp_path: Path) -> None:
    file = tmp_path / "best.json"
    file.write_text(json.dumps({"seed": 3}))
    for words in (["--config", str(file)], [f"--config={file}"]):
        parsed, _ = read(*words)
        sent, files = remote.shipped(words, parsed)
        assert remote.CONFIG_FILE in " ".join(sent) and str(file) not in " ".join(sent)
        assert json.loads(files[remote.CONFIG_FILE]) == {"seed": 3}
    assert remote.shipped(["--config", "demo"], read("--config", "demo")[0]) == (["--config", "demo"], {})


def test_what_is_sent_is_the_command_without_the_sender() -> None:
    words = ["--data", "/d", "--address", ADDRESS, "--token-file=/t", "--follow", "--concepts", "bo"]
    assert remote.without(words, remote.HERE) == ["--data", "/d", "--concepts", "bo"]


def test_a_question_is_answered_in_lines_and_leaves_nothing_behind() -> None:
    server = FakeServer(says=f"Ray's own words\necho '{remote.BEGIN}'; more\n{remote.BEGIN}\none\ntwo", code=2)
    heard: list[str] = []
    assert remote.ask(server, ["status", "train-1"], heard.append) == 2
    assert heard == ["one", "two"]
    assert not server.known


def test_a_driver_that_never_began_is_an_error_of_the_cluster() -> None:
    with pytest.raises(ClusterError, match="no room"):
        remote.exit_code(Attempt(id="train-1-1", status="FAILED", message="no room\n for it"))
    assert remote.exit_code(Attempt(id="train-1-1", status="FAILED", exit_code=-15)) == 1
    assert remote.exit_code(Attempt(id="train-1-1", status="STOPPED")) == 130


def test_a_job_is_found_by_name_by_attempt_or_as_the_last() -> None:
    server = FakeServer()
    begin(server)
    server.end("train-1-1", "STOPPED", None)
    begin(server)
    assert remote.find(server, "").id == remote.find(server, "train-1").id == "train-1-2"
    assert remote.find(server, "train-1-1").id == "train-1-1"
    with pytest.raises(ConfigError, match="it has train-1"):
        remote.find(server, "train-2")


def test_a_package_holds_the_house_and_is_the_same_twice() -> None:
    first = packed({"more.json": b"{}"})
    assert first == packed({"more.json": b"{}"})
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        names = archive.namelist()
    assert {"unictokens/__init__.py", "cluster/submit.py", "more.json"} <= set(names)
    assert any(name.startswith("unictokens/assets/mini/") for name in names)
    assert not any("__pycache__" in name or name.startswith(("tests/", ".")) for name in names)


def test_a_token_comes_from_option_variable_or_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert read_token(None) == ""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("home\n")
    assert read_token(None) == "home"
    (tmp_path / "other").write_text("file\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "other"))
    assert read_token(None) == "file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "variable")
    assert read_token(None) == "variable"
    assert read_token(tmp_path / "other") == "file"
    with pytest.raises(StorageError, match="nowhere"):
        read_token(tmp_path / "nowhere")
    (tmp_path / "other").write_text("")
    with pytest.raises(ConfigError, match="holds no token"):
        read_token(tmp_path / "other")


class Answers(BaseHTTPRequestHandler):
    """Answers by path prefix: /401/..., /403/..., /500/..., /page/... (something that is no dashboard)."""

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        self.send_response(int(kind) if kind.isdecimal() else 200)
        self.end_headers()
        self.wfile.write({"page": b"<html>", "other": b"[1]"}.get(kind, b"{}"))

    def log_message(self, format: str, *args: object) -> None:
        return None


@pytest.fixture(scope="module")
def answers() -> Iterator[str]:
    """The address of a server that answers wrongly."""
    server = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_cluster_that_cannot_be_used_is_one_line(answers: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "--data", "/data", "--out", "/out", "--address"]
    for address, expected in (
        ("", "http://HOST:8265"),  # an unset variable must not mean this machine
        ("cluster", "http://HOST:8265"),
        ("ray://cluster:10001", "http://HOST:8265"),
        (ADDRESS, "no answer"),
        ("http://no-such-host.invalid:8265", "no answer"),
        (f"{answers}/401", "--token-file"),
        (f"{answers}/403", "refuses this token"),
        (f"{answers}/500", "HTTP 500"),
        (f"{answers}/page", "no Ray dashboard"),
        (f"{answers}/other", "no Ray dashboard"),
    ):
        assert main([*command, address]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and expected in line and address.split("/")[-1] in line


def test_what_means_nothing_on_a_cluster_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words, expected in (
        (["--data", "data", "--out", "/out"], "--data 'data'"),
        (["--data", "/data"], "--out 'out'"),
        (["--data", "/data", "--out", "/out", "--tracking-uri", "http://me:secret@host/"], "password"),
        (["--data", "/data", "--out", "/out", "--config", "/no/file.json"], "/no/file.json"),
    ):
        assert main(["train", *words, "--address", ADDRESS]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert expected in line and "secret" not in line
