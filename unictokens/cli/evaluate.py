"""`unictokens evaluate --data DIR --store OUT/store --concept bo`: examine a concept beside its controls."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from unictokens.atomic import write_json
from unictokens.backbones import load_backbone
from unictokens.cli.options import OUT, add_device, read_device, trained_on
from unictokens.cli.progress import make_console
from unictokens.cli.shell import FAILED, OK
from unictokens.concepts.store import LATEST, ConceptStore
from unictokens.data.catalog import Catalog
from unictokens.data.records import ConceptRecord
from unictokens.errors import ConfigError
from unictokens.evaluation.contenders import NAMES
from unictokens.evaluation.exam import ExamSettings
from unictokens.evaluation.judges import Judge
from unictokens.evaluation.manifest import Manifest
from unictokens.evaluation.openai_judge import OpenAIJudge, OpenAISettings
from unictokens.evaluation.score import Score, Scores
from unictokens.evaluation.toyland_judge import ToylandJudge
from unictokens.evaluation.unifybench import Bench, rule, scores

MODES = ("correct", "paper_compat")


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `evaluate`."""
    held = ExamSettings()
    parser.add_argument("--data", type=Path, required=True, help="dataset folder")
    parser.add_argument("--store", type=Path, default=OUT / "store", help="where concepts are published (out/store)")
    parser.add_argument("--concept", required=True, metavar="NAME[@VERSION]", help="a published concept")
    parser.add_argument(
        "--out", type=Path, default=OUT / "evaluation", help="where everything is kept (out/evaluation)"
    )
    parser.add_argument("--contenders", default=",".join(NAMES), help=f"with commas, of {', '.join(NAMES)} (all)")
    parser.add_argument("--mode", default="correct", choices=MODES, help="paper_compat repeats the published quirks")
    parser.add_argument("--judge", default="toyland", help="toyland, openai, or none (toyland)")
    parser.add_argument("--judge-url", default="", metavar="URL", help="of openai: up to /v1")
    parser.add_argument("--judge-model", default="", metavar="NAME", help="of openai")
    parser.add_argument("--judge-key", default="OPENAI_API_KEY", metavar="VARIABLE", help="that holds the key")
    parser.add_argument(
        "--prompts", type=Path, help='JSON of drawing prompts by kind, {"object": ["a <sks> ..."], ...}'
    )
    parser.add_argument("--pure", type=int, default=held.pure, help=f"pictures of each of them ({held.pure})")
    parser.add_argument(
        "--knowledge", type=int, default=held.knowledge, help=f"of prompts about facts ({held.knowledge})"
    )
    parser.add_argument("--steps", type=int, default=held.steps, help=f"decoding steps ({held.steps})")
    parser.add_argument("--seed", type=int, default=held.seed, help="of the first picture")
    parser.add_argument("--rescore", action="store_true", help="only compute the scores again, without the model")
    add_device(parser)


def run(arguments: argparse.Namespace) -> int:
    """Examine, judge, print. Exit code 1 when something stayed without a verdict."""
    contenders = _contenders(arguments.contenders)
    name, _, version = arguments.concept.partition("@")
    record = Catalog.open(arguments.data).concept(name)
    judge, console = _judge(arguments), make_console()
    created = datetime.now(UTC).isoformat(timespec="seconds")
    found = ConceptStore(arguments.store).find_version(name, version or LATEST)
    folder = arguments.out / f"{name}@v{found.version}-{arguments.mode}"
    if arguments.rescore:
        manifests = {each: Manifest.open(folder / each) for each in contenders}
    else:
        with console.status("examining ...") as status:
            manifests = _examine(arguments, contenders, record, folder, created, lambda text: status.update(text))
    failed: Sequence[str] = ()
    if judge is not None:
        with console.status("judging ...") as status:
            failed = rule(manifests, record, judge, created, lambda text: status.update(text))
    results = {each: scores(manifest, None if judge is None else judge.name) for each, manifest in manifests.items()}
    write_json(folder / "scores.json", {who: {k: asdict(v) for k, v in each.items()} for who, each in results.items()})
    console.print(table(results, f"{name}@v{found.version}, {arguments.mode}"))
    for reason in failed[:5]:
        console.print(f"without a verdict: {reason}", style="red", markup=False)
    console.print(f"everything is in {folder}", highlight=False)
    return FAILED if failed else OK


def _contenders(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in NAMES:
            raise ConfigError(f"contender '{name}' is unknown: choose among {', '.join(NAMES)}")
    return names


def _judge(arguments: argparse.Namespace) -> Judge | None:
    if arguments.judge == "none":
        return None
    if arguments.judge == "toyland":
        return ToylandJudge()
    if arguments.judge != "openai":
        raise ConfigError(f"judge '{arguments.judge}' is unknown: choose toyland, openai or none")
    if not arguments.judge_url or not arguments.judge_model:
        raise ConfigError("judge 'openai' needs an address and a model: add --judge-url and --judge-model")
    settings = OpenAISettings(
        url=arguments.judge_url,
        model=arguments.judge_model,
        key_env=arguments.judge_key,
        cache=arguments.out / "judge-cache",
    )
    return OpenAIJudge(settings)


def _examine(
    arguments: argparse.Namespace,
    contenders: Sequence[str],
    record: ConceptRecord,
    folder: Path,
    created: str,
    tell: Callable[[str], None],
) -> dict[str, Manifest]:
    store = ConceptStore(arguments.store)
    name, _, version = arguments.concept.partition("@")
    bundle = store.get(name, version or LATEST)
    backbone = load_backbone(**trained_on(bundle), device=read_device(arguments))
    settings = ExamSettings(
        pure=arguments.pure, knowledge=arguments.knowledge, steps=arguments.steps, seed=arguments.seed
    )
    bench = Bench(
        backbone=backbone,
        bundle=bundle,
        version=store.find_version(name, version or LATEST).version,
        record=record,
        prompts=_prompts(arguments.prompts, record),
        settings=settings,
        mode=arguments.mode,
        created=created,
    )
    return {each: bench.hold(each, folder / each, tell) for each in contenders}


def _prompts(path: Path | None, record: ConceptRecord) -> list[str]:
    """The evaluation prompts of this kind of concept; none without a file."""
    if path is None:
        return []
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        prompts = values[record.kind]
        if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
            raise TypeError("it must be a list of texts")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"'{path}' has no prompts under '{record.kind}' ({error}): write them there") from error
    return prompts


def table(results: Mapping[str, Scores], title: str) -> Table:
    """A row per score, a column per contender, and what the tokens gain over nothing."""
    made = Table("score", *results, *(["gain"] if {"tokens", "nothing"} <= results.keys() else []), title=title)
    for column in next(iter(results.values()), {}):
        cells = [_cell(each[column]) for each in results.values()]
        if {"tokens", "nothing"} <= results.keys():
            with_tokens, without = results["tokens"][column].value, results["nothing"][column].value
            cells.append("" if with_tokens is None or without is None else f"{with_tokens - without:+.3f}")
        made.add_row(column, *cells)
    return made


def _cell(score: Score) -> str:
    return f"n/a: {score.why}" if score.value is None else f"{score.value:.3f} of {score.count}"
