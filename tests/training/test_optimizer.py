"""Training only some rows equals training everything and putting the other rows back."""

import torch

from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.tokens import ConceptTokens
from unictokens.config import OptimConfig
from unictokens.training.optimizer import TrainedRows

LAYOUT = TokenLayout(shared=3, generation=2, understanding=2)
OPTIM = OptimConfig(lr=0.05, weight_decay=1e-2, eps=1e-6)


def tokens(seed: int = 0) -> ConceptTokens:
    generator = torch.Generator().manual_seed(seed)
    K, D = LAYOUT.total, 6
    shapes = ((K, D), (K, D), (K,))
    return ConceptTokens(LAYOUT, *(torch.randn(shape, generator=generator) for shape in shapes))


def loss(rows: ConceptTokens, step: int) -> torch.Tensor:
    """A loss that leaves half of the rows out in every other step."""
    embed_KD, head_KD, bias_K = rows.tensors()
    used = slice(0, None, 1 + step % 2)
    return (embed_KD[used].sin() * head_KD[used]).sum() + (bias_K[used] * (step + 1)).square().sum()


def test_trained_rows_follow_full_tables_that_are_put_back() -> None:
    trained = LAYOUT.rows("identifier", "understanding")
    rows = TrainedRows(tokens(), trained, OPTIM)
    full = [tensor.clone().requires_grad_() for tensor in tokens().tensors()]
    keep = torch.tensor([row for row in range(LAYOUT.total) if row not in trained])
    optimizer = torch.optim.AdamW(full, lr=OPTIM.lr, betas=OPTIM.betas, eps=OPTIM.eps, weight_decay=OPTIM.weight_decay)
    for step in range(6):
        loss(rows.tokens(), step).backward()
        rows.step()
        optimizer.zero_grad()
        loss(ConceptTokens(LAYOUT, *full), step).backward()
        optimizer.step()
        with torch.no_grad():
            for table, start in zip(full, tokens().tensors(), strict=True):
                table[keep] = start[keep]
    for mine, theirs, start in zip(rows.tokens().tensors(), full, tokens().tensors(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)
        assert torch.equal(mine[keep], start[keep])
        assert not torch.equal(mine[list(trained)], start[list(trained)])


def test_rows_without_gradient_still_move_by_momentum() -> None:
    rows = TrainedRows(tokens(), LAYOUT.rows("identifier"), OPTIM)
    rows.tokens().embed_KD.sum().backward()
    rows.step()
    before = rows.tokens().embed_KD[0].detach().clone()
    rows.step()
    assert not torch.equal(rows.tokens().embed_KD[0], before)


def test_restored_moments_continue_with_the_same_bytes() -> None:
    undisturbed = TrainedRows(tokens(), LAYOUT.rows("shared"), OPTIM)
    for step in range(3):
        loss(undisturbed.tokens(), step).backward()
        undisturbed.step()
    state = undisturbed.state()
    resumed = TrainedRows(
        ConceptTokens(LAYOUT, state["rows.embed"], state["rows.head"], state["rows.bias"]), LAYOUT.rows("shared"), OPTIM
    )
    resumed.restore(state)
    for rows in (undisturbed, resumed):
        for step in range(3, 5):
            loss(rows.tokens(), step).backward()
            rows.step()
    for mine, theirs in zip(resumed.tokens().tensors(), undisturbed.tokens().tensors(), strict=True):
        assert torch.equal(mine, theirs)


def walked(rows: TrainedRows, steps: range) -> list[ConceptTokens]:
    """Make steps, count the rows after each; the rows that were counted."""
    seen = []
    for step in steps:
        loss(rows.tokens(), step).backward()
        rows.step()
        rows.count()
        seen.append(rows.tokens().detach())
    return seen


def test_rows_settle_at_the_mean_of_what_was_counted() -> None:
    trained = LAYOUT.rows("identifier", "understanding")
    rows = TrainedRows(tokens(), trained, OPTIM)
    seen = walked(rows, range(5))
    rows.settle()
    others = [row for row in range(LAYOUT.total) if row not in trained]
    for at, (mean, start) in enumerate(zip(rows.tokens().tensors(), tokens().tensors(), strict=True)):
        expected = torch.stack([each.tensors()[at] for each in seen]).mean(0)
        torch.testing.assert_close(mean, expected, rtol=0, atol=1e-6)
        assert torch.equal(mean[others], start[others])
    rows.settle()  # nothing was counted since
    torch.testing.assert_close(rows.tokens().embed_KD, torch.stack([each.embed_KD for each in seen]).mean(0))


def test_a_mean_goes_on_with_the_same_bytes_after_a_restart() -> None:
    undisturbed = TrainedRows(tokens(), LAYOUT.rows("shared"), OPTIM)
    walked(undisturbed, range(3))
    state = undisturbed.state()
    at = ConceptTokens(LAYOUT, state["rows.embed"], state["rows.head"], state["rows.bias"])
    resumed = TrainedRows(at, LAYOUT.rows("shared"), OPTIM)
    resumed.restore(state)
    for rows in (undisturbed, resumed):
        walked(rows, range(3, 5))
        rows.settle()
        assert not any(name.startswith("mean.") for name in rows.state())
    for mine, theirs in zip(resumed.tokens().tensors(), undisturbed.tokens().tensors(), strict=True):
        assert torch.equal(mine, theirs)
