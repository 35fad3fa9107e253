"""`python -m serve --local`: everything in one process on this machine, with uvicorn."""

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from unictokens.cli.options import add_device, read_device
from unictokens.cli.shell import OK, StderrHandler

FOLDER = Path("endpoint")
STRANGERS = 15
"""Pictures of the drawn world's strangers, which concepts of the small base learn to tell themselves from."""


def main(arguments: Sequence[str]) -> int:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m serve --local", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"concepts, users, audit log ({FOLDER})")
    parser.add_argument("--database", help="the users' database, in place of FOLDER/users.sqlite")
    parser.add_argument("--backbone", default="mini", metavar="mini|DIR|HUB", help="the frozen model (mini)")
    parser.add_argument("--host", default="127.0.0.1", help="who can reach it (127.0.0.1: this machine only)")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--config", default="demo", help="how uploaded concepts are trained: a preset or a file (demo)")
    parser.add_argument("--negatives", type=Path, help="random pictures that no uploaded concept is in")
    parser.add_argument("--hot", nargs="+", default=[], metavar="USER/NAME", help="concepts to load now and to keep")
    add_device(parser)
    return _serve(parser.parse_args(arguments))


def _serve(given: argparse.Namespace) -> int:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import uvicorn

    from serve.api.app import create_app
    from serve.api.state import House
    from serve.config import Registries
    from serve.counted import Counted, HttpCounters
    from serve.engine_client import EngineClient
    from serve.folder import Folder
    from serve.follower import Follower
    from serve.hot import HotConcepts
    from serve.limits import Limits
    from serve.local_trainer import LocalTrainer
    from serve.metrics import Numbers
    from serve.metrics_page import WithPage
    from serve.naming import hot_names
    from unictokens.backbones import load_backbone

    _set_up_logging()
    names = hot_names(given.hot)
    folder = Folder(given.folder)
    users = folder.open_users(given.database)
    client = EngineClient.over(load_backbone(given.backbone, device=read_device(given)))
    negatives = given.negatives or (_strangers(folder.root / "strangers") if given.backbone == "mini" else None)
    trainer = LocalTrainer(folder.concepts, ("--config", given.config, "--backbone", given.backbone), negatives)
    house = House(client=client, users=users, trainer=trainer, limits=Limits())
    hot = HotConcepts(client.concepts, users, names)
    follower = Follower(users, lambda: client.info.fingerprint, folder.follower, Registries().every)
    counters = HttpCounters()
    app = WithPage(Counted(create_app(house), counters), Numbers(client.counters, counters))
    print(f"serving {client.info.name} on http://{given.host}:{given.port}/v1 (document: /docs); Ctrl-C stops it")
    try:
        uvicorn.run(
            app,
            host=given.host,
            port=given.port,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=30,
        )
    finally:
        follower.close()
        hot.close()
        trainer.close()
        client.close()
    return OK


def _strangers(folder: Path) -> Path:
    from serve.pictures import encode_png
    from unictokens.atomic import new_folder, write_bytes
    from unictokens.data.toyland import render
    from unictokens.data.toyland.roster import strangers

    if not folder.exists():
        with new_folder(folder) as made:
            for number, photo in enumerate(strangers(seed=0, count=STRANGERS)):
                write_bytes(made / f"{number}.png", encode_png(render(photo, 128)))
    return folder


def _set_up_logging() -> None:
    handler = StderrHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    for name in ("unictokens", "serve"):
        logging.getLogger(name).handlers = [handler]
        logging.getLogger(name).setLevel(logging.WARNING)
