"""What the documents say of the tests is true as far as a machine can tell: the tests they name exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


@pytest.mark.parametrize("document", ["docs/faults.md"])
def test_named_tests_exist(document: str) -> None:
    named = NAMED.findall((ROOT / document).read_text())
    assert named
    for file, name in named:
        tree = ast.parse((ROOT / "tests" / file).read_text())
        assert name in {
            node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }, f"{document} names {file}::{name}"
