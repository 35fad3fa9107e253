"""The base that the smallest recipe makes."""

from pathlib import Path

import pytest
from tiny_recipe import TINY

from unictokens.pretrain import __main__ as command


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return command.pretrain(TINY, tmp_path_factory.mktemp("pretrain"), "cpu", processes=1)
