"""A frozen transformer that is partitioned over the processes of a lane and kept outside their devices (DeepSpeed ZeRO-3).

One process leads: the runs, their rows, optimizers and files are its own. The others follow: they hold their part of the
weights and compute their share of each pass, and know nothing of runs. A follower is told by name what to do; inside,
DeepSpeed's gathering of weights keeps all of them in step. The DeepSpeed engine has no optimizer and is called through its
module; it never sees the learned rows, and nothing here gathers all weights at once or saves them.

The only file that imports deepspeed.
"""

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Generator, Tensor, nn

from unictokens.backbones.base import (
    WHOLE,
    AnswerRequest,
    BackboneInfo,
    Decoding,
    Drawing,
    GenerationRequest,
    GenerationSample,
    Losses,
    MaskDraw,
    Sampling,
    Share,
    UnderstandingSample,
)
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.prompt import Prompt
from unictokens.errors import ConfigError, DependencyError

SMALL = 10_000
"""Weights of fewer numbers stay on the device: norms and biases, not worth a transfer."""

PATIENCE = timedelta(hours=12)
"""How long a follower waits to be told something: the leader may draw previews or wait for runs meanwhile."""


Where = Literal["none", "cpu", "nvme"]
"""Where weights are between their uses: a part on the device of each process, in host memory, or in files."""


class Worker:
    """One process of a lane: its part of the weights, and what it can be told to do.

    backbone  a frozen Show-o on the CPU; its transformer is partitioned in place, the rest moved to `device`
    folder    for "nvme"
    small     weights of fewer numbers are not partitioned
    Needs an initialized process group of torch.distributed. Raises DependencyError without DeepSpeed or, for "nvme", libaio.
    """

    def __init__(
        self, backbone: Any, device: torch.device, where: Where, folder: Path | None = None, small: int = SMALL
    ) -> None:
        backbone.magvit.to(device)
        self.backbone = backbone
        self.share = Share(dist.get_rank(), dist.get_world_size())
        # Words go over the CPU: they need no device, and must not wait for what it computes.
        self._words: Any = dist.new_group(backend="gloo", timeout=PATIENCE)
        self._engine = _partition(backbone.language_model, device, where, folder, small)
        self._losses: Losses | None = None

    @property
    def leads(self) -> bool:
        """Whether this process is the one that has the runs."""
        return self.share.number == 0

    def tell(self, name: str, *arguments: Any) -> None:
        """As the leader: make every follower do `do_<name>(*arguments)`; the leader must do it too."""
        if self.share.of > 1:
            dist.broadcast_object_list([(name, arguments)], src=0, group=self._words)

    def release(self) -> None:
        """As the leader: let the followers go."""
        self.tell("end")

    def follow(self) -> None:
        """As a follower: do what the leader tells until it tells to end."""
        while True:
            told: list[Any] = [None]
            dist.broadcast_object_list(told, src=0, group=self._words)
            name, arguments = told[0]
            if name == "end":
                return
            getattr(self, f"do_{name}")(*arguments)

    def inside(self, act: Callable[[], Any]) -> Any:
        """Do something with the transformer: its weights are there when they are used."""
        return self._engine.module(act)

    def do_call(self, name: str, *arguments: Any) -> Any:
        """Call a method of the backbone, the same in all processes."""
        return self.inside(lambda: getattr(self.backbone, name)(*arguments))

    def do_losses(self, batch: Any, bank: ConceptBank) -> Losses:
        """Losses of the whole batch, to which every process contributes its share."""
        if self.share == WHOLE:
            return self.inside(lambda: self.backbone.losses(batch, bank))
        if not self.leads:
            for part in (bank.embed_CKD, bank.head_CKD, bank.bias_CK):
                part.requires_grad_()
        parts: Any = _SumGradients.apply(bank.embed_CKD, bank.head_CKD, bank.bias_CK)
        joined = ConceptBank(parts[0], parts[1], parts[2], bank.rows_C)
        own = self.inside(lambda: self.backbone.losses(batch, joined, self.share))
        sums: Any = _SumLosses.apply(
            self, own.understanding_total_U, own.understanding_count_U, own.generation_total_G, own.generation_count_G
        )
        self._losses = Losses(*sums)
        return self._losses

    def do_backward(self, slopes: Sequence[Tensor]) -> None:
        """As a follower: the way back through the last losses, from the leader's gradients of their totals."""
        made, self._losses = self._losses, None
        assert made is not None
        totals = (made.understanding_total_U, made.generation_total_G)
        pairs = [(total, slope.to(total.device)) for total, slope in zip(totals, slopes, strict=True) if len(total)]
        torch.autograd.backward([total for total, _ in pairs], [slope for _, slope in pairs])

    def do_generate(
        self, requests: Sequence[GenerationRequest], bank: ConceptBank, sampling: Sampling
    ) -> list[Drawing]:
        """All drawings, to which every process contributes its share (the leader gets them all, a follower its own)."""
        rows, weight = self.share.rows(len(requests))
        drawings = self.inside(lambda: self.backbone.generate([requests[row] for row in rows], bank, sampling))
        if self.share == WHOLE:
            return drawings
        mine = dict(zip(rows, drawings, strict=True)) if weight else {}
        parts: list[Any] | None = [None] * self.share.of if self.leads else None
        dist.gather_object(mine, parts, dst=0, group=self._words)
        everything = {row: drawing for part in parts or [mine] for row, drawing in part.items()}
        return [everything[row] for row in sorted(everything)]


