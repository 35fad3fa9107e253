"""The house stays a house: imports go to the same floor or down, without cycles, and heavy libraries have one door each."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

FLOORS = {
    "unictokens": 0,
    "unictokens.errors": 0,
    "unictokens.lookup": 0,
    "unictokens.memory": 0,
    "unictokens.atomic": 1,
    "unictokens.images": 1,
    "unictokens.sealed": 1,
    "unictokens.settings": 1,
    "unictokens.storage": 1,
    "unictokens.tracking": 1,
    "unictokens.config": 2,
    "unictokens.concepts": 2,
    "unictokens.sampling": 2,
    "unictokens.encoders": 2,
    "unictokens.backbones": 3,
    "unictokens.data": 4,
    "unictokens.pipeline": 5,
    "unictokens.replay": 5,
    "unictokens.methods": 6,
    "unictokens.training": 7,
    "unictokens.learn": 8,
    "unictokens.output": 8,
    "unictokens.report": 8,
    "unictokens.parity": 8,
    "unictokens.evaluation": 8,
    "unictokens.pretrain": 8,
    "unictokens.cli": 9,
    "unictokens.__main__": 9,
    "tune_spaces": 10,
    "cluster": 11,
    "serve": 11,
}
"""Rooms and their floors; a module belongs to the longest prefix listed here."""

ADAPTERS: dict[str, str | tuple[str, ...]] = {
    "transformers": ("unictokens/backbones/showo/language_model.py", "unictokens/encoders/dino.py"),
    "tokenizers": "unictokens/concepts/tokenizer.py",
    "huggingface_hub": "unictokens/backbones/showo/hub.py",
    "scipy": "unictokens/evaluation/interval.py",
    "matplotlib": ("unictokens/report/plots.py", "unictokens/report/sweep_plots.py"),
    "sklearn": "unictokens/methods/clustering.py",
    "mlflow": tuple(f"unictokens/tracking/mlflow_{noun}.py" for noun in ("client", "server", "registry")),
    "psutil": "cluster/vitals.py",
    "ray.train": "cluster/lane.py",
    "ray.tune": "cluster/sweeping/tuner.py",
    "optuna": "cluster/sweeping/optuna_sampler.py",
    "ray.serve": ("serve/deployment.py", "serve/replica_client.py"),
    "ray.util": "serve/ray_metrics.py",
    "prometheus_client": "serve/metrics_page.py",
    "ray.job_submission": "cluster/submit.py",
    "deepspeed": "cluster/deepspeed_engine.py",
    "accelerate": "unictokens/backbones/showo/dispatch.py",
    "open_clip": "unictokens/encoders/clip.py",
    "insightface": "unictokens/encoders/face.py",
    "fastapi": tuple(
        f"serve/api/{noun}.py"
        for noun in ("app", "chat", "concepts", "errors", "forms", "images", "models", "runs", "state")
    ),
    "uvicorn": "serve/local_server.py",
    "sqlalchemy": "serve/users/database.py",
    "fsspec": "unictokens/storage/fsspec_store.py",
    "gcsfs": "unictokens/storage/fsspec_store.py",
    "msgspec": "unictokens/data/quick.py",
    "s3fs": (),
}
"""Outside libraries and the one file that may import each; transformers has one for language and one for pictures, s3fs is
opened by fsspec alone."""

ALWAYS_PRESENT = {"torch", "numpy", "PIL", "safetensors", "pydantic", "pydantic_core", "typing_extensions", "msgspec"}
"""What `import unictokens` and any module's import may need beside the standard library."""


def sources() -> dict[str, Path]:
    """Module name to file, of all product code."""
    files = [file for top in ("unictokens", "cluster", "serve", "tune_spaces") for file in (ROOT / top).rglob("*.py")]
    names = {}
    for file in files:
        parts = file.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return names


SOURCES = sources()


def imports(file: Path, top_level_only: bool = False) -> set[str]:
    """Modules that `file` imports; names imported from a package count as its submodules where such a file exists."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: write absolute imports"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in SOURCES or submodule in ADAPTERS else str(node.module))
    return found


def floor(module: str) -> int:
    """Floor of the room a module belongs to."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in FLOORS and (length > 1 or len(parts) == 1 or parts[0] != "unictokens"):
            return FLOORS[".".join(parts[:length])]
    raise AssertionError(f"{module} belongs to no floor: add its room to FLOORS")


def doors(library: str) -> set[str]:
    """Files that may import a library."""
    files = ADAPTERS[library]
    return {files} if isinstance(files, str) else set(files)


def ours(names: set[str]) -> set[str]:
    """Those of `names` that are product modules."""
    return {name for name in names if name.split(".")[0] in ("unictokens", "cluster", "serve", "tune_spaces")}


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_imports_go_down(module: str) -> None:
    upward = {name for name in ours(imports(SOURCES[module])) if floor(name) > floor(module)}
    assert not upward, f"{module} (floor {floor(module)}) imports upwards: {sorted(upward)}"


def test_cluster_and_serve_never_meet() -> None:
    for module, file in SOURCES.items():
        top = module.split(".")[0]
        other = {"cluster": "serve", "serve": "cluster"}.get(top)
        assert not any(name.split(".")[0] == other for name in imports(file)), f"{module} imports {other}"


def test_no_import_cycles() -> None:
    graph = {module: {name for name in ours(imports(file)) if name in SOURCES} for module, file in SOURCES.items()}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"cycle: {' -> '.join((*path[path.index(module) :], module))}"
        if module not in done:
            for name in graph[module] - {module}:
                visit(name, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("library", sorted(ADAPTERS))
def test_heavy_library_has_one_door(library: str) -> None:
    users = {
        str(file.relative_to(ROOT))
        for file in SOURCES.values()
        if any(name == library or name.startswith(library + ".") for name in imports(file))
    }
    assert users <= doors(library), f"{library} is imported by {sorted(users)}; only {sorted(doors(library))} may"


def test_core_imports_need_only_the_base_libraries() -> None:
    """Adapters aside, no core module imports an outside library at its top level."""
    open_doors = {door for library in ADAPTERS for door in doors(library)}
    for module, file in SOURCES.items():
        if (
            not module.startswith("unictokens")
            or str(file.relative_to(ROOT)) in open_doors
            or module.startswith("unictokens.cli")
        ):
            continue
        outside = {name.split(".")[0] for name in imports(file, top_level_only=True)}
        foreign = outside - ALWAYS_PRESENT - set(sys.stdlib_module_names) - {"unictokens"}
        assert not foreign, f"{module} imports {sorted(foreign)} at its top level"
