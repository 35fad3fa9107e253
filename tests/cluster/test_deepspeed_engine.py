"""A partitioned, offloaded transformer teaches the same rows as a whole one, with one process and with two."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from unictokens.backbones import load_backbone
from unictokens.concepts.tokens import ConceptTokens
from unictokens.config import RunConfig, load_config, override, parse_settings
from unictokens.data.catalog import Catalog
from unictokens.methods.base import Setting
from unictokens.methods.draws import SeededDraws
from unictokens.tracking.base import Trackers
from unictokens.training.engine import Engine, LocalEngine
from unictokens.training.pack import train_pack
from unictokens.training.run import Run
from unictokens.training.session import Alone

pytestmark = pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed")

CONCEPTS = ("bo", "tavo")
TINY = 100
"""Everything but norms and biases of the tiny Show-o is partitioned."""


def taught(engine: Engine, data: Path, config: RunConfig, folder: Path) -> dict[str, tuple[torch.Tensor, ...]]:
    """Rows of two concepts after all stages, trained in one pack."""
    waiting = []
    for number, name in enumerate(CONCEPTS):
        record = Catalog.open(data).concept(name)
        setting = Setting(engine.backbone, record, config, SeededDraws(number), engine.codes)
        waiting.append(Run(engine, setting, folder / name, tracker=Trackers(()), session=Alone()))
    found: dict[str, tuple[torch.Tensor, ...]] = {}
    for ended in train_pack(engine, lambda: waiting.pop() if waiting else None, width=2):
        assert ended.error is None, ended.error
        tokens: ConceptTokens = ended.run.state.rows.tokens().detach()
        found[ended.run.state.name] = tokens.tensors()
    return found


def work(rank: int, world: int, base: Path, data: Path, config: RunConfig, folder: Path) -> None:
    """One process: the first trains, the others follow; each checks its part of the weights before and after."""
    from cluster.deepspeed_engine import Led, Worker

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    backbone = load_backbone(str(base))
    head_VD = backbone.language_model.head_VD.detach().clone()
    worker = Worker(backbone, torch.device("cpu"), "cpu", small=TINY)
    weight = backbone.language_model.showo.lm_head.weight
    share = -(-head_VD.numel() // world)
    expected = torch.nn.functional.pad(head_VD.flatten(), (0, share * world - head_VD.numel()))

    def check() -> None:
        assert weight.numel() == 0, "the whole head is there outside a pass"
        assert torch.equal(weight.ds_tensor.flatten(), expected[rank * share : (rank + 1) * share])

    check()
    if worker.leads:
        rows = taught(LocalEngine(Led(worker)), data, config, folder / "runs")
        worker.release()
        torch.save(rows, folder / "rows.pt")
    else:
        worker.follow()
    check()
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize("world", [1, 2])
def test_offloaded_rows_are_those_of_the_plain_engine(
    world: int, tiny_base: Path, toyland: Path, short_settings: list[str], tmp_path: Path
) -> None:
    config = override(load_config("demo", parse_settings(short_settings)), {"preview.every": 2})
    spawn(work, (world, tiny_base, toyland, config, tmp_path), nprocs=world)
    offloaded = torch.load(tmp_path / "rows.pt", weights_only=True)
    plain = taught(LocalEngine(load_backbone(str(tiny_base))), toyland, config, tmp_path / "plain")
    assert offloaded.keys() == plain.keys() == set(CONCEPTS)
    for name in CONCEPTS:
        for mine, theirs in zip(offloaded[name], plain[name], strict=True):
            assert float((mine - theirs).norm() / theirs.norm()) <= 1e-4
