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
from unictokens.cli.options import OUT, add_device, add_replay, add_store, read_device, read_replay, trained_on
from unictokens.cli.progress import make_console
from unictokens.cli.shell import FAILED, OK
from unictokens.concepts.bundle import ConceptBundle
from unictokens.concepts.store import LATEST, ConceptStore
from unictokens.data.catalog import Catalog
from unictokens.data.records import ConceptRecord
from unictokens.errors import ConceptError, ConfigError
from unictokens.evaluation.contenders import INVERSION, NAMES, REAL, REPLAY, has_rows
from unictokens.evaluation.exam import EXAMS, exam_for
from unictokens.evaluation.judges import Judge
from unictokens.evaluation.manifest import Manifest
from unictokens.evaluation.openai_judge import OpenAIJudge, OpenAISettings
from unictokens.evaluation.score import Score, Scores
from unictokens.evaluation.similarity import look, open_encoders
from unictokens.evaluation.toyland_judge import ToylandJudge
from unictokens.evaluation.unifybench import Bench, rule, scores
from unictokens.storage.base import local_folder, parse_place

MODES = ("correct", "paper_compat")
CONTENDERS = (*NAMES, REAL)
"""Those held without asking; INVERSION joins when its concept is given."""


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `evaluate`."""
    parser.add_argument("--data", type=Path, required=True, help="dataset folder")
    add_store(parser)
    parser.add_argument("--concept", required=True, metavar="NAME[@VERSION]", help="a published concept")
    parser.add_argument(
        "--out", type=local_folder, default=OUT / "evaluation", help="where everything is kept (out/evaluation)"
    )
    parser.add_argument(
        "--contenders", default=",".join(CONTENDERS), help=f"with commas, of {', '.join(CONTENDERS)} (all)"
    )
    parser.add_argument(
        "--inversion",
        metavar="STORE[@VERSION]",
        help="the same concept trained with --set method=textual_inversion, as one more contender",
    )
    add_replay(parser, "one more contender, who is asked what a drawing prompt needs to know before it is drawn")
    parser.add_argument("--mode", default="correct", choices=MODES, help="paper_compat repeats the published quirks")
    parser.add_argument("--judge", default="toyland", help="toyland, openai, or none (toyland)")
    parser.add_argument("--judge-url", default="", metavar="URL", help="of openai: up to /v1")
    parser.add_argument("--judge-model", default="", metavar="NAME", help="of openai")
    parser.add_argument("--judge-key", default="OPENAI_API_KEY", metavar="VARIABLE", help="that holds the key")
    parser.add_argument(
        "--clip", default="toyland", help="for CLIP-I, CLIP-T: toyland, FOLDER, ARCHITECTURE=FILE, or none (toyland)"
    )
    parser.add_argument("--dino", type=Path, metavar="FOLDER", help="of a DINO ViT-S/16, for DINO")
    parser.add_argument("--faces", type=Path, metavar="FOLDER", help="of antelopev2, for the faces of persons")
    parser.add_argument(
        "--prompts",
        type=Path,
        help='JSON of drawing prompts by kind, {"object": ["a <sks> ..."], ...} (the dataset\'s prompts_to_eval.json)',
    )
    parser.add_argument(
        "--exam",
        choices=tuple(EXAMS),
        help="how long it is and how pictures are drawn (published; toyland, which is short, for the small base)",
    )
    parser.add_argument("--pure", type=int, help="pictures of each of them, over the exam's number")
    parser.add_argument("--knowledge", type=int, help="of prompts about facts, likewise")
    parser.add_argument("--steps", type=int, help="decoding steps, likewise")
    parser.add_argument("--seed", type=int, default=0, help="of the first picture")
    parser.add_argument("--rescore", action="store_true", help="only compute the scores again, without the model")
    add_device(parser)


def run(arguments: argparse.Namespace) -> int:
    """Examine, judge, look, print. Exit code 1 when something stayed without a verdict."""
    contenders = _contenders(arguments)
    name, _, version = arguments.concept.partition("@")
    catalog = Catalog.open(arguments.data)
    record = catalog.concept(name)
    judge, console = _judge(arguments), make_console()
    created = datetime.now(UTC).isoformat(timespec="seconds")
    found = ConceptStore(arguments.store).find_version(name, version or LATEST)
    folder = arguments.out / f"{name}@v{found.version}-{arguments.mode}"
    failed: Sequence[str] = ()
    if arguments.rescore:
        manifests = {each: Manifest.open(folder / each) for each in contenders}
    else:
        # Encoders are opened first, so that a damaged one is known before an hour of drawing.
        clip = None if arguments.clip == "none" else arguments.clip
        encoders = open_encoders(clip, arguments.dino, arguments.faces, _single(read_device(arguments)))
        with console.status("examining ...") as status:
            manifests = _examine(arguments, contenders, catalog, record, folder, created, status.update)
            look(manifests, record, encoders, created, status.update)
    if judge is not None:
        with console.status("judging ...") as status:
            failed = rule(manifests, record, judge, created, status.update)
    results = {each: scores(manifest, None if judge is None else judge.name) for each, manifest in manifests.items()}
    write_json(folder / "scores.json", {who: {k: asdict(v) for k, v in each.items()} for who, each in results.items()})
    console.print(table(results, f"{name}@v{found.version}, {arguments.mode}"))
    for reason in reasons(results):
        console.print(reason, style="dim", markup=False, highlight=False)
    for reason in failed[:5]:
        console.print(f"without a verdict: {reason}", style="red", markup=False)
    console.print(f"everything is in {folder}", highlight=False)
    return FAILED if failed else OK


def _single(device: str) -> str:
    return "cuda" if device == "spread" else device


def _contenders(arguments: argparse.Namespace) -> list[str]:
    names = [name for name in arguments.contenders.split(",") if name]
    for name in names:
        if name not in CONTENDERS:
            raise ConfigError(f"contender '{name}' is unknown: choose among {', '.join(CONTENDERS)}")
    replays = read_replay(arguments)
    return [*names, *([REPLAY + replays.name] if replays else []), *([INVERSION] if arguments.inversion else [])]


def _inversion(text: str, name: str) -> tuple[ConceptBundle, int]:
    """The concept's bundle and version in another store. Raises ConceptError when it was learned by another method."""
    place, _, version = text.partition("@")
    store = ConceptStore(parse_place(place))
    found = store.find_version(name, version or LATEST)
    bundle = store.get(name, found.version)
    method = bundle.card.provenance.config.get("method")
    if method != "textual_inversion":
        raise ConceptError(
            f"'{name}' in '{place}' was learned by {method}: train it with --set method=textual_inversion in another --out"
        )
    return bundle, found.version


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
    catalog: Catalog,
    record: ConceptRecord,
    folder: Path,
    created: str,
    tell: Callable[[str], None],
) -> dict[str, Manifest]:
    store = ConceptStore(arguments.store)
    name, _, version = arguments.concept.partition("@")
    bundle = store.get(name, version or LATEST)
    backbone = load_backbone(**trained_on(bundle), device=read_device(arguments))
    chosen = {name: getattr(arguments, name) for name in ("pure", "knowledge", "steps", "seed")}
    settings = exam_for(backbone.info.name, arguments.exam, **chosen)
    bench = Bench(
        backbone=backbone,
        bundle=bundle,
        version=store.find_version(name, version or LATEST).version,
        record=record,
        prompts=_prompts(arguments.prompts, catalog, record),
        settings=settings,
        mode=arguments.mode,
        created=created,
        inversion=_inversion(arguments.inversion, name) if arguments.inversion else None,
    )
    return {each: bench.hold(each, folder / each, tell) for each in contenders}