class Led:
    """A backbone as the leader sees it: what needs the transformer is done by all processes."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._own = worker.backbone

    @property
    def info(self) -> BackboneInfo:
        return self._own.info

    def tokenize(self, prompt: Prompt) -> list[int]:
        return self._own.tokenize(prompt)

    def encode(self, images_BCHW: Tensor) -> Tensor:
        return self._own.encode(images_BCHW)

    def decode(self, codes_BN: Tensor) -> Tensor:
        return self._own.decode(codes_BN)

    def collate(
        self, understanding: Sequence[UnderstandingSample], generation: Sequence[tuple[GenerationSample, MaskDraw]]
    ) -> Any:
        return self._own.collate(understanding, generation)

    def word_rows(self, text: str) -> Tensor:
        return self._call("word_rows", text)

    def image_rows(self, codes: Tensor) -> Tensor:
        return self._call("image_rows", codes)

    def head_rows(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        return self._call("head_rows", codes)

    def losses(self, batch: Any, bank: ConceptBank, share: Share = WHOLE) -> Losses:
        self._worker.tell("losses", batch, _plain(bank))
        return self._worker.do_losses(batch, bank.to(self._own.device))

    def answer(
        self,
        requests: Sequence[AnswerRequest],
        bank: ConceptBank,
        decoding: Decoding,
        generator: Generator | None = None,
        on_token: Callable[[int, str], None] | None = None,
    ) -> list[str]:
        if generator is not None and self._worker.share != WHOLE:
            raise ConfigError("sampled answers need a lane of one process: use greedy decoding (top_k 1) here")
        # How many steps an answer takes is not known before: all processes go the same way.
        self._worker.tell("call", "answer", requests, _plain(bank), decoding)
        return self._worker.do_call("answer", requests, bank, decoding, generator, on_token)

    def generate(self, requests: Sequence[GenerationRequest], bank: ConceptBank, sampling: Sampling) -> list[Drawing]:
        if not requests:
            return []
        self._worker.tell("generate", requests, _plain(bank), sampling)
        return self._worker.do_generate(requests, bank, sampling)

    def _call(self, name: str, *arguments: Any) -> Any:
        self._worker.tell("call", name, *arguments)
        return self._worker.do_call(name, *arguments)


class _Root(nn.Module):
    """What DeepSpeed takes for the model: whatever is done within its call is its forward pass."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, act: Callable[[], Any]) -> Any:
        return act()


class _SumGradients(torch.autograd.Function):
    """Identity; on the way back, gradients are the sums over all processes."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Any:
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        summed = tuple(gradient.contiguous().clone() for gradient in gradients)
        for gradient in summed:
            dist.all_reduce(gradient)
        return summed


class _SumLosses(torch.autograd.Function):
    """Sums over all processes; on the way back, the leader's gradients are everybody's."""

    @staticmethod
    def forward(ctx: Any, worker: Worker, *tensors: Tensor) -> Any:
        ctx.worker = worker
        summed = tuple(tensor.detach().clone() for tensor in tensors)
        for tensor in summed:
            dist.all_reduce(tensor)
        ctx.mark_non_differentiable(summed[1], summed[3])
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        if ctx.worker.leads:
            ctx.worker.tell("backward", [gradients[0].cpu(), gradients[2].cpu()])
        return None, gradients[0], None, gradients[2], None


def _plain(bank: ConceptBank) -> ConceptBank:
    """Its numbers alone, to be sent."""
    return ConceptBank(
        bank.embed_CKD.detach().cpu(), bank.head_CKD.detach().cpu(), bank.bias_CK.detach().cpu(), bank.rows_C.cpu()
    )


def _partition(model: Any, device: torch.device, where: Where, folder: Path | None, small: int) -> Any:
    """Give the transformer to DeepSpeed: an engine without optimizer, whose module is called."""
    if device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    # DeepSpeed asks its own launcher's variable; a lane has one process per device anyway.
    os.environ.setdefault("LOCAL_RANK", str(device.index or 0))
    try:
        import deepspeed
    except ModuleNotFoundError as error:
        raise DependencyError("offloading needs DeepSpeed: pip install 'unictokens[cluster]'") from error
    place: dict[str, Any] = {"device": where, "pin_memory": device.type == "cuda"}
    if where == "nvme":
        builders: Any = import_module("deepspeed.ops.op_builder")
        if not builders.AsyncIOBuilder().is_compatible(verbose=False):
            raise DependencyError("--offload nvme needs libaio: install libaio-dev, or use --offload cpu")
        place["nvme_path"] = str(folder)
    zero: dict[str, Any] = {
        "stage": 3,
        "stage3_param_persistence_threshold": small,
        # Its own linear layer would save weights that are gone when they are wanted.
        "memory_efficient_linear": False,
    }
    if where != "none":
        zero["offload_param"] = place
    bfloat16 = next(model.parameters()).dtype == torch.bfloat16
    settings = {"train_micro_batch_size_per_gpu": 1, "bf16": {"enabled": bfloat16}, "zero_optimization": zero}
    root = _Root(model)
    engine, *_ = deepspeed.initialize(model=root, config=settings, dist_init_required=False)
    head = model.showo.lm_head
    # The head is read in parts, beside its module: it is there from the beginning of a pass to its end.
    for weight in (head.weight, head.bias):
        deepspeed.zero.register_external_parameter(root, weight)
    model.restore_frequencies(device)
    return engine
