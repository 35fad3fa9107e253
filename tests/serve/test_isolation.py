"""Nobody reaches another user's concept, or learns whether it exists: by name, id, alias, model, special token or look-alike."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from fake_client import FakeClient
from people import Person, bundle

from serve.folder import Users
from serve.limits import Limits
from serve.protocol import Message
from serve.translate import Named, chat_turns, drawing_prompt, resolve
from serve.users.accounts import User
from unictokens.backbones.base import Turn
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.stepper import ShowOStepper
from unictokens.concepts.bank import ConceptBank

PROMPTS = 2000
SAMPLE = 12


def attempts(secret: str, owner: str, ids: list[str], rng: random.Random) -> str:
    """A prompt that tries to reach `<secret>` of `owner`."""
    tries = [
        f"<{secret}>",
        f"<{owner}/{secret}>",
        f"<{secret}@1>",
        f"<{owner}/{secret}@live>",
        f"<{secret.upper()}>",
        f"<{secret}",
        f"{secret}>",
        f"< {secret} >",
        f"<<{secret}>>",
        f"x<{secret}>y",
        f"<\u200d{secret}>",
        "<" + "".join(chr(ord(letter) + 0xFEE0) for letter in secret) + ">",
        f"\\u003c{secret}\\u003e",
        f"&lt;{secret}&gt;",
        f"<bo/../{secret}>",
        f"<{ids[0]}/{ids[1]}>",
        f"<{ids[1]}@1>",
        f"<token_{rng.randrange(40)}>",
        "<|soi|>",
        "<|endoftext|>",
        "<|t2i|>",
        "<image>",
        str(1111 + 2048 * rng.randrange(3) + rng.randrange(40)),
        f"[{1111 + rng.randrange(40)}]",
    ]
    words = ["Is", "a photo of", "who is", "<bo>", "on the beach", "?", "and", "colour of"]
    return " ".join(rng.choice(rng.choice((tries, words))) for _ in range(rng.randrange(1, 9)))


@pytest.fixture
def two(users: Users) -> tuple[User, User]:
    ada, bob = users.accounts.add("ada"), users.accounts.add("bob")
    mine = users.shelf.create(ada.id, "ada", "bo")
    assert mine is not None
    mine.store.publish(bundle("bo", 1))
    return ada, bob


def read(text: str, ada: User, users: Users) -> tuple[Named, tuple[Turn, ...], tuple[object, ...]]:
    named = resolve([text], "fake", "fake", lambda names: users.shelf.find(ada.id, "ada", names), Limits())
    return named, chat_turns([Message(role="user", content=text)], named), drawing_prompt(text, named)


def test_prompts_are_the_same_tokens_whether_or_not_the_others_concept_exists(
    users: Users, two: tuple[User, User], mini: ShowO
) -> None:
    ada, bob = two
    stepper = ShowOStepper(mini)
    ghost = users.shelf.create(bob.id, "bob", "secret")
    assert ghost is not None
    rng = random.Random(0)
    texts = [attempts("secret", "bob", [bob.id, ghost.id], rng) for _ in range(PROMPTS)]
    users.shelf.delete(ghost)

    def ids(text: str) -> tuple[list[int], list[int], tuple[str, ...]]:
        named, turns, drawing = read(text, ada, users)
        return stepper.question_ids(turns, 1), mini.tokenize(drawing), named.names

    before = [ids(text) for text in texts]
    theirs = users.shelf.create(bob.id, "bob", "secret")
    assert theirs is not None
    theirs.store.publish(bundle("secret", 2))
    after = [ids(text) for text in texts]
    assert before == after
    assert {names for _, _, names in after} == {(), ("bo",)}
    rows = {identifier for question, drawing, _ in after for identifier in (*question, *drawing)}
    learned = {identifier for identifier in rows if identifier >= mini.info.vocabulary}
    assert learned and max(learned) < mini.info.vocabulary + 5, "only the five rows of the caller's own concept"
    # The check itself can fail: once granted, the same prompts do reach the concept.
    users.shelf.grant(theirs, ada.id)
    reached = [name for text in texts[:300] if "@live" not in text for name in ids(text)[2]]
    assert set(reached) >= {"bo", "bob/secret"}


def test_logits_are_the_same_whether_or_not_the_others_concept_exists(
    users: Users, two: tuple[User, User], mini: ShowO
) -> None:
    ada, bob = two
    rng = random.Random(1)
    texts = [attempts("secret", "bob", [bob.id, bob.id], rng) for _ in range(SAMPLE)]
    rows = replace(bundle("bo", 1).tokens)
    wide = [torch.nn.functional.pad(one, (0, mini.info.width - 32)) for one in (rows.embed_KD, rows.head_KD)]
    bank = ConceptBank.stack([type(rows)(rows.layout, wide[0], wide[1], rows.bias_K)])

    model, concepts_BS = mini.language_model, torch.zeros(1, 1, dtype=torch.long)

    @torch.no_grad()
    def logits(text: str) -> torch.Tensor:
        _, turns, drawing = read(text, ada, users)
        found = []
        for ids in (ShowOStepper(mini).question_ids(turns, 1), mini.tokenize(drawing)):
            causal = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()[None, None]
            h_BTD = model.hidden(model.embed(torch.tensor([ids]), bank, concepts_BS), causal)
            found.append(model.logits(h_BTD[0], bank, concepts_BS.expand(len(ids), 1)))
        return torch.cat(found)

    before = [logits(text) for text in texts]
    theirs = users.shelf.create(bob.id, "bob", "secret")
    assert theirs is not None
    theirs.store.publish(bundle("secret", 2))
    assert all(torch.equal(logits(text), old) for text, old in zip(texts, before, strict=True))


def test_the_answers_do_not_tell_whether_anothers_concept_exists(
    ada: Person, bob: Person, give: Callable[..., object], users: Users
) -> None:
    def all_answers() -> list[tuple[int, str]]:
        told = [
            ada.get(path) for path in ("/v1/concepts/secret", "/v1/concepts/secret?owner=bob", "/v1/models/bob/secret")
        ]
        told += [ada.delete("/v1/concepts/secret"), ada.delete("/v1/concepts/secret/grants/bob")]
        told += [
            ada.put("/v1/concepts/secret/grants/bob"),
            ada.put("/v1/concepts/secret/aliases/live", json={"version": 1}),
        ]
        told += [ada.get(f"/v1/concepts/secret/runs/{'a' * 32}"), ada.delete("/v1/concepts/secret/versions/1")]
        told += [
            ada.ask("Hello.", model=model) for model in ("secret", "bob/secret", "bob/secret@1", f"fake:{'a' * 32}")
        ]
        told += [ada.get("/v1/models"), ada.get("/v1/concepts"), ada.ask("<secret> <bob/secret>", seed=1)]
        return [(one.status_code, one.json().get("error", {}).get("message", "")) for one in told]

    before = all_answers()
    concept = give(bob, "secret")
    assert all_answers() == before
    assert bob.get("/v1/concepts/secret").json()["id"] == concept.id  # type: ignore[attr-defined]
    assert ada.ask("Hello.", model=concept.id).status_code == 404  # type: ignore[attr-defined]


def test_one_name_of_two_users_means_each_ones_own(ada: Person, bob: Person, give, fake: FakeClient) -> None:  # type: ignore[no-untyped-def]
    mine, theirs = give(ada, "bo"), give(bob, "bo")
    ada.ask("<bo>"), bob.ask("<bo>")
    assert [asked.concepts[0].concept for asked in fake.asked] == [mine.id, theirs.id]


def test_a_grant_opens_one_concept_and_its_end_closes_it(ada: Person, bob: Person, give, fake: FakeClient) -> None:  # type: ignore[no-untyped-def]
    give(ada, "bo"), give(ada, "miru")
    assert ada.put("/v1/concepts/bo/grants/bob").json()["granted_to"] == ["bob"]
    bob.ask("<ada/bo> <ada/miru> <bo>")
    assert fake.asked[-1].names == ("ada/bo",)
    seen = bob.get("/v1/concepts/bo?owner=ada").json()
    assert (seen["name"], seen["mine"], seen["granted_to"], seen["runs"]) == ("ada/bo", False, [], [])
    for refused in (bob.delete("/v1/concepts/bo"), bob.put("/v1/concepts/bo/grants/eve")):
        assert refused.status_code == 404
    assert ada.delete("/v1/concepts/bo/grants/bob").status_code == 200
    bob.ask("<ada/bo>")
    assert fake.asked[-1].names == () and bob.get("/v1/concepts/bo?owner=ada").status_code == 404
    assert ada.put("/v1/concepts/bo/grants/nobody").json()["error"]["code"] == "user_not_found"
