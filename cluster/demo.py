"""`python -m cluster demo`: the whole way on a drawn world: data, a training job, questions, pictures, a report."""

import argparse
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cluster.train import train
from unictokens.atomic import write_bytes, write_json
from unictokens.backbones import load_backbone
from unictokens.backbones.base import Decoding, Sampling
from unictokens.cli.options import add_config, read_config
from unictokens.cli.progress import make_console
from unictokens.cli.shell import FAILED, OK
from unictokens.config import RunConfig
from unictokens.data.catalog import Catalog
from unictokens.data.records import ConceptRecord, ExamQuestion
from unictokens.data.toyland.writer import write_dataset
from unictokens.evaluation.recognition import Recognition, measure_recognition
from unictokens.learn import Output
from unictokens.pipeline import Pipeline
from unictokens.report.job import write_report

DEMO_CONCEPTS = 4
"""The first four of Toyland: a pet, a person, an object, another pet."""
QUESTIONS_PER_KIND = 2
SEEDS = (0, 1, 2)
PLACES = ("at the beach", "in the snow")
ANSWER = Decoding(max_tokens=24)


@dataclass(frozen=True)
class Example:
    """One thing asked about or drawn of a concept, as `showcase.json` keeps it for the report (paths beside it)."""

    concept: str
    text: str
    answer: str = ""
    expected: str = ""
    photo: str = ""
    pictures: tuple[str, ...] = ()


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `demo`."""
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where everything goes (demo)")
    parser.add_argument(
        "--concepts", default="demo", help=f"demo (the first {DEMO_CONCEPTS}), all, or names with commas"
    )
    parser.add_argument("--lanes", type=int, default=0, help="workers (one per GPU; without, one per core, at most 4)")
    add_config(parser)
    parser.set_defaults(config="demo")


def run(arguments: argparse.Namespace) -> int:
    """Do everything; run again, it continues where it stopped."""
    console, config = make_console(), read_config(arguments)
    data, out = arguments.folder / "data", arguments.folder / "out"
    console.print(_opening(arguments, config))
    if not data.exists():
        with console.status("drawing the world ..."):
            write_dataset(data)
    catalog = Catalog.open(data)
    names = ",".join(catalog.names[:DEMO_CONCEPTS]) if arguments.concepts == "demo" else arguments.concepts
    summary = train(console, data, names, config, out, lanes=arguments.lanes, resume=True)
    taught = [row.concept for row in summary.rows if row.version is not None]
    _show_off(console, catalog, taught, config, out)
    _goodbye(console, write_report(out, data), out, taught)
    return OK if not summary.unfinished else FAILED


def _opening(arguments: argparse.Namespace, config: RunConfig) -> str:
    which = {"demo": f"{DEMO_CONCEPTS} concepts", "all": "all 20 concepts"}.get(arguments.concepts, arguments.concepts)
    stages = config.stages
    epochs = f"{stages.warmup.epochs} + {stages.bootstrap.epochs} + {stages.deepen.epochs}"
    short = (
        "\nThe 'demo' settings shorten the paper's 20 epochs per stage and the number of pictures that perception draws."
        if arguments.config == "demo"
        else ""
    )
    return (
        f"This demo draws Toyland, a small world of persons, pets and objects, into {arguments.folder}/data,\n"
        f"teaches {which} to the frozen base model '{config.backbone}' through the three stages of UniCTokens\n"
        f"({epochs} epochs) as a Ray Train job on this machine, tracked in MLflow, and publishes their tokens;\n"
        f"then it asks about them, draws them, and writes {arguments.folder}/out/report.html."
        f"{short}\n"
    )


def _show_off(console: Console, catalog: Catalog, taught: Sequence[str], config: RunConfig, out: Path) -> None:
    """Ask and draw with the published tokens, and keep it for the report."""
    if not taught:
        return
    store, folder = Output(out).store, out / "showcase"
    backbone = load_backbone(config.backbone, answer_start=config.answer_start, precision=config.precision)
    bare = Pipeline(backbone, [])
    drawn = config.preview.sampling
    sampling = Sampling(steps=drawn.steps, guidance=drawn.guidance, temperature=drawn.temperature)
    examples: list[Example] = []
    scores: dict[str, dict[str, Recognition]] = {}
    for name in taught:
        record = catalog.concept(name)
        pipeline = Pipeline(backbone, [store.get(name, backbone=backbone.info)])
        console.print(f"\n<{name}>: {record.info} {' '.join(record.facts)}", markup=False)
        for question in _questions(record):
            examples.append(_ask(console, pipeline, name, question, folder))
        for prompt in (f"A photo of <{name}>.", *(f"A photo of <{name}> {place}." for place in PLACES)):
            examples.append(_draw(console, pipeline, name, prompt, sampling, folder, len(examples)))
        scores[name] = {
            "with": measure_recognition(pipeline, record, ANSWER),
            "without": measure_recognition(bare, record, ANSWER),
        }
    console.print(_scoreboard(scores))
    recognition = {name: {which: asdict(score) for which, score in both.items()} for name, both in scores.items()}
    items = [asdict(example) for example in examples]
    write_json(folder / "showcase.json", {"items": items, "recognition": recognition})


def _scoreboard(scores: dict[str, dict[str, Recognition]]) -> Table:
    made = Table("concept", "with its tokens", "yes / no recall", "without", title="Recognition on test photos")
    for name, both in scores.items():
        learned, bare = both["with"], both["without"]
        recalls = f"{learned.recall:.2f} / {learned.no_recall:.2f}"
        made.add_row(name, f"{learned.score:.2f}", recalls, f"{bare.score:.2f}")
    return made


def _questions(record: ConceptRecord) -> list[ExamQuestion]:
    """A few of the dataset's test questions: recognition on the concept and on others, and facts without a photo."""
    recognition = [question for question in record.exam if question.kind == "rec"]
    chosen = [question for question in recognition if question.positive][:QUESTIONS_PER_KIND]
    chosen += [question for question in recognition if not question.positive][:QUESTIONS_PER_KIND]
    chosen += [question for question in record.exam if question.kind == "text_only"][:QUESTIONS_PER_KIND]
    return chosen


