"""Work left out changes nothing: losses and gradients equal those of every place, every layer and every logit."""

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from unictokens.backbones.base import WHOLE, GenerationSample, MaskDraw, Share, Turn, UnderstandingSample
from unictokens.backbones.showo import head
from unictokens.backbones.showo.attention import drawing_mask, understanding_mask
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.batch import Block, ShowOBatch
from unictokens.backbones.showo.layers import Rotation, normed_and_turned
from unictokens.backbones.showo.prefix import PrefixCache
from unictokens.backbones.showo.vocabulary import IGNORE
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.prompt import identifier, introduction, join, subject
from unictokens.concepts.tokens import ConceptTokens

Make = Callable[..., ConceptTokens]
Codes = Callable[[int], Tensor]
SMALL = TokenLayout(shared=1, generation=1, understanding=0)


def plain_losses(backbone: ShowO, block: Block, mask: Tensor, labels_BT: Tensor, bank: ConceptBank) -> Tensor:
    """Summed cross-entropies [B]: transformers' own forward pass over padding and all, all logits of labelled places."""
    model = backbone.language_model
    x_BTD = model.embed(block.ids_BT, bank, block.concepts_BS)
    h_BTD = model.hidden(x_BTD, mask, torch.arange(block.ids_BT.shape[1])[None] + block.dropped)
    totals = []
    for row in range(block.rows):
        concepts_TS = block.concepts_BS[row].expand(block.ids_BT.shape[1], -1)
        logits_TV = model.logits(h_BTD[row], bank, concepts_TS)
        columns_T = backbone.vocabulary.columns(labels_BT[row], bank.rows)
        totals.append(functional.cross_entropy(logits_TV, columns_T, ignore_index=IGNORE, reduction="sum"))
    return torch.stack(totals)


def plain(backbone: ShowO, batch: ShowOBatch, bank: ConceptBank) -> tuple[Tensor, Tensor]:
    """The same for both blocks of a batch: [U] and [G]."""
    asked, drawn, ids = batch.understanding, batch.generation, backbone.vocabulary
    assert asked is not None and drawn is not None
    seen = understanding_mask(backbone.config.num_vq_tokens + 3, asked.ids_BT.shape[1])
    next_BT = torch.cat([asked.labels_BT[:, 1:], torch.full_like(asked.labels_BT[:, :1], IGNORE)], dim=1)
    image_BT = drawn.labels_BT.clone()
    image_BT[:, : backbone.config.text_length + 1 - drawn.dropped] = IGNORE
    return (
        plain_losses(backbone, asked, seen, next_BT, bank),
        plain_losses(backbone, drawn, drawing_mask(drawn.ids_BT, ids.pad, ids.soi, ids.eoi), image_BT, bank),
    )


def mixed_batch(backbone: ShowO, codes: Codes, mask_draw: Callable[..., MaskDraw], layout: TokenLayout) -> ShowOBatch:
    """Conversations and drawings of two concepts and of nobody, of different lengths, two about the same photo."""
    asked = [
        UnderstandingSample(
            codes(0),
            (
                Turn(join(introduction(layout, ("shared",)), "\nIs ", identifier(layout), " here?"), ("Yes.",)),
                Turn(("What colour?",), join("Brown, as ", identifier(layout), " is.")),
            ),
            (0,),
        ),
        UnderstandingSample(codes(0), (Turn(join("Who? ", identifier(SMALL)), ("No.",)),), (1,)),
        UnderstandingSample(codes(2), (Turn(("Hi?",), ("No.",)),), ()),
    ]
    drawn = [
        (
            GenerationSample(codes(3), join("A photo of ", subject(layout), " in a wide green park."), (0,)),
            mask_draw(3),
        ),
        (GenerationSample(codes(4), join("A ", subject(SMALL)), (1,)), mask_draw(4)),
        (GenerationSample(codes(5), join("A ", subject(SMALL)), (1,)), mask_draw(5, dropped=True)),
    ]
    return backbone.collate(asked, drawn)


@pytest.mark.parametrize("logits_at_once", [1, 2**23])
def test_losses_and_gradients_equal_the_plain_path(
    tiny_backbone: ShowO,
    concept: Make,
    codes: Codes,
    mask_draw: Callable[..., MaskDraw],
    layout: TokenLayout,
    logits_at_once: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head, "LOGITS_AT_ONCE", logits_at_once)
    batch = mixed_batch(tiny_backbone, codes, mask_draw, layout)
    found = []
    for fast in (False, True, True):  # the second time image prefixes come from the cache
        tokens = [concept(1), concept(2, SMALL)]
        leaves = [tensor.requires_grad_() for one in tokens for tensor in one.tensors()]
        bank = ConceptBank.stack(tokens)
        losses = tiny_backbone.losses(batch, bank)
        totals = (
            (losses.understanding_total_U, losses.generation_total_G) if fast else plain(tiny_backbone, batch, bank)
        )
        gradients = torch.autograd.grad(totals[0].sum() + 0.3 * totals[1].sum(), leaves)
        found.append([*totals, *gradients])
    for fast in found[1:]:
        for got, expected in zip(fast, found[0], strict=True):
            assert float((got - expected).detach().norm() / expected.detach().norm()) <= 1e-5
    assert all(torch.equal(first, again) for first, again in zip(found[1], found[2], strict=True))