def _prompts(path: Path | None, catalog: Catalog, record: ConceptRecord) -> list[str]:
    """The evaluation prompts of this kind of concept: of the file, else of the dataset, else none."""
    if path is None:
        return list(catalog.evaluation_prompts(record.kind))
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        prompts = values[record.kind]
        if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
            raise TypeError("it must be a list of texts")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"'{path}' has no prompts under '{record.kind}' ({error}): write them there") from error
    return prompts


NO_SCORE = Score(None, 0, "it has no such column")


def table(results: Mapping[str, Scores], title: str) -> Table:
    """A row per score, a column per contender, and what rows of tokens gain over nothing."""
    gainers = [who for who in results if has_rows(who)] if "nothing" in results else []
    titles = ["gain" if who == "tokens" else f"gain of {who}" for who in gainers]
    made = Table("score", *results, *titles, title=title)
    for column in dict.fromkeys(column for each in results.values() for column in each):
        cells = [_cell(each.get(column)) for each in results.values()]
        for who in gainers:
            with_tokens, without = (results[each].get(column, NO_SCORE).value for each in (who, "nothing"))
            cells.append("" if with_tokens is None or without is None else f"{with_tokens - without:+.3f}")
        made.add_row(column, *cells)
    return made


def reasons(results: Mapping[str, Scores]) -> list[str]:
    """Why scores are absent, each reason once with the columns and contenders it is true of."""
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for who, each in results.items():
        for column, score in each.items():
            if score.value is None:
                columns, contenders = found.setdefault(score.why, ({}, {}))
                columns[column] = contenders[who] = None
    return [
        f"n/a: {', '.join(columns)} ({', '.join(contenders)}): {why}" for why, (columns, contenders) in found.items()
    ]


def _cell(score: Score | None) -> str:
    if score is None:
        return ""
    return "n/a" if score.value is None else f"{score.value:.3f} of {score.count}"
