"""`unictokens concepts [list|import|export|alias|delete]`: the shelf of published concepts, and the authors' files."""

import argparse
from datetime import UTC, datetime

from rich.table import Table

from unictokens import __version__
from unictokens.backbones import load_backbone
from unictokens.cli.options import add_store
from unictokens.cli.progress import make_console
from unictokens.cli.shell import OK
from unictokens.concepts.bundle import ConceptBundle, present_groups
from unictokens.concepts.card import BackboneStamp, ConceptCard, PromptTemplates, Provenance
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.reference_format import export_triple, find_epochs, import_triple
from unictokens.concepts.store import LATEST, ConceptStore
from unictokens.errors import ConceptError
from unictokens.storage.base import local_folder


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `concepts` and its actions."""
    add_store(parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="one line per concept (the default)")

    taken = actions.add_parser("import", help="publish token files of the authors' code (epoch_E_embed.pt, ...)")
    taken.add_argument("folder", type=local_folder)
    taken.add_argument("--concept", required=True, help="name to publish under")
    taken.add_argument("--class-word", required=True, help="everyday class of the concept (dog)")
    taken.add_argument("--epoch", type=int, help="epoch to take, the last one by default")
    taken.add_argument(
        "--layout", default="16/8/8", metavar="K/M/N", help="token counts they were trained with (16/8/8)"
    )
    taken.add_argument("--backbone", required=True, metavar="mini|DIR|HUB", help="model they were trained on")

    given = actions.add_parser("export", help="write token files that the authors' code reads")
    given.add_argument("folder", type=local_folder)
    given.add_argument("--concept", required=True, metavar="NAME[@VERSION]")
    given.add_argument("--epoch", type=int, help="number in the file names, the trained epoch by default")

    alias = actions.add_parser("alias", help="let a word mean a version")
    alias.add_argument("concept", metavar="NAME[@VERSION]")
    alias.add_argument("alias")

    gone = actions.add_parser("delete", help="remove one version")
    gone.add_argument("concept", metavar="NAME@VERSION")


def run(arguments: argparse.Namespace) -> int:
    """Do the action."""
    store = ConceptStore(arguments.store)
    actions = {"import": _import, "export": _export, "alias": _alias, "delete": _delete}
    action = actions.get(arguments.action)
    return _list(store) if action is None else action(store, arguments)


def _list(store: ConceptStore) -> int:
    table = Table("concept", "version", "class", "tokens", "stage", "backbone", "aliases", "created", box=None)
    stored, known = store.list(), store.snapshot()
    for concept in stored:
        meanings = known[concept.name].aliases if concept.name in known else {}
        card = concept.card()
        layout = card.layout
        aliases = ", ".join(f"{alias}=v{number}" for alias, number in meanings.items())
        table.add_row(
            concept.name,
            f"v{concept.version}",
            card.class_word,
            f"1+{layout.shared}/{layout.generation}/{layout.understanding}",
            f"{card.provenance.stage} {card.provenance.epoch}".strip(),
            f"{card.backbone.name} {card.backbone.fingerprint[:8]}",
            aliases,
            card.provenance.created,
        )
    make_console().print(table if stored else f"no concepts in '{store.root}' yet: train or import one")
    return OK


def _import(store: ConceptStore, arguments: argparse.Namespace) -> int:
    layout = _layout(arguments.layout)
    epochs = find_epochs(arguments.folder)
    epoch = arguments.epoch if arguments.epoch is not None else max(epochs, default=None)
    if epoch is None:
        raise ConceptError(f"'{arguments.folder}' has no epoch_E_embed.pt with its two neighbours: check the folder")
    tokens = import_triple(arguments.folder, epoch, layout)
    groups = present_groups(tokens)
    card = ConceptCard(
        name=arguments.concept,
        class_word=arguments.class_word,
        layout=layout,
        backbone=BackboneStamp.of(load_backbone(arguments.backbone).info),
        templates=PromptTemplates.of(
            layout,
            tuple(group for group in groups if group in ("shared", "understanding")),
            tuple(group for group in groups if group in ("shared", "generation")),
        ),
        provenance=Provenance(
            config={"backbone": arguments.backbone},
            package_version=__version__,
            stage="imported",
            epoch=epoch,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
    )
    version = store.publish(ConceptBundle(tokens, card))
    print(f"imported epoch {epoch} ({tokens.rows} rows) as {arguments.concept}@v{version}")
    return OK


def _export(store: ConceptStore, arguments: argparse.Namespace) -> int:
    name, version = _split(arguments.concept)
    bundle = store.get(name, version)
    epoch = arguments.epoch if arguments.epoch is not None else bundle.card.provenance.epoch
    for path in export_triple(bundle.tokens, arguments.folder, epoch):
        print(path)
    return OK


def _alias(store: ConceptStore, arguments: argparse.Namespace) -> int:
    name, version = _split(arguments.concept)
    print(f"{name}@{arguments.alias} is v{store.set_alias(name, arguments.alias, version)}")
    return OK


def _delete(store: ConceptStore, arguments: argparse.Namespace) -> int:
    name, _, version = arguments.concept.partition("@")
    if not version:
        raise ConceptError(f"say which version of '{name}' to delete: {name}@v1")
    store.delete(name, version)
    print(f"deleted {name}@{version}")
    return OK


def _split(asked: str) -> tuple[str, str]:
    name, _, version = asked.partition("@")
    return name, version or LATEST


def _layout(text: str) -> TokenLayout:
    parts = text.split("/")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        raise ConceptError(f"--layout {text[:40]!r} is not K/M/N: write it like 16/8/8")
    shared, generation, understanding = map(int, parts)
    return TokenLayout(shared=shared, generation=generation, understanding=understanding)
