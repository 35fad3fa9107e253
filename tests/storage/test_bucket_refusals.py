"""What a bucket refuses is one line that names the URL and the fix, and never a key."""

import errno
import os
from collections.abc import Callable

import fsspec
import pytest
from places import FaultyFileSystem

from unictokens.cli.main import main
from unictokens.errors import StorageError
from unictokens.storage.base import open_storage

SECRET = "secret-of-the-test"


def refused(action: Callable[[], object]) -> str:
    """The one line of the error."""
    with pytest.raises(StorageError) as caught:
        action()
    said = str(caught.value)
    assert "\n" not in said and SECRET not in said and len(said) < 400
    return said


@pytest.fixture
def fresh(s3: str, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """fsspec keeps connections by their options; a changed environment needs new ones, before and after."""
    fsspec.filesystem("s3").clear_instance_cache()
    monkeypatch.setattr(fsspec.filesystem("s3").__class__, "retries", 1)
    fsspec.filesystem("s3").clear_instance_cache()
    return monkeypatch


@pytest.fixture(autouse=True)
def forget() -> object:
    yield
    fsspec.filesystem("memory").__class__.clear_instance_cache()
    if "s3" in fsspec.registry:
        fsspec.registry["s3"].clear_instance_cache()


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_a_bucket_that_is_not_there(kind: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(kind)
    storage = open_storage(f"{kind}://no-such-bucket/out")
    for action in (
        lambda: storage.write("a", b""),
        lambda: storage.create("a", b""),
        lambda: storage.read("a"),
        lambda: storage.list("a"),
    ):
        said = refused(action)
        assert f"{kind}://no-such-bucket/out/a" in said and "no such bucket" in said


def test_a_wrong_key(s3: str, fresh: pytest.MonkeyPatch) -> None:
    from moto.core import responses

    fresh.setattr(responses.settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
    fresh.setenv("AWS_ACCESS_KEY_ID", "somebody-else")
    storage = open_storage(f"{s3}/out")
    for action in (lambda: storage.write("a", b""), lambda: storage.read("a"), lambda: storage.list()):
        assert "check the credentials" in refused(action)


def test_no_key_at_all(s3: str, fresh: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        fresh.delenv(name)
    fresh.setenv("AWS_EC2_METADATA_DISABLED", "true")
    fresh.setenv("HOME", "/nowhere")
    assert "no credentials" in refused(lambda: open_storage(f"{s3}/out").write("a", b""))


def test_a_server_that_does_not_answer(s3: str, fresh: pytest.MonkeyPatch) -> None:
    fresh.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    fresh.setenv("AWS_MAX_ATTEMPTS", "1")
    said = refused(lambda: open_storage(f"{s3}/out").read("a"))
    assert "does not answer" in said and "s3://bucket/out/a" in said


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "disk is full"),
        (OSError(errno.ESTALE, os.strerror(errno.ESTALE)), "check the path"),
        (OSError(errno.EIO, os.strerror(errno.EIO)), "check the path"),
        (PermissionError("Forbidden"), "check the credentials"),
        (TimeoutError(), "does not answer"),
        (ConnectionResetError(), "does not answer"),
        (NotImplementedError(), "check the address"),
    ],
)
def test_every_refusal_has_its_fix(faulty: type[FaultyFileSystem], error: Exception, named: str) -> None:
    faulty.fail_at, faulty.error = 1, lambda: error
    storage = open_storage("faulty://bucket/out")
    for action in (
        lambda: storage.write("a", b""),
        lambda: storage.create("a", b""),
        lambda: storage.list(),
        lambda: storage.remove("a"),
    ):
        said = refused(action)
        assert named in said and "faulty://bucket/out" in said


def test_the_command_line_says_it_in_one_line(s3: str, capsys: pytest.CaptureFixture[str]) -> None:
    for store, named in (
        ("s3://no-such-bucket/store", "no such bucket"),
        ("s3://key:hidden@bucket/store", "environment"),
        ("carrierpigeon://loft", "carrierpigeon"),
    ):
        assert main(["ask", "--store", store, "--concept", "bo", "Hello"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and named in line and "hidden" not in line
    assert main(["report", f"{s3}/out"]) == 2
    assert "local path" in capsys.readouterr().err
