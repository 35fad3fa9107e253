"""`python -m unictokens parity DIR`: every recorded vector file of a folder, or a recorded training; one line per tensor."""

from collections.abc import Callable
from pathlib import Path

import torch

from unictokens.concepts.tokenizer import TextTokenizer
from unictokens.errors import DataError
from unictokens.parity.magvit import check_magvit
from unictokens.parity.phi import check_phi
from unictokens.parity.sampler import check_sampler
from unictokens.parity.texts import check_mmu_text, check_prompting
from unictokens.parity.vectors import Check, Vectors
from unictokens.training.parity import compare, is_recording

TOKENIZER_FOLDER = "phi_tokenizer"
WITHOUT_TEXT: dict[str, Callable[[Vectors], list[Check]]] = {"phi": check_phi, "magvit": check_magvit}
WITH_TEXT: dict[str, Callable[[Vectors, TextTokenizer], list[Check]]] = {
    "prompting": check_prompting,
    "mmu_text": check_mmu_text,
    "sampler": check_sampler,
}
"""Kinds of vector files, and what checks them."""


def run(folder: Path, tokenizer: Path | None = None) -> int:
    """Check all vector files of `folder`, print `name  max_abs_diff  ok|FAIL` for each tensor; 1 when any fails, else 0.

    A file's tensors tell what it is about, whatever its name. `tokenizer` is the folder or file of the published text
    tokenizer; without it, `phi_tokenizer/tokenizer.json` is looked for in `folder` and in every folder above it.
    Raises DataError for a folder without vector files and for a missing tokenizer.
    """
    if not folder.is_dir():
        raise DataError(f"'{folder}' is no folder: name a folder of recorded vectors (*.safetensors)")
    if is_recording(folder):
        return _run_training(folder, tokenizer)
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise DataError(f"'{folder}' holds no vector file: name a folder of recorded vectors (*.safetensors)")
    texts: TextTokenizer | None = None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # recordings were made with one thread; sums of others may round differently
    try:
        failed = 0
        for path in paths:  # one file in memory at a time
            vectors = Vectors.read(path)
            if texts is None and _kind(vectors) in WITH_TEXT:
                texts = _tokenizer(folder, tokenizer)
            for check in check_file(vectors, texts):
                verdict = "ok" if check.ok else "FAIL" + (f" ({check.note})" if check.note else "")
                print(f"{check.name}  {check.difference:.3g}  {verdict}", flush=True)
                failed += not check.ok
        return 1 if failed else 0
    finally:
        torch.set_num_threads(threads)


def _run_training(folder: Path, tokenizer: Path | None) -> int:
    """A recording of a whole training instead of single tensors: train, and compare every step."""
    checks = compare(folder, _tokenizer(folder, tokenizer))
    for check in checks:
        print(f"{check.name}  {check.difference:.3g}  {'ok' if check.ok else 'FAIL'}", flush=True)
    return 0 if all(check.ok for check in checks) else 1


def check_file(vectors: Vectors, tokenizer: TextTokenizer | None) -> list[Check]:
    """All comparisons of one file; texts need the tokenizer. A file of no known kind is one failed check."""
    kind = _kind(vectors)
    if kind in WITHOUT_TEXT:
        return WITHOUT_TEXT[kind](vectors)
    if kind not in WITH_TEXT:
        return [Check(vectors.name, float("nan"), False, "no known kind of vector file")]
    if tokenizer is None:
        raise DataError(f"vector file '{vectors.name}' needs the published text tokenizer: name it with --tokenizer")
    return WITH_TEXT[kind](vectors, tokenizer)


def _kind(vectors: Vectors) -> str:
    keys = vectors.tensors.keys()
    groups = {key.split(".")[0] for key in keys}
    if keys >= {"x", "z", "codes"}:
        return "magvit"
    if "input_ids" in keys and any(key.startswith(("logits_", "loss_", "grad_")) for key in keys):
        return "phi"
    if groups & {"lm", "t2i", "t2i_gen", "mask"}:
        return "prompting"
    if groups & {"gen", "inpaint", "train", "sched", "topk"}:
        return "sampler"
    if any(key.endswith((".input_ids", "prompt_ids")) for key in keys):
        return "mmu_text"
    return ""


def _tokenizer(folder: Path, given: Path | None) -> TextTokenizer:
    above = [parent / TOKENIZER_FOLDER for parent in folder.resolve().parents]
    places = [given] if given else [folder / TOKENIZER_FOLDER, folder, *above]
    for place in places:
        path = place if place.is_file() else place / "tokenizer.json"
        if path.is_file():
            return TextTokenizer.load(path)
    raise DataError(
        f"no tokenizer.json in '{places[0]}'"
        + ("" if given else " or in a folder above")
        + ": name the published text tokenizer (microsoft/phi-1_5) with --tokenizer"
    )