def _ask(console: Console, pipeline: Pipeline, name: str, question: ExamQuestion, folder: Path) -> Example:
    photo = None if question.kind == "text_only" else question.image
    answer = pipeline.ask(question.text, photo, decoding=ANSWER)
    where = f" [{photo.parent.name}/{photo.name}]" if photo else ""
    console.print(f"  {question.text}{where}  ->  {answer}  (expected: {question.answer})", markup=False)
    kept = ""
    if photo is not None:
        kept = f"{name}-{photo.parent.name}-{photo.name}"
        write_bytes(folder / kept, photo.read_bytes())
    return Example(name, question.text, answer=answer or "(nothing)", expected=question.answer, photo=kept)


def _draw(
    console: Console, pipeline: Pipeline, name: str, prompt: str, sampling: Sampling, folder: Path, number: int
) -> Example:
    files = []
    for seed, picture in zip(SEEDS, pipeline.draw(prompt, SEEDS, sampling), strict=True):
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG")
        files.append(f"{name}-{number:03d}-{seed}.png")
        write_bytes(folder / files[-1], buffer.getvalue())
    console.print(f"  drew {prompt!r}: {folder / files[0]}, ...", markup=False)
    return Example(name, prompt, pictures=tuple(files))


def _goodbye(console: Console, report: Path, out: Path, taught: Sequence[str]) -> None:
    console.print(f"\nLook at {report}", markup=False)
    if taught:
        name = taught[0]
        store = f"--store {out / 'store'} --concept {name}"
        console.print(f'Ask:  python -m unictokens ask {store} "Where does <{name}> live?"', markup=False)
        console.print(
            f'Draw: python -m unictokens draw {store} "A photo of <{name}> in the city." --out {name}.png', markup=False
        )
