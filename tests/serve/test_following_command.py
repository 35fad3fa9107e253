"""`python -m serve users follow` and `unfollow`: what cannot be followed is refused in one line, and after the end nothing more comes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from people import Person, bundle
from rayed import until
from team import SOON, Team, follows

from serve.config import Registries
from serve.folder import Users
from serve.follower import Follower
from serve.training import RunFolder, RunState


def test_what_cannot_follow_is_refused_in_one_line(
    ada: Person, team: Team, users: Users, users_command: Any, give: Any, tmp_path: Path
) -> None:
    team.train("pim", 1)
    absent = tmp_path / "none.db"
    for arguments, words in (
        (("--registry", team.uri, "--model", "unictokens-nobody"), "unictokens-nobody"),
        (("--registry", f"sqlite:///{absent}", "--model", "unictokens-pim"), "is not there"),
        (("--registry", "http://me:secret@127.0.0.1:9", "--model", "unictokens-pim"), "127.0.0.1:9"),
        (("--registry", "nonsense://there", "--model", "unictokens-pim"), "nonsense"),
        (("--registry", team.uri, "--model", "x' or name = 'unictokens-pim"), "quote"),
        (("--registry", team.uri, "--model", "unictokens-pim", "--as", "../x"), "concept name"),
    ):
        code, said = users_command("follow", "ada", *arguments)
        assert code == 2 and said.count("\n") == 1 and words in said and "secret" not in said, said
    assert users.following.all() == () and users.shelf.own(ada.user.id) == () and not absent.exists()

    asked = ("follow", "ada", "--registry", team.uri, "--model", "unictokens-pim")
    concept = give(ada, "pim", seed=9)
    assert "version 1 that is not version 1 of 'unictokens-pim'" in users_command(*asked)[1]
    concept.store.delete("pim", 1), concept.store.put(bundle("pim", 1), 2)
    assert "version 2 that is not version 2" in users_command(*asked)[1]
    users.shelf.delete(concept)
    same = give(ada, "pim", seed=1)
    RunFolder(same.folder / "runs/1").write(RunState(id="1", concept="pim", status="running"))
    assert "is being taught" in users_command(*asked)[1]
    RunFolder(same.folder / "runs/1").change(status="failed")
    assert users_command(*asked)[0] == 0
    taken = users_command("import", "ada", "--store", str(same.store_folder), "--concept", "pim")
    assert taken[0] == 2 and "follows a registry" in taken[1]


def test_whoever_ends_it_or_deletes_the_concept_gets_nothing_more(
    ada: Person, team: Team, users: Users, users_command: Any, follower: Follower, served: Callable[..., int]
) -> None:
    for name in ("nara", "olum"):
        team.train(name, 1)
    follows(users, ada, team, "nara"), follows(users, ada, team, "olum", "olum")
    until(lambda: served(ada) == served(ada, "<olum>") == 1, SOON)
    folder = next(one for one in users.shelf.own(ada.user.id) if one.name == "olum").folder
    assert users_command("unfollow", "ada", "bo")[0] == 0 and ada.delete("/v1/concepts/olum").status_code == 200
    assert users.following.all() == ()
    for name in ("nara", "olum"):
        team.train(name, 2)
    time.sleep(2 * Registries().every)
    assert served(ada) == 1 and not folder.exists()
    assert ada.put("/v1/concepts/bo/aliases/live", json={"version": 1}).status_code == 200
    assert users_command("unfollow", "ada", "bo") == (
        2,
        "error: ada's bo follows nothing: 'users following' shows what does\n",
    )
    assert users_command("follow", "ada", "--registry", team.uri, "--model", "unictokens-nara", "--as", "bo")[0] == 0
    until(lambda: served(ada) == 2, SOON)
