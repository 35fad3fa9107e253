"""`python -m serve users ...`: accounts, keys, quotas, grants, and concepts from a training store or a registry."""

import argparse
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from serve.folder import Folder, Users
from serve.naming import ConceptName
from serve.users.follow import follow
from serve.users.keys import SCOPES, Key
from serve.users.quotas import DEFAULTS, Quota
from serve.users.shelf import Concept
from unictokens.cli.progress import make_console
from unictokens.cli.shell import OK
from unictokens.concepts.store import LATEST, ConceptStore
from unictokens.errors import ConceptError, ConfigError
from unictokens.tracking.address import shown

FOLDER = Path("endpoint")


def main(arguments: Sequence[str]) -> int:
    """Do one action. Raises what `unictokens.cli.shell.guarded` prints as one line."""
    parsed = _parser().parse_args(arguments)
    users = Folder(parsed.folder).open_users(parsed.database)
    return parsed.action(users, parsed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serve users", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"the endpoint's folder ({FOLDER})")
    parser.add_argument(
        "--database", help="the users' database, in place of FOLDER/users.sqlite: postgresql+psycopg://..."
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    def action(group: argparse._SubParsersAction, name: str, work, text: str, *places: str) -> argparse.ArgumentParser:  # type: ignore[type-arg, no-untyped-def]
        made = group.add_parser(name, help=text)
        made.set_defaults(action=work)
        for place in places:
            made.add_argument(place)
        return made

    action(actions, "add", _add, "a new user", "user")
    action(actions, "list", _list, "everybody")
    action(actions, "disable", _disable, "lock a user out: all keys stop at once", "user")
    action(actions, "enable", _enable, "let a user in again", "user")
    keys = actions.add_parser("key", help="API keys").add_subparsers(metavar="ACTION", required=True)
    new = action(keys, "create", _create, "a new key, shown once", "user")
    new.add_argument("--scopes", default=",".join(SCOPES), help=f"what it may do, with commas ({','.join(SCOPES)})")
    new.add_argument("--days", type=float, help="valid so long; for ever without")
    new.add_argument("--label", default="", help="what it is for")
    action(keys, "list", _keys, "a user's keys", "user")
    rotated = action(keys, "rotate", _rotate, "a new key in place of an old one", "prefix")
    rotated.add_argument("--grace", type=float, default=0.0, help="seconds that the old one goes on working (0)")
    action(keys, "revoke", _revoke, "end a key at once", "prefix")
    quota = actions.add_parser("quota", help="what a key may use").add_subparsers(metavar="ACTION", required=True)
    action(quota, "show", _quotas, "a key's quotas", "prefix")
    given = action(quota, "set", _quota, "change one", "prefix")
    given.add_argument("kind", help=f"one of {', '.join(DEFAULTS)}")
    given.add_argument("quota", metavar="AMOUNT/SECONDS")
    action(actions, "grant", _grant, "let RECEIVER use OWNER's concept", "owner", "concept", "receiver")
    action(actions, "ungrant", _ungrant, "take that back", "owner", "concept", "receiver")
    action(actions, "concepts", _concepts, "a user's concepts", "user")
    followed = action(actions, "follow", _follow, "let a user have all versions of a registered model", "user")
    followed.add_argument("--registry", required=True, metavar="URI", help="MLflow's: http://..., sqlite:///..., ...")
    followed.add_argument("--model", required=True, help="its name there (unictokens-bo)")
    followed.add_argument("--as", dest="name", metavar="NAME", help="what the user calls it (as in training)")
    action(actions, "unfollow", _unfollow, "end that; the versions stay", "user", "concept")
    action(actions, "following", _following, "all that follow a registry")
    taken = action(actions, "import", _import, "give a user a concept from a training store", "user")
    taken.add_argument("--store", type=Path, required=True, help="where training published it (OUT/store)")
    taken.add_argument("--concept", required=True, metavar="NAME[@VERSION]")
    return parser


def _add(users: Users, given: argparse.Namespace) -> int:
    user = users.accounts.add(given.user)
    print(f"added user {user.name} ({user.id}); give them a key: python -m serve users key create {user.name}")
    return OK


def _list(users: Users, given: argparse.Namespace) -> int:
    table = Table("user", "id", "since", "keys", "concepts", "state", box=None)
    for user in users.accounts.list():
        keys, concepts = users.keys.of_user(user.id), users.shelf.own(user.id)
        state = "disabled" if user.disabled else ""
        table.add_row(user.name, user.id, _date(user.created), str(len(keys)), str(len(concepts)), state)
    make_console().print(table if table.row_count else "no users yet: python -m serve users add NAME")
    return OK


def _disable(users: Users, given: argparse.Namespace) -> int:
    users.accounts.disable(given.user)
    print(f"{given.user} is locked out")
    return OK


def _enable(users: Users, given: argparse.Namespace) -> int:
    users.accounts.disable(given.user, disabled=False)
    print(f"{given.user} is let in")
    return OK


def _create(users: Users, given: argparse.Namespace) -> int:
    scopes = [scope.strip() for scope in given.scopes.split(",") if scope.strip()]
    key, text = users.keys.create(users.accounts.get(given.user).id, scopes, given.label, given.days)
    return _show_once(key, text)


def _keys(users: Users, given: argparse.Namespace) -> int:
    table = Table("prefix", "label", "scopes", "made", "expires", "state", box=None)
    now = time.time()
    for key in users.keys.of_user(users.accounts.get(given.user).id):
        over = key.expires is not None and key.expires <= now
        state = "revoked" if key.revoked is not None else "expired" if over else "valid"
        table.add_row(key.prefix, key.label, " ".join(key.scopes), _date(key.created), _date(key.expires), state)
    make_console().print(table if table.row_count else f"{given.user} has no keys")
    return OK


def _rotate(users: Users, given: argparse.Namespace) -> int:
    if not 0 <= given.grace <= 30 * 86_400:
        raise ConfigError(f"--grace {given.grace:g} is not between 0 seconds and 30 days")
    return _show_once(*users.keys.rotate(given.prefix, given.grace))


def _revoke(users: Users, given: argparse.Namespace) -> int:
    users.keys.revoke(given.prefix)
    print(f"key {given.prefix} is revoked")
    return OK


def _quotas(users: Users, given: argparse.Namespace) -> int:
    for kind, quota in users.quotas.of_key(users.keys.get(given.prefix).id).items():
        print(f"{kind:<9} {quota}")
    return OK


def _quota(users: Users, given: argparse.Namespace) -> int:
    quota = Quota.parse(given.quota)
    users.quotas.set(users.keys.get(given.prefix).id, given.kind, quota)
    print(f"key {given.prefix}: {given.kind} {quota}")
    return OK


def _grant(users: Users, given: argparse.Namespace) -> int:
    receiver = users.accounts.get(given.receiver)
    if not users.shelf.grant(_concept(users, given.owner, given.concept), receiver.id):
        raise ConceptError(f"{given.owner}'s {given.concept} was deleted just now")
    print(f"{receiver.name} may now write <{given.owner}/{given.concept}>")
    return OK


def _ungrant(users: Users, given: argparse.Namespace) -> int:
    receiver = users.accounts.get(given.receiver)
    if not users.shelf.revoke(_concept(users, given.owner, given.concept), receiver.id):
        raise ConceptError(f"'{given.concept}' was not granted to {receiver.name}: nothing to take back")
    print(f"{receiver.name} may no longer use <{given.owner}/{given.concept}>")
    return OK


def _concepts(users: Users, given: argparse.Namespace) -> int:
    user = users.accounts.get(given.user)
    table = Table("name", "versions", "granted to", "id", box=None)
    for concept in users.shelf.own(user.id):
        versions = ", ".join(f"v{stored.version}" for stored in concept.versions())
        table.add_row(concept.name, versions, ", ".join(users.shelf.receivers(concept)), concept.id)
    for concept in users.shelf.granted(user.id):
        versions = ", ".join(f"v{stored.version}" for stored in concept.versions())
        table.add_row(f"{concept.owner}/{concept.name}", versions, "", concept.id)
    make_console().print(table if table.row_count else f"{user.name} has no concepts")
    return OK


def _follow(users: Users, given: argparse.Namespace) -> int:
    user = users.accounts.get(given.user)
    link = follow(users, user, given.registry, given.model, given.name)
    print(f"{user.name}'s {link.concept.name} follows {link.model}: the endpoint that runs has its versions in seconds")
    return OK


def _unfollow(users: Users, given: argparse.Namespace) -> int:
    if not users.following.end(_concept(users, given.user, given.concept)):
        raise ConceptError(f"{given.user}'s {given.concept} follows nothing: 'users following' shows what does")
    print(f"{given.user}'s {given.concept} follows no more; it has {given.user}'s own versions from now on")
    return OK


def _following(users: Users, given: argparse.Namespace) -> int:
    table = Table("concept", "model", "registry", "versions", "trouble", box=None)
    for link in users.following.all():
        versions = ", ".join(f"v{stored.version}" for stored in link.concept.versions())
        name = f"{link.concept.owner}/{link.concept.name}"
        table.add_row(name, link.model, shown(link.uri), versions, escape(link.trouble))
    make_console().print(table if table.row_count else "nothing follows a registry: python -m serve users follow")
    return OK


def _import(users: Users, given: argparse.Namespace) -> int:
    user, (name, _, version) = users.accounts.get(given.user), given.concept.partition("@")
    bundle = ConceptStore(given.store).get(name, version or LATEST)
    known = users.shelf.find(user.id, user.name, [ConceptName(name)]).get(ConceptName(name))
    concept = known or users.shelf.create(user.id, user.name, name)
    if concept is not None and users.following.of(concept) is not None:
        raise ConceptError(
            f"{user.name}'s {name} follows a registry: end that first (users unfollow {user.name} {name})"
        )
    if concept is None:
        raise ConceptError(f"{user.name} has a concept that is called '{name}' in another case: rename one of them")
    number = concept.store.publish(bundle)
    print(f"{user.name} has {name}@v{number}: write <{name}>")
    return OK


def _concept(users: Users, owner: str, name: str) -> Concept:
    user, wanted = users.accounts.get(owner), ConceptName(name)
    found = users.shelf.find(user.id, user.name, [wanted])
    if wanted not in found:
        raise ConceptError(f"{owner} has no concept {name[:64]!r}: 'python -m serve users concepts {owner}' shows all")
    return found[wanted]


def _show_once(key: Key, text: str) -> int:
    print(text)
    print(f"Keep it now: it is not shown again. Its prefix is {key.prefix}; it may: {', '.join(key.scopes)}.")
    return OK


def _date(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
