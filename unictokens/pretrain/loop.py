"""The training loop of the recipe: image tokenizer and transformer differ in what they learn, not in how."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unictokens.pretrain.attributes import ATTRIBUTES
from unictokens.pretrain.state import load_state, save_state

logger = logging.getLogger(__name__)

Learn = Callable[[int], tuple[dict[str, float] | dict[str, Tensor], np.ndarray | Tensor]]
"""Takes the number of a step, leaves gradients; returns named losses, and the share of right attributes [A].

Tensors (without graph) are read only when they are reported: to read a number makes the processor wait for the GPU.
"""


class Training:
    """Weights and AdamW of one training that goes on where its state file stopped.

    `done` is the number of finished steps; every step must follow from its number alone, so that a resumed training ends
    where an undisturbed one does.
    """

    def __init__(self, name: str, pupil: nn.Module, optimizer: torch.optim.AdamW, state: Path) -> None:
        self.name, self.pupil, self.optimizer, self.state = name, pupil, optimizer, state
        self.done = load_state(state, pupil, optimizer)

    def run(
        self,
        last: int,
        rate: Callable[[int], float],
        learn: Learn,
        report: int,
        save: int,
        over: Callable[[], bool] = lambda: False,
    ) -> None:
        """Steps up to `last`, reported every `report` (means since the last report) and saved every `save` steps.

        `rate` gives a step's learning rate; a step after which training is `over` is the last one.
        """
        first, started = self.done, time.monotonic()
        losses: list[Tensor] = []
        hits: list[Tensor] = []
        for step in range(first, last):
            for group in self.optimizer.param_groups:
                group["lr"] = rate(step)
            self.optimizer.zero_grad(set_to_none=True)
            named, hits_A = learn(step)
            nn.utils.clip_grad_norm_(self.pupil.parameters(), 1.0)
            self.optimizer.step()
            self.done = step + 1
            losses.append(torch.stack([torch.as_tensor(loss) for loss in named.values()]))
            hits.append(torch.as_tensor(hits_A))
            if self.done % report == 0:
                means = zip(named, torch.stack(losses).mean(dim=0).tolist(), strict=True)
                right = zip(ATTRIBUTES, torch.stack(hits).mean(dim=0).tolist(), strict=True)
                words = "%s step %d: %s; %.2f steps/s; right: %s"
                told = ", ".join(f"{name} {value:.4f}" for name, value in means)
                shares = ", ".join(f"{name} {share:.2f}" for name, share in right)
                logger.info(
                    words, self.name, self.done, told, (self.done - first) / (time.monotonic() - started), shares
                )
                losses, hits = [], []
            ends = self.done == last or over()
            if self.done % save == 0 or ends:
                save_state(self.state, self.pupil, self.optimizer, self.done)
            if ends:
                return
