"""MaskGIT decoding as Show-o publishes it."""

import pytest
import torch
from torch import Generator, Tensor

from unictokens.sampling import maskgit

B, N, C = 3, 16, 11


def logits_of(codes_BN: Tensor) -> Tensor:
    return all_logits_of(codes_BN)[codes_BN == maskgit.HIDDEN]


def all_logits_of(codes_BN: Tensor) -> Tensor:
    """A model that prefers code (place mod C) and looks at what is already there."""
    places = torch.arange(N) % C
    favourite_NC = torch.nn.functional.one_hot(places, C).float()
    return favourite_NC.expand(len(codes_BN), N, C) + 0.01 * codes_BN.sum(1).view(-1, 1, 1) * torch.arange(C)


def hidden(rows: int = B) -> Tensor:
    return torch.full((rows, N), maskgit.HIDDEN)


def generator(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def generators(*seeds: int) -> list[Generator]:
    return [generator(seed) for seed in seeds]


def test_schedule_matches_published_numbers() -> None:
    counts = [maskgit.keep_hidden(step, 50, 1024) for step in range(50)]
    assert counts[:11] == [1023, 1021, 1019, 1015, 1011, 1005, 999, 991, 983, 973, 963]
    assert counts[-6:] == [160, 128, 96, 64, 32, -1]


def test_temperature_falls_cumulatively() -> None:
    found = maskgit.temperatures(1.0, 50)
    assert found[:4] == pytest.approx([0.98, 0.9408, 0.884352, 0.81360384])
    assert found[-1] == 0.0


def test_every_code_is_decided_at_the_end() -> None:
    codes_BN, _ = maskgit.decode(logits_of, hidden(), 5, 1.0, generator(1))
    assert codes_BN.shape == (B, N)
    assert bool(((codes_BN >= 0) & (codes_BN < C)).all())


def test_known_codes_stay() -> None:
    start_BN = hidden()
    start_BN[:, ::2] = 7
    codes_BN, _ = maskgit.decode(logits_of, start_BN, 6, 1.0, generator(1))
    assert bool((codes_BN[:, ::2] == 7).all())
    assert bool((codes_BN[:, 1::2] != maskgit.HIDDEN).all())


def test_own_generators_make_rows_independent_of_neighbours() -> None:
    together, _ = maskgit.decode(logits_of, hidden(), 4, 1.0, generators(5, 6, 7))
    for row, seed in enumerate((5, 6, 7)):
        alone, _ = maskgit.decode(logits_of, hidden(1), 4, 1.0, generators(seed))
        assert torch.equal(together[row], alone[0])


def test_codes_of_a_row_come_as_often_as_their_probabilities_say() -> None:
    probs_C = torch.tensor([0.0, 0.5, 0.0, 0.2, 0.3, 0.0])
    hidden_BN = torch.ones(1, 20_000, dtype=torch.bool)
    drawn_M = maskgit.draw_codes(probs_C.expand(20_000, -1), hidden_BN, generators(0))
    shares_C = torch.bincount(drawn_M, minlength=6) / 20_000
    assert torch.allclose(shares_C, probs_C, atol=0.015) and not bool(shares_C[probs_C == 0.0].any())


def test_one_generator_draws_as_if_every_place_were_hidden() -> None:
    """The published code samples known places too; what it takes for hidden ones must not depend on how many these are."""
    probs_BNC, hidden_BN = torch.rand(B, N, C, generator=generator(0)), torch.rand(B, N, generator=generator(1)) < 0.5
    published_P = torch.multinomial(probs_BNC.view(-1, C), 1, generator=generator(2))[:, 0]
    drawn_M = maskgit.draw_codes(probs_BNC[hidden_BN], hidden_BN, generator(2))
    assert torch.equal(drawn_M, published_P[hidden_BN.flatten()])


def test_trace_keeps_sampled_codes_of_asked_steps() -> None:
    codes_BN, trace = maskgit.decode(logits_of, hidden(), 6, 1.0, generator(3), trace=(2, 6))
    assert sorted(trace) == [2, 6]
    assert torch.equal(trace[6], codes_BN)
    assert not bool((trace[2] == maskgit.HIDDEN).any())


def test_least_confident_hides_the_least_probable_without_noise() -> None:
    probs_BN = torch.tensor([[0.9, 0.1, 0.5, 0.2]])
    hide_BN = maskgit.least_confident(probs_BN, torch.tensor([[2]]), 0.0, generator(0))
    assert hide_BN.tolist() == [[False, True, False, True]]


def test_training_mask_hides_the_cosine_share_and_at_least_one() -> None:
    time_B = torch.tensor([0.0, 0.5, 1.0])
    hidden_BN = maskgit.training_mask(time_B, torch.rand(3, 64, generator=Generator().manual_seed(0)))
    assert hidden_BN.sum(1).tolist() == [64, 45, 1]