def test_rows_of_one_length_are_read_without_padding_or_mask(
    tiny_backbone: ShowO, concept: Make, codes: Codes, mask_draw: Callable[..., MaskDraw], layout: TokenLayout
) -> None:
    prompt = join("A photo of ", subject(layout), " in a park.")
    drawn = [(GenerationSample(codes(at), prompt, (at,)), mask_draw(at)) for at in range(2)]
    turn = Turn(join(introduction(layout, ("shared",)), "\nIs ", identifier(layout), " here?"), ("Yes.",))
    batch = tiny_backbone.collate([UnderstandingSample(codes(at), (turn,), (at,)) for at in range(2)], drawn)
    assert batch.generation is not None and (batch.generation.ids_BT != tiny_backbone.vocabulary.pad).all()
    found = []
    for fast in (False, True):
        tokens = [concept(1), concept(2)]
        leaves = [tensor.requires_grad_() for one in tokens for tensor in one.tensors()]
        bank = ConceptBank.stack(tokens)
        losses = tiny_backbone.losses(batch, bank)
        sums = (losses.understanding_total_U, losses.generation_total_G) if fast else plain(tiny_backbone, batch, bank)
        found.append([*sums, *torch.autograd.grad(sums[0].sum() + 0.3 * sums[1].sum(), leaves)])
    for got, expected in zip(*found, strict=True):
        assert float((got - expected).detach().norm() / expected.detach().norm()) <= 1e-5


@pytest.mark.parametrize("ids", [64, 130])
def test_products_in_even_parts_are_the_whole_products(ids: int) -> None:
    torch.manual_seed(0)
    h_PD, head_VD, bias_V, slopes_PV = torch.randn(5, 8), torch.randn(ids, 8), torch.randn(ids), torch.randn(5, ids + 3)
    logits_PV = torch.zeros(5, 192)[:, :ids]
    head.even_logits(h_PD, head_VD, bias_V, logits_PV)
    assert torch.allclose(logits_PV, functional.linear(h_PD, head_VD, bias_V), atol=1e-5)
    weighted_PD = head.even_weighted(slopes_PV[:, :ids], head_VD)
    assert torch.allclose(weighted_PD, slopes_PV[:, :ids] @ head_VD, atol=1e-4)
    assert head.rows_at_once(58_498, on_gpu=True) % head.EVEN_ROWS == 0 < head.rows_at_once(2**30, on_gpu=True)


def test_one_kernel_for_norm_and_rotation_computes_both(tiny_backbone: ShowO) -> None:
    """The function that a GPU compiles, against the modules that a CPU calls."""
    phi = tiny_backbone.language_model.showo.model
    x_MHE = torch.randn(7, *_heads(phi))
    norm, turn = phi.layers[0].self_attn.q_layernorm, Rotation(phi, torch.zeros(7, 1), torch.arange(3, 10))
    together = normed_and_turned(x_MHE, norm.weight, norm.bias, norm.eps, turn.cos, turn.sin)
    assert torch.allclose(together, turn(norm, x_MHE), atol=1e-6) and not torch.allclose(together, norm(x_MHE))


def _heads(phi: Any) -> tuple[int, int]:
    return phi.config.num_attention_heads, phi.layers[0].self_attn.head_dim


@pytest.mark.parametrize("processes", [2, 4])
def test_shares_add_up_to_the_whole(
    tiny_backbone: ShowO,
    concept: Make,
    codes: Codes,
    mask_draw: Callable[..., MaskDraw],
    layout: TokenLayout,
    processes: int,
) -> None:
    """Of three samples of each kind, the fourth process has none and computes one for nothing."""
    batch = mixed_batch(tiny_backbone, codes, mask_draw, layout)
    found = []
    for shares in ([WHOLE], [Share(number, processes) for number in range(processes)]):
        tokens = [concept(1), concept(2, SMALL)]
        leaves = [tensor.requires_grad_() for one in tokens for tensor in one.tensors()]
        parts = [tiny_backbone.losses(batch, ConceptBank.stack(tokens), share) for share in shares]
        names = ("understanding_total_U", "understanding_count_U", "generation_total_G", "generation_count_G")
        sums = [torch.stack([getattr(part, name) for part in parts]).sum(0) for name in names]
        gradients = torch.autograd.grad(sums[0].sum() + 0.3 * sums[2].sum(), leaves)
        found.append([*sums, *gradients])
    for whole, added in zip(*found, strict=True):
        assert float((added - whole).detach().norm() / whole.detach().norm()) <= 1e-5


