"""`unictokens data toyland|check|questions DIR`."""

import argparse

from unictokens.cli.shell import FAILED, OK
from unictokens.data.catalog import Catalog
from unictokens.errors import UniCTokensError
from unictokens.images import load_image
from unictokens.storage.base import local_folder


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `data` and its actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    drawn = actions.add_parser("toyland", help="write the drawn example dataset in the official layout")
    drawn.add_argument("folder", type=local_folder)
    drawn.add_argument("--seed", type=int, default=0, help="another world (0)")
    drawn.add_argument("--concepts", type=int, default=20, help="how many, 1 to 20 (20)")
    drawn.add_argument("--size", type=int, default=128, help="side of the pictures in pixels (128)")
    check = actions.add_parser("check", help="read a dataset completely and name everything that is wrong")
    check.add_argument("folder", type=local_folder)
    check.add_argument("--concepts", default="all", help="all, or names with commas (all)")
    made = actions.add_parser("questions", help="make missing training questions from photos and info.json")
    made.add_argument("folder", type=local_folder)
    made.add_argument("--concepts", default="all", help="all, or names with commas (all)")
    made.add_argument("--seed", type=int, default=0, help="of the choice of wordings (0)")


def run(arguments: argparse.Namespace) -> int:
    """Do the action."""
    return {"toyland": _toyland, "check": _check, "questions": _questions}[arguments.action](arguments)


def _toyland(arguments: argparse.Namespace) -> int:
    from unictokens.data.toyland.writer import write_dataset

    names = write_dataset(arguments.folder, arguments.seed, arguments.concepts, arguments.size)
    print(f"wrote {len(names)} concepts to {arguments.folder}: {', '.join(names)}")
    return OK


def _questions(arguments: argparse.Namespace) -> int:
    from unictokens.data.questions import write_stage_files

    catalog = Catalog.open(arguments.folder)
    for name in catalog.select(arguments.concepts):
        for path in write_stage_files(catalog, name, arguments.seed):
            print(path)
    return OK


def _check(arguments: argparse.Namespace) -> int:
    catalog = Catalog.open(arguments.folder)
    broken = 0
    for name in catalog.select(arguments.concepts):
        try:
            record = catalog.concept(name)
            for picture in sorted({*record.photos, *record.cropped, *record.hard_negatives, *record.test_photos}):
                load_image(picture)
        except UniCTokensError as error:
            broken += 1
            print(f"{name}: {error}")
            continue
        stages = ", ".join(f"{stage} {len(items)}" for stage, items in record.stages.items()) or "none"
        print(
            f"{name}: ok ({record.cls}; {len(record.photos)} photos, {len(record.cropped)} crops, "
            f"{len(record.hard_negatives)} look-alikes, questions: {stages}, test questions: {len(record.exam)})"
        )
    return FAILED if broken else OK
