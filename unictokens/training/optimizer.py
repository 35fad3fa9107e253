"""AdamW over those rows of one concept that a stage trains, and nothing else.

The published code gives the optimizer both full tables and puts every other row back after each step. Owning only the
trained rows is equal to it, as long as rows that got no gradient still take their momentum and decay.

Without a schedule the last rows are as far from their middle as the learning rate throws them: a stage may end with the mean of its
last steps instead (Polyak and Juditsky 1992).
"""

import torch
from torch import Tensor

from unictokens.concepts.tokens import ConceptTokens
from unictokens.config import OptimConfig

PARTS = ("embed", "head", "bias")
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class TrainedRows:
    """All rows of one concept, of which `trained` change; the others never do.

    trained  row numbers; rows gathered as leaf tensors [len(trained), D] (embedding, head) and [len(trained)] (bias)
    """

    def __init__(self, tokens: ConceptTokens, trained: tuple[int, ...], config: OptimConfig) -> None:
        self._fixed = tokens.detach()
        self._rows = torch.tensor(trained, dtype=torch.long, device=tokens.embed_KD.device)
        self._leaves = [tensor[self._rows].clone().requires_grad_() for tensor in self._fixed.tensors()]
        # One tensor at a time, except on a GPU, where a run's dozens of small kernels would take longer than its samples.
        on_gpu = self._leaves[0].is_cuda
        self._adamw = torch.optim.AdamW(
            self._leaves,
            lr=config.lr,
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
            foreach=False,
            fused=on_gpu,
        )
        self._counts_on = self._leaves[0].device if on_gpu else torch.device("cpu")
        self._means: list[Tensor] = []
        self._counted = 0

    def tokens(self) -> ConceptTokens:
        """All rows, with the graph to the trained ones."""
        parts = (
            fixed.index_copy(0, self._rows, leaf)
            for fixed, leaf in zip(self._fixed.tensors(), self._leaves, strict=True)
        )
        return ConceptTokens(self._fixed.layout, *parts)

    def gradients(self) -> tuple[Tensor, ...]:
        """Gradients of the trained rows (embedding, head, bias) of the last backward pass, zeros where there is none."""
        return tuple(
            torch.zeros_like(leaf) if leaf.grad is None else leaf.grad.detach().clone() for leaf in self._leaves
        )

    def step(self) -> None:
        """One AdamW step from the gradients, which are cleared."""
        for leaf in self._leaves:
            if leaf.grad is None:
                leaf.grad = torch.zeros_like(leaf)
        self._adamw.step()
        self.forget()

    def forget(self) -> None:
        """Clear gradients without a step: the pass that made them did not end."""
        self._adamw.zero_grad(set_to_none=True)

    def count(self) -> None:
        """Let the rows as they are have their part in the mean that `settle` takes."""
        self._counted += 1
        if not self._means:
            self._means = [torch.zeros_like(leaf, requires_grad=False) for leaf in self._leaves]
        for mean, leaf in zip(self._means, self._leaves, strict=True):
            mean.lerp_(leaf.detach(), 1 / self._counted)

    def settle(self) -> None:
        """Put the mean of all counted rows in place of the last ones, and begin to count anew; nothing where none was counted."""
        with torch.no_grad():
            for leaf, mean in zip(self._leaves, self._means, strict=False):
                leaf.copy_(mean)
        self._means, self._counted = [], 0

    def state(self) -> dict[str, Tensor]:
        """Everything that decides what comes next, on the CPU: all rows `rows.<part>`, the moments `moment.<part>.<name>`, and
        the mean of the counted rows `mean.<part>` with their number `mean.count`.

        Moments are absent before the first step, means before the first count.
        """
        found = {f"rows.{part}": tensor for part, tensor in zip(PARTS, self.tokens().detach().tensors(), strict=True)}
        for part, leaf in zip(PARTS, self._leaves, strict=True):
            for name, value in self._adamw.state.get(leaf, {}).items():
                found[f"moment.{part}.{name}"] = value
        if self._counted:
            found |= {f"mean.{part}": mean for part, mean in zip(PARTS, self._means, strict=True)}
            found["mean.count"] = torch.tensor(self._counted)
        return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in found.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take moments and means of `state()`, whose rows these are; none in it means that there was no step, or no count, yet."""
        if "mean.count" in state:
            self._counted = int(state["mean.count"])
            self._means = [
                state[f"mean.{part}"].to(leaf.device, copy=True) for part, leaf in zip(PARTS, self._leaves, strict=True)
            ]
        for part, leaf in zip(PARTS, self._leaves, strict=True):
            if f"moment.{part}.step" not in state:
                continue
            entry = {name: state[f"moment.{part}.{name}"].clone() for name in MOMENTS}
            self._adamw.state[leaf] = {
                name: value.to(self._counts_on if name == "step" else leaf.device) for name, value in entry.items()
            }
