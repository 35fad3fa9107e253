"""`python -m unictokens parity DIR`: every recorded vector file of a folder, or a recorded training; one line per tensor."""

import logging
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

logger = logging.getLogger(__name__)

KNOWN = ("phi_", "magvit", "prompting", "mmu_text", "sampler")
"""How the names of vector files begin."""


def run(folder: Path, tokenizer: Path | None = None) -> int:
    """Check all vector files of `folder`, print `name  max_abs_diff  ok|FAIL` for each tensor; 1 when any fails, else 0.

    `tokenizer` is the folder or file of the published text tokenizer; without it, `phi_tokenizer/tokenizer.json` is looked
    for in and beside `folder`. Raises DataError for a folder without vector files and for a missing tokenizer.
    """
    if not folder.is_dir():
        raise DataError(f"'{folder}' is no folder: name a folder of recorded vectors (*.safetensors)")
    if is_recording(folder):
        return _run_training(folder, tokenizer)
    files = [path for path in sorted(folder.glob("*.safetensors")) if path.name.startswith(KNOWN)]
    if not files:
        raise DataError(f"'{folder}' holds no known vector file: it needs one of {', '.join(f'{k}*' for k in KNOWN)}")
    left_out = sorted({path.name for path in folder.glob("*.safetensors")} - {path.name for path in files})
    if left_out:
        logger.warning("not checked, no known vector files: %s", ", ".join(left_out))
    texts = (
        _tokenizer(folder, tokenizer) if any(not path.name.startswith(("phi_", "magvit")) for path in files) else None
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # recordings were made with one thread; sums of others may round differently
    try:
        failed = 0
        for path in files:
            for check in check_file(Vectors.read(path), texts):
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
    """All comparisons of one file, by the beginning of its name; text files need the tokenizer."""
    if vectors.name.startswith("phi_"):
        return check_phi(vectors)
    if vectors.name.startswith("magvit"):
        return check_magvit(vectors)
    if tokenizer is None:
        raise DataError(f"vector file '{vectors.name}' needs the published text tokenizer: name it with --tokenizer")
    if vectors.name.startswith("prompting"):
        return check_prompting(vectors, tokenizer)
    if vectors.name.startswith("mmu_text"):
        return check_mmu_text(vectors, tokenizer)
    return check_sampler(vectors, tokenizer)


def _tokenizer(folder: Path, given: Path | None) -> TextTokenizer:
    places = [given] if given else [folder / "phi_tokenizer", folder.resolve().parent / "phi_tokenizer", folder]
    for place in places:
        path = place if place.is_file() else place / "tokenizer.json"
        if path.is_file():
            return TextTokenizer.load(path)
    raise DataError(
        f"no tokenizer.json in '{places[0]}'"
        + ("" if given else f" or '{places[1]}'")
        + ": name the published text tokenizer (microsoft/phi-1_5) with --tokenizer"
    )
