"""`python -m serve users`: a whole life of a user, and refusals in one line."""

from pathlib import Path

import pytest
from people import bundle

from serve.__main__ import main
from serve.folder import Folder
from unictokens.concepts.store import ConceptStore


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(["users", "--folder", str(tmp_path / "endpoint"), *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_a_user_gets_keys_concepts_grants_and_quotas(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    ConceptStore(tmp_path / "out").publish(bundle("bo"))
    assert run("add", "ada")[0] == run("add", "bob")[0] == 0
    code, out, _ = run("key", "create", "ada", "--scopes", "chat,images", "--label", "laptop", "--days", "30")
    key = out.splitlines()[0]
    assert code == 0 and key.startswith("uct_") and "not shown again" in out
    prefix = key.split("_")[1]
    assert run("import", "ada", "--store", str(tmp_path / "out"), "--concept", "bo")[1].strip().endswith("write <bo>")
    assert run("grant", "ada", "bo", "bob")[0] == 0 and "ada/bo" in run("concepts", "bob")[1]
    assert run("ungrant", "ada", "bo", "bob")[0] == 0 and "ada/bo" not in run("concepts", "bob")[1]
    assert run("quota", "set", prefix, "images", "5/60")[0] == 0 and "images    5/60" in run("quota", "show", prefix)[1]
    listed = run("key", "list", "ada")[1]
    assert prefix in listed and "laptop" in listed and key.split("_", 2)[2] not in listed
    rotated = run("key", "rotate", prefix)[1].splitlines()[0]
    keys = Folder(tmp_path / "endpoint").open_users().keys
    assert keys.authenticate(key) is None and keys.authenticate(rotated) is not None
    assert run("key", "revoke", rotated.split("_")[1])[0] == 0 and keys.authenticate(rotated) is None
    assert run("disable", "ada")[0] == 0 and "disabled" in run("list")[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "../x"),
        ("key", "create", "nobody"),
        ("key", "revoke", "uct_abcdefghijkl_" + "s" * 43),
        ("key", "create", "ada", "--scopes", "root"),
        ("quota", "set", "nothing", "images", "5/60"),
        ("grant", "ada", "bo", "bob"),
        ("import", "ada", "--store", "nowhere", "--concept", "bo"),
    ],
)
def test_refusals_are_one_line_without_secrets(run, arguments: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    run("add", "ada")
    code, out, err = run(*arguments)
    assert code == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert "s" * 43 not in err
