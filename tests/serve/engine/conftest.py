"""The model that the tests of this room ask, without a model."""

import pytest
from fake_stepper import FakeStepper


@pytest.fixture
def stepper() -> FakeStepper:
    return FakeStepper()
