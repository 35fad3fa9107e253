"""K-means over embedding rows."""

import pytest
import torch

from unictokens.errors import TrainingError
from unictokens.methods.clustering import centres


def test_centres_find_separate_groups() -> None:
    middle_KD = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    noise = 0.01 * torch.randn(90, 2, generator=torch.Generator().manual_seed(0))
    found = centres(middle_KD.repeat(30, 1) + noise, 3)
    assert found.dtype == torch.float32
    assert torch.cdist(middle_KD, found).min(dim=1).values.max() < 0.05


def test_same_vectors_same_bytes() -> None:
    vectors_MD = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(centres(vectors_MD, 5), centres(vectors_MD.clone(), 5))


def test_too_few_vectors_are_refused_with_the_fix() -> None:
    with pytest.raises(TrainingError, match="at least 4 vectors"):
        centres(torch.zeros(3, 2), 4)
