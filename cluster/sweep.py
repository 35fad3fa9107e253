"""`python -m cluster sweep --space NAME`: find better settings; every trial is runs in the packs of one job's lanes.

The same command with --resume goes on where an earlier one stopped; with more --trials it goes further. What is found is in
`<out>/sweeps/<name>/`; its best.json is a file for --config.
"""

import argparse
from pathlib import Path
from typing import Any

from rich.table import Table

from cluster.engines import add_engine, read_engine
from cluster.job_settings import WIDTH
from cluster.reproduction.tasks import Looks
from cluster.sweeping.objective import WATCHED, Objective
from cluster.sweeping.question import TRIALS, Question
from cluster.sweeping.samplers import SEARCHES
from cluster.sweeping.session import Session, SessionSettings
from cluster.sweeping.tuner import SCHEDULERS
from tune_spaces.domain import LEVELS
from tune_spaces.space import Space, places
from tune_spaces.spaces import SPACES, find_space
from unictokens.cli.options import OUT, add_config, read_config
from unictokens.cli.progress import make_console
from unictokens.cli.shell import FAILED, INTERRUPTED, OK
from unictokens.config import RunConfig, to_dict
from unictokens.data.catalog import Catalog
from unictokens.errors import ConfigError
from unictokens.evaluation.exam import EXAMS, exam_for
from unictokens.storage.base import local_folder
from unictokens.tracking.address import OFF, sqlite_uri
from unictokens.training.run import flat

NONE = "none"
LEAST = {"seeds": 1, "trials": 0, "levels": 2, "grace": 0, "reduction": 2, "lanes": 0, "pack": 1}
"""The smallest number that makes sense of each option."""


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `sweep`."""
    parser.add_argument("--space", required=True, metavar="NAME|FILE", help=f"{', '.join(SPACES)}, or a JSON file")
    parser.add_argument("--show", action="store_true", help="only print the space")
    parser.add_argument("--data", type=Path, help="dataset folder")
    parser.add_argument(
        "--concepts", default="all", help="all, or names with commas: every trial learns them all (all)"
    )
    parser.add_argument("--seeds", type=int, default=1, help="runs of every concept in a trial (1)")
    parser.add_argument("--metric", default="rec", help="a score of evaluate, a loss, or several: rec,tokens (rec)")
    parser.add_argument("--search", default="random", choices=SEARCHES, help="how samples are found (random)")
    parser.add_argument("--scheduler", default="asha", choices=SCHEDULERS, help="how poor trials end early (asha)")
    parser.add_argument("--trials", type=int, default=0, help=f"samples ({TRIALS}; all of a grid)")
    parser.add_argument("--levels", type=int, default=LEVELS, help=f"values of a range in a grid ({LEVELS})")
    parser.add_argument(
        "--watch", default=WATCHED[0], choices=WATCHED, help=f"what asha and pbt compare ({WATCHED[0]})"
    )
    parser.add_argument("--grace", type=int, default=0, help="epochs before asha ends a trial (an eighth of all)")
    parser.add_argument("--reduction", type=int, default=3, help="of so many trials asha lets the best one go on (3)")
    parser.add_argument("--search-seed", type=int, default=0, help="the same seed finds the same samples (0)")
    parser.add_argument("--exam", choices=tuple(EXAMS), help="as in evaluate (published; toyland for the small base)")
    parser.add_argument("--clip", default="toyland", metavar="NAME|DIR", help=f"as in evaluate, or {NONE} (toyland)")
    parser.add_argument("--dino", type=Path, metavar="DIR", help="as in evaluate")
    parser.add_argument("--faces", type=Path, metavar="DIR", help="as in evaluate")
    parser.add_argument("--name", default="", help="of the sweep (made of what is asked)")
    parser.add_argument("--out", type=local_folder, default=OUT, help=f"output folder ({OUT})")
    parser.add_argument("--resume", action="store_true", help="go on with a sweep that was begun before")
    parser.add_argument("--lanes", type=int, default=0, help="workers (one per GPU; without, one per core, at most 4)")
    parser.add_argument("--pack", type=int, default=WIDTH, help=f"runs that a worker trains together ({WIDTH})")
    parser.add_argument("--previews", action="store_true", help="also draw and ask while training, as `train` does")
    parser.add_argument("--tracking-uri", default="", metavar="URI", help=f"MLflow (OUT/mlflow.db); '{OFF}' for none")
    add_config(parser)
    add_engine(parser)


def run(arguments: argparse.Namespace) -> int:
    """Search. Exit code 1 when a trial failed (its reason is in the table) or none was finished, 130 when it was stopped."""
    console, config = make_console(), read_config(arguments)
    space = find_space(arguments.space).for_config(config)
    if arguments.show:
        console.print(shown_space(space, config))
        return OK
    question = read_question(arguments, space, config)
    question.check()
    out: Path = arguments.out.absolute()
    settings = SessionSettings(
        out=out,
        name=arguments.name or question.name,
        engine=read_engine(arguments, config),
        lanes=arguments.lanes,
        width=arguments.pack,
        uri=None if arguments.tracking_uri == OFF else arguments.tracking_uri or sqlite_uri(out),
        resume=arguments.resume,
    )
    session = Session(console, question, settings)
    with session.alone():
        results, complete = session.run()
    if not complete:
        console.print("stopped: the same command with --resume goes on")
        return INTERRUPTED
    return OK if results.best is not None and all(trial.state != "failed" for trial in results.trials) else FAILED


def read_question(arguments: argparse.Namespace, space: Space, config: RunConfig) -> Question:
    """What is asked. Raises ConfigError, and DataError for a dataset or concept that is not there."""
    if arguments.data is None:
        raise ConfigError("--data is missing: name the dataset folder, or print the space with --show")
    for option, least in LEAST.items():
        if getattr(arguments, option) < least:
            raise ConfigError(f"--{option} {getattr(arguments, option)} is too small: use {least} or more")
    dino, faces = (None if path is None else path.absolute() for path in (arguments.dino, arguments.faces))
    return Question(
        config=config,
        space=space,
        objective=Objective.parse(arguments.metric, arguments.watch),
        data=arguments.data.absolute(),
        concepts=Catalog.open(arguments.data).select(arguments.concepts),
        exam=exam_for(config.backbone, arguments.exam),
        looks=Looks(None if arguments.clip == NONE else arguments.clip, dino, faces),
        seeds=arguments.seeds,
        search=arguments.search,
        scheduler=arguments.scheduler,
        trials=arguments.trials,
        levels=arguments.levels,
        grace=arguments.grace,
        reduction=arguments.reduction,
        seed=arguments.search_seed,
        previews=arguments.previews,
    )


def shown_space(space: Space, config: RunConfig) -> Table:
    """A space for people, beside what the configuration has."""
    known: dict[str, Any] = flat(to_dict(config))
    made = Table("setting", "values", "now", title=f"{space.name}: {space.about}")
    for path, domain in space.domains.items():
        now = dict.fromkeys(str(known.get(place, "")) for place in places(path, config))
        made.add_row(path, domain.text, ", ".join(now))
    return made
