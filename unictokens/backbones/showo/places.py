"""Where the files of a Show-o lie: our own folder, the published repositories as folders, or the model hub."""

import re
from dataclasses import dataclass
from pathlib import Path

from unictokens.backbones.showo.config import FORMAT, read_json
from unictokens.backbones.showo.hub import download
from unictokens.errors import CheckpointError

PUBLISHED = "pytorch_model.safetensors"
SHOWO_FOLDERS = ("show-o-512x512", "show-o")
MAGVIT_HUB, PHI_HUB = "showlab/magvitv2", "microsoft/phi-1_5"
PACKAGE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Places:
    """Files of one Show-o; `phi` is the language model's own config, needed only beside published weights."""

    name: str
    config: Path
    model: Path
    magvit: Path
    tokenizer: Path
    phi: Path | None = None


def locate(source: str, magvit: Path | None = None, phi: Path | None = None) -> Places:
    """Find all files of `source`: "mini", a folder, or a hub name `owner/name`.

    A published Show-o needs the image tokenizer (`magvitv2`) and `phi-1_5` beside it: as subfolders, as neighbours, or as
    given. A folder that holds `show-o-512x512` or `show-o` stands for it. Raises CheckpointError when something is missing.
    """
    if source == "mini":
        folder = PACKAGE / "assets" / "mini"
        if not (folder / "config.json").is_file():
            raise CheckpointError("the mini base is missing from this installation: run python -m unictokens.pretrain")
        return _own(folder, "mini")
    folder = Path(source)
    if folder.is_dir():
        inner = next((folder / name for name in SHOWO_FOLDERS if (folder / name / "config.json").is_file()), folder)
        if not (inner / "config.json").is_file():
            raise CheckpointError(f"'{source}' holds no config.json: point to a Show-o folder")
        described = read_json(inner / "config.json")
        if described.get("format") == FORMAT:
            return _own(inner, inner.resolve().name)
        if described.get("_class_name") != "Showo":
            raise CheckpointError(f"'{inner / 'config.json'}' describes no Show-o: point to a Show-o folder")
        return _published(inner, magvit, phi)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", source) and not source.startswith((".", "/")):
        return _hub(source, magvit, phi)
    raise CheckpointError(
        f"backbone '{source}' is neither 'mini', a folder, nor a hub name: correct it, e.g. showlab/show-o-512x512"
    )


def _own(folder: Path, name: str) -> Places:
    return Places(
        name,
        folder / "config.json",
        folder / "model.safetensors",
        folder / "magvit.safetensors",
        folder / "tokenizer.json",
    )


def _published(folder: Path, magvit: Path | None, phi: Path | None) -> Places:
    magvit = magvit or _beside(folder, "magvitv2", PUBLISHED)
    phi = phi or _beside(folder, "phi-1_5", "tokenizer.json")
    config = phi / "config.json"
    return Places(
        folder.resolve().name,
        folder / "config.json",
        folder / PUBLISHED,
        magvit / PUBLISHED,
        phi / "tokenizer.json",
        config if config.is_file() else None,
    )


def _beside(folder: Path, name: str, file: str) -> Path:
    for candidate in (folder / name, folder.resolve().parent / name):
        if (candidate / file).is_file():
            return candidate
    raise CheckpointError(
        f"'{folder}' needs '{name}/{file}' inside or beside it: download the repository '{name}' there"
    )


def _hub(source: str, magvit: Path | None, phi: Path | None) -> Places:
    return Places(
        source,
        download(source, "config.json"),
        download(source, PUBLISHED),
        magvit / PUBLISHED if magvit else download(MAGVIT_HUB, PUBLISHED),
        phi / "tokenizer.json" if phi else download(PHI_HUB, "tokenizer.json"),
        phi / "config.json" if phi else download(PHI_HUB, "config.json"),
    )
