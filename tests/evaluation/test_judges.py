"""A judge behind HTTP is asked as the protocol wants, again when that helps, and never believed when it cannot be read."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from unictokens.errors import ConfigError, DependencyError
from unictokens.evaluation.judges import Case
from unictokens.evaluation.openai_judge import OpenAIJudge, OpenAISettings


class Server:
    """A local endpoint; `replies` are sent in turn, (status, text), the last one for ever."""

    def __init__(self) -> None:
        self.replies: list[tuple[int, str]] = [(200, "1")]
        self.seen: list[tuple[str | None, dict[str, Any]]] = []
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.seen.append((self.headers.get("Authorization"), body))
                    status, text = outer.replies.pop(0) if len(outer.replies) > 1 else outer.replies[0]
                usage = {"prompt_tokens": 10, "completion_tokens": 1}
                said = json.dumps({"choices": [{"message": {"content": text}}], "usage": usage}).encode()
                self.send_response(status if self.path == "/v1/chat/completions" else 404)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def judge(server: Server, **changed: Any) -> OpenAIJudge:
    return OpenAIJudge(OpenAISettings(**{"url": server.url, "model": "m", "pause": 0.01, "retries": 2, **changed}))


def answers(count: int) -> list[Case]:
    return [
        Case(subject=f"vqa {at}", kind="answer", knowledge="k", request=f"q{at}", expected="Pink.", answer="Pink.")
        for at in range(count)
    ]


def test_cases_are_asked_at_once_with_the_key_and_the_bill_is_kept(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    asked = judge(server)
    assert [ruling.score for ruling in asked.judge(answers(5))] == [1.0] * 5
    assert {key for key, _ in server.seen} == {"Bearer secret"}
    assert {body["model"] for _, body in server.seen} == {"m"}
    assert (asked.bill.requests, asked.bill.failures, asked.bill.prompt_tokens) == (5, 0, 50)


def test_a_drawing_is_sent_as_a_picture(server: Server, tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    case = Case(
        subject="a.png", kind="drawing", knowledge="k", request="p", expected="facts", picture=tmp_path / "a.png"
    )
    server.replies = [(200, "Score:: 0.5")]
    assert judge(server).judge([case])[0].score == 0.5
    (_, body) = server.seen[0]
    assert body["messages"][1]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")


def test_what_may_pass_is_tried_again(server: Server) -> None:
    server.replies = [(429, "slow down"), (503, "later"), (200, "0")]
    asked = judge(server)
    assert asked.judge(answers(1))[0].score == 0.0
    assert (asked.bill.requests, asked.bill.failures) == (3, 2)


@pytest.mark.parametrize("reply", ["", "maybe", "0.7", "1 or 0", "I would say 1", "10", "nan"])
def test_what_is_not_on_the_scale_is_no_score(server: Server, reply: str) -> None:
    server.replies = [(200, reply)]
    ruling = judge(server).judge(answers(1))[0]
    assert ruling.score is None and "not one of 0, 0.5, 1" in ruling.raw


def test_a_judge_that_is_down_says_so_and_nothing_is_put_in_its_place(server: Server) -> None:
    server.replies = [(500, "broken")]
    ruling = judge(server).judge(answers(1))[0]
    assert ruling.score is None and "did not answer" in ruling.raw and len(server.seen) == 3
    server.close()
    assert judge(server, timeout=1.0).judge(answers(1))[0].score is None


def test_a_wrong_key_or_address_is_refused_at_once(server: Server) -> None:
    server.replies = [(401, "no")]
    with pytest.raises(DependencyError, match="OPENAI_API_KEY"):
        judge(server).judge(answers(3))
    assert len(server.seen) == 1
    with pytest.raises(DependencyError, match="404"):
        judge(server, url=server.url + "/other").judge(answers(1))
    with pytest.raises(ConfigError, match="no http address"):
        judge(server, url="localhost:1")


def test_replies_are_paid_for_once(server: Server, tmp_path: Path) -> None:
    first, second = (judge(server, cache=tmp_path) for _ in range(2))
    assert first.judge(answers(2)) == second.judge(answers(2))
    assert len(server.seen) == 2 and second.bill.cached == 2 and second.bill.requests == 0
    for file in tmp_path.glob("*.json"):
        file.write_text("{")
    assert [ruling.score for ruling in judge(server, cache=tmp_path).judge(answers(2))] == [1.0, 1.0]
    assert len(server.seen) == 4


def test_unreadable_replies_are_not_remembered(server: Server, tmp_path: Path) -> None:
    server.replies = [(200, "hm"), (200, "1")]
    asked = judge(server, cache=tmp_path)
    assert asked.judge(answers(1))[0].score is None
    assert asked.judge(answers(1))[0].score == 1.0
