"""What Google's service refuses, in its own words, and what happens on the way there and back."""

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster.numbered import Numbered
from unictokens.cli.main import main
from unictokens.errors import StorageError
from unictokens.storage import fsspec_store
from unictokens.storage.base import Storage, open_storage

RIGHT = "does not have storage.objects.create access to the Google Cloud Storage object. Permission 'storage.objects.create' denied"
BUSY = (503, "We encountered an internal error. Please try again.")
OFTEN = (429, "The object exceeded the rate limit for object mutation operations (create, update, and delete).")
DECIDING = (409, "The operation was aborted because of a conflict with another one.")


@pytest.fixture
def server(gs: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """What the server answers next (`handler`), and a place there; gcsfs asks again at once and not seconds later."""
    import gcsfs.retry
    from google_storage import Handler

    async def at_once(seconds: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(gcsfs.retry, "asyncio", SimpleNamespace(sleep=at_once))
    gcsfs.core.GCSFileSystem.clear_instance_cache()  # it is kept by its options, the environment is none of them
    yield SimpleNamespace(handler=Handler, place=f"{gs}/refusals")
    gcsfs.core.GCSFileSystem.clear_instance_cache()
    Handler.refusals.clear()
    Handler.lost = 0


def actions(storage: Storage) -> list[Callable[[], object]]:
    """Everything that may be asked."""
    return [
        lambda: storage.read("a"),
        lambda: storage.write("a", b""),
        lambda: storage.create("a", b""),
        lambda: storage.list("a"),
        lambda: storage.modified("a"),
        lambda: storage.remove("a"),
    ]


def refused(action: Callable[[], object]) -> str:
    """The one line of the error."""
    with pytest.raises(StorageError) as caught:
        action()
    said = str(caught.value)
    assert "\n" not in said and len(said) < 400 and "gs://bucket/refusals/a" in said
    return said


@pytest.mark.parametrize(
    ("status", "sentence", "named"),
    [
        (401, f"Anonymous caller {RIGHT}", "no credentials"),
        (401, "Invalid Credentials", "check the credentials"),
        (403, f"robot@project.iam.gserviceaccount.com {RIGHT}", "check the credentials"),
        (404, "The specified bucket does not exist.", "no such bucket"),
        (400, "invalid argument", "check the address"),
        (502, "", "does not answer"),
        (*BUSY, "(503); try again later"),
        (*OFTEN, "(429); try again later"),
    ],
)
def test_every_refusal_has_its_fix(server: SimpleNamespace, status: int, sentence: str, named: str) -> None:
    for action in actions(open_storage(server.place)):
        server.handler.refusals[:] = [(status, sentence)] * 20
        assert named in refused(action)
    assert logging.getLogger("gcsfs").handlers, "without one Python prints the traceback of each"


def test_a_busy_server_is_asked_again(server: SimpleNamespace) -> None:
    storage = open_storage(server.place)
    server.handler.refusals[:] = [BUSY, OFTEN]
    storage.write("again", b"1")
    server.handler.refusals[:] = [DECIDING, BUSY]
    assert storage.create("claim", b"mine") and not storage.create("claim", b"yours")
    server.handler.refusals[:] = [OFTEN, BUSY]
    assert storage.read("again") == b"1"


def test_a_claim_whose_answer_is_lost_is_still_ours(server: SimpleNamespace) -> None:
    files = Numbered(f"{server.place}/lost", "journal", ".jsonl")
    server.handler.lost = 1
    assert files.claim(1, b"mine") and not files.claim(1, b"yours")
    server.handler.lost = 1
    assert not files.create(2, b"mine") and files.read(2) == b"mine", "gcsfs asks twice, and hears of its own object"


def test_a_key_that_google_does_not_know(
    server: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    kinds = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    secret = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(*kinds).decode()
    key = {"type": "service_account", "project_id": "project", "private_key": secret, "client_email": "robot@project"}
    emulator = open_storage(server.place)._fs._location  # type: ignore[attr-defined]
    (tmp_path / "key.json").write_text(json.dumps({**key, "token_uri": f"{emulator}/token"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    type(open_storage(server.place)._fs).clear_instance_cache()  # type: ignore[attr-defined]
    server.handler.refusals[:] = [(400, "account not found")] * 100
    assert main(["ask", "--store", server.place, "--concept", "bo", "Hello"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "check the credentials" in line and server.place in line and secret[40:80] not in line


def test_a_server_that_does_not_answer(server: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsspec_store, "SILENT_SECONDS", 0.05)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:9")
    assert "does not answer" in refused(lambda: open_storage(server.place).read("a"))
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts, and that is all
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"127.0.0.1:{silent.getsockname()[1]}")
        for action in actions(open_storage(server.place)):
            assert "does not answer" in refused(action)