def test_a_photo_is_read_once_for_everybody(
    tiny_backbone: ShowO, concept: Make, codes: Codes, mask_draw: Callable[..., MaskDraw], layout: TokenLayout
) -> None:
    tiny_backbone.prefixes = PrefixCache()
    batch = mixed_batch(tiny_backbone, codes, mask_draw, layout)
    bank = ConceptBank.stack([concept(1), concept(2, SMALL)])
    tiny_backbone.losses(batch, bank)
    assert (tiny_backbone.prefixes.misses, tiny_backbone.prefixes.hits) == (2, 1)
    tiny_backbone.losses(batch, bank)
    assert (tiny_backbone.prefixes.misses, tiny_backbone.prefixes.hits) == (2, 4)
    tiny_backbone.to("cpu")
    assert len(tiny_backbone.prefixes) == 0


@pytest.mark.parametrize("head_learns", [False, True])
def test_cross_entropy_is_that_of_all_logits(head_learns: bool) -> None:
    torch.manual_seed(0)
    h_QD, learned_QK = torch.randn(7, 5, requires_grad=True), torch.randn(7, 3)
    learned_QK[2:, 1] = float("-inf")
    learned_QK.requires_grad_()
    head_VD, bias_V = torch.randn(11, 5, requires_grad=head_learns), torch.randn(11)
    columns_Q, weights_Q = torch.tensor([0, 12, 10, 11, 13, 3, 3]), torch.randn(7)
    leaves = [h_QD, learned_QK, *([head_VD] if head_learns else [])]
    logits_QV = torch.cat([functional.linear(h_QD, head_VD, bias_V), learned_QK], dim=1)
    found = []
    for losses_Q in (
        functional.cross_entropy(logits_QV, columns_Q, reduction="none"),
        head.cross_entropy(h_QD, learned_QK, head_VD, bias_V, columns_Q),
    ):
        found.append([losses_Q.detach(), *torch.autograd.grad((losses_Q * weights_Q).sum(), leaves)])
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*found, strict=True))


def test_logits_of_all_rows_share_one_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "LOGITS_AT_ONCE", 2000)
    h_QD, learned_QK, head_VD, bias_V = torch.randn(50, 4), torch.randn(50, 3), torch.randn(497, 4), torch.randn(497)
    large = set()

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, given=(), options=None):
            made = function(*given, **(options or {}))
            if isinstance(made, torch.Tensor) and made.untyped_storage().nbytes() >= 4 * 1800 and made.numel() > 450:
                large.add(made.untyped_storage().data_ptr())
                kept.append(made)  # or its place could be given to the next
            return made

    kept: list[torch.Tensor] = []
    with Watching():
        head.cross_entropy(h_QD, learned_QK, head_VD, bias_V, torch.randint(0, 500, (50,)))
    fixed = {one.untyped_storage().data_ptr() for one in (h_QD, learned_QK, head_VD, bias_V)}
    assert kept and len(large - fixed) == 1


def test_cross_entropy_of_a_head_in_bfloat16_is_that_of_its_numbers_but_for_rounding() -> None:
    torch.manual_seed(0)
    h_QD, learned_QK, head_VD, bias_V = torch.randn(50, 16), torch.randn(50, 3), torch.randn(130, 16), torch.randn(130)
    columns_Q, small = torch.randint(0, 133, (50,)), [one.bfloat16() for one in (h_QD, head_VD, bias_V)]
    found = []
    for h, matrix, bias in ([one.float() for one in small], small):
        leaves = [h.requires_grad_(), learned_QK.clone().requires_grad_()]
        losses_Q = head.cross_entropy(*leaves, matrix, bias, columns_Q)
        found.append([losses_Q.detach(), *torch.autograd.grad(losses_Q.sum(), leaves)])
    for exact, rounded in zip(*found, strict=True):
        assert float((rounded.float() - exact).norm() / exact.norm()) <= 2e-2


def test_cache_keeps_what_was_used_last_within_its_bytes() -> None:
    cache, made = PrefixCache(device_bytes=2 * 40), []

    def ask(name: str) -> Tensor:
        return cache.get(name.encode(), lambda: made.append(name) or torch.full((10,), float(len(made))))

    first = ask("a")
    ask("b")
    assert torch.equal(ask("a"), first)
    ask("c")
    assert cache.held == (80, 0) and len(cache) == 2
    ask("a")
    ask("b")
    assert made == ["a", "b", "c", "b"]


def test_a_prefix_larger_than_the_cache_is_given_but_not_kept() -> None:
    cache = PrefixCache(device_bytes=8)
    assert torch.equal(cache.get(b"a", lambda: torch.ones(10)), torch.ones(10))
    assert len(cache) == 0 and cache.held == (0, 0)


def test_a_copied_cache_begins_empty_with_the_same_bytes() -> None:
    cache = PrefixCache(device_bytes=40, host_bytes=80)
    cache.get(b"a", lambda: torch.ones(10))
    copied = pickle.loads(pickle.dumps(cache))
    assert len(copied) == 0 and copied.held == (0, 0)
    for name in (b"a", b"b", b"c", b"d"):
        copied.get(name, lambda: torch.ones(10))
    assert len(copied) == 3 and len(cache) == 1
