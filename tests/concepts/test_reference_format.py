"""Promises about the authors' `.pt` triples."""

import pickle
from pathlib import Path

import pytest
import torch

from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.reference_format import export_triple, find_epochs, import_triple, triple
from unictokens.concepts.tokens import ConceptTokens
from unictokens.errors import ConceptError, StorageError

LAYOUT = TokenLayout()


def rows(count: int, width: int = 5) -> ConceptTokens:
    generator = torch.Generator().manual_seed(count)
    return ConceptTokens(
        LAYOUT,
        torch.randn(count, width, generator=generator),
        torch.randn(count, width, generator=generator),
        torch.randn(count, generator=generator),
    )


def test_published_files_round_trip_byte_for_byte(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "reference_bo"
    assert find_epochs(source) == [15]
    tokens = import_triple(source, 15, LAYOUT)
    assert tokens.embed_KD.shape == (25, 2048) and tokens.embed_KD.device.type == "cpu"
    for ours, theirs in zip(export_triple(tokens, tmp_path, 15), triple(source, 15), strict=True):
        assert ours.read_bytes() == theirs.read_bytes(), ours.name


@pytest.mark.parametrize("count", [17, 25, 33])
@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_every_stage_round_trips_through_plain_torch_load(tmp_path: Path, count: int, device: str) -> None:
    tokens = rows(count)
    paths = export_triple(tokens, tmp_path, 20, device)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)
    for path, tensor in zip(paths, tokens.tensors(), strict=True):
        assert torch.equal(torch.load(path, map_location="cpu", weights_only=True), tensor)
    again = import_triple(tmp_path, 20, LAYOUT)
    for mine, theirs in zip(again.tensors(), tokens.tensors(), strict=True):
        assert torch.equal(mine, theirs)


def test_wrong_row_counts_are_refused(tmp_path: Path) -> None:
    export_triple(rows(25), tmp_path, 5)
    with pytest.raises(ConceptError, match="25 rows do not fit"):
        import_triple(tmp_path, 5, TokenLayout(shared=4, generation=2, understanding=30))
    with pytest.raises(ConceptError):
        export_triple(rows(20), tmp_path, 6)


def test_foreign_and_damaged_files_are_refused(tmp_path: Path) -> None:
    export_triple(rows(17), tmp_path, 5)
    embed = triple(tmp_path, 5)[0]
    whole = embed.read_bytes()
    for data in (whole[:100], whole[:-30], b"", b"hello"):
        embed.write_bytes(data)
        with pytest.raises(StorageError) as caught:
            import_triple(tmp_path, 5, LAYOUT)
        assert "\n" not in str(caught.value)
    for value in ({"a": torch.zeros(1)}, torch.zeros(17), torch.zeros(17, 5, dtype=torch.float64)):
        torch.save(value, embed)
        with pytest.raises(ConceptError, match="not a float32 tensor"):
            import_triple(tmp_path, 5, LAYOUT)
    embed.unlink()
    with pytest.raises(StorageError):
        import_triple(tmp_path, 5, LAYOUT)
    assert find_epochs(tmp_path) == []


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self):
            return Path.touch, (tmp_path / "owned",)

    export_triple(rows(17), tmp_path, 5)
    for write in (torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))):
        write(Touch(), triple(tmp_path, 5)[0])
        with pytest.raises(StorageError):
            import_triple(tmp_path, 5, LAYOUT)
    assert not (tmp_path / "owned").exists()
