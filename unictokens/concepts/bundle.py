"""One file per learned concept that says by itself what it is: rows, layout, templates, backbone, where it came from.

A bundle is a safetensors file. Its tensors are `<group>.embed` [count, D], `<group>.head` [count, D] and
`<group>.bias` [count], float32, for each group of rows that exists; the text sealed with them is the JSON of the `ConceptCard`.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unictokens.atomic import storage_error, write_bytes
from unictokens.concepts.card import ConceptCard, FrozenModel, card_from_json, card_to_json
from unictokens.concepts.layout import GROUPS, Group, TokenLayout
from unictokens.concepts.tokens import ConceptTokens
from unictokens.errors import ConceptError
from unictokens.sealed import seal, unseal
from unictokens.storage.base import Place

PARTS = ("embed", "head", "bias")


@dataclass(frozen=True, eq=False)
class ConceptBundle:
    """What was learned about a concept, and the card that describes it.

    Raises ConceptError when rows and card do not fit each other.
    """

    tokens: ConceptTokens
    card: ConceptCard

    def __post_init__(self) -> None:
        if self.tokens.layout != self.card.layout:
            raise ConceptError(
                f"concept '{self.card.name}': rows have layout {_counts(self.tokens.layout)}, "
                f"the card says {_counts(self.card.layout)}; write the layout they were trained with"
            )
        if self.tokens.width != self.card.backbone.width:
            raise ConceptError(
                f"concept '{self.card.name}': rows are {self.tokens.width} wide, backbone "
                f"'{self.card.backbone.name}' needs {self.card.backbone.width}: use the backbone they were trained on"
            )
        present = set(self.tokens.layout.rows(*present_groups(self.tokens)))
        needed = set(self.tokens.layout.rows(*self.card.groups_used()))
        if not needed <= present:
            raise ConceptError(
                f"concept '{self.card.name}' has {self.tokens.rows} rows, its templates use {max(needed) + 1}: "
                "use templates of the stage the rows come from"
            )

    def require_backbone(self, backbone: FrozenModel) -> None:
        """Raises ConceptError naming both when the rows were learned on other frozen weights than `backbone`'s."""
        mine = self.card.backbone
        if mine.fingerprint != backbone.fingerprint or mine.vocabulary != backbone.vocabulary:
            raise ConceptError(
                f"concept '{self.card.name}' was learned on backbone '{mine.name}' ({mine.fingerprint[:12]}), "
                f"not on '{backbone.name}' ({backbone.fingerprint[:12]}): load that backbone or train it again"
            )


def present_groups(tokens: ConceptTokens) -> tuple[Group, ...]:
    """The groups whose rows exist.

    Raises ConceptError when the rows end inside a group: bundles and the authors' files hold whole groups.
    """
    for last, group in enumerate(GROUPS):
        if tokens.layout.through(group) == tokens.rows:
            return tuple(name for name in GROUPS[: last + 1] if tokens.layout.count(name))
    ends = ", ".join(str(end) for end in sorted({tokens.layout.through(group) for group in GROUPS}))
    raise ConceptError(
        f"{tokens.rows} rows do not fit the layout {_counts(tokens.layout)}, whose stages end at {ends} rows: "
        "use the layout they were trained with"
    )


def save_bundle(bundle: ConceptBundle, path: Path) -> None:
    """Write a bundle atomically. Raises StorageError when the disk refuses."""
    write_bytes(path, bundle_to_bytes(bundle))


def bundle_to_bytes(bundle: ConceptBundle) -> bytes:
    """The bundle's file."""
    tensors: dict[str, Tensor] = {}
    for group in present_groups(bundle.tokens):
        rows = list(bundle.tokens.layout.rows(group))
        for part, tensor in zip(PARTS, bundle.tokens.tensors(), strict=True):
            tensors[f"{group}.{part}"] = tensor.detach()[rows].to("cpu", torch.float32).contiguous()
    return seal(tensors, card_to_json(bundle.card))


def load_bundle(path: Path, layout: TokenLayout | None = None, backbone: FrozenModel | None = None) -> ConceptBundle:
    """Read a bundle's file. Raises as `bundle_from_bytes` does, StorageError for a missing file too."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise storage_error(error, path, "read") from error
    return bundle_from_bytes(data, path, layout, backbone)


def bundle_from_bytes(
    data: bytes, path: Place, layout: TokenLayout | None = None, backbone: FrozenModel | None = None
) -> ConceptBundle:
    """The bundle of a file read at `path`, strictly; rows come as float32 on the CPU.

    With `layout` or `backbone`, a bundle of another layout or other frozen weights is refused.
    Raises StorageError for a damaged or foreign file, ConceptError for rows that do not fit.
    """
    tensors, about = unseal(data, path, "concept bundle", "publish, copy or import the concept again")
    card = card_from_json(about, path)
    if layout is not None and card.layout != layout:
        raise ConceptError(
            f"'{path}' holds layout {_counts(card.layout)}, wanted is {_counts(layout)}: choose the bundle's own layout"
        )
    bundle = ConceptBundle(_assemble(tensors, card, path), card)
    if backbone is not None:
        bundle.require_backbone(backbone)
    return bundle


def _assemble(tensors: dict[str, Tensor], card: ConceptCard, path: Place) -> ConceptTokens:
    groups: list[Group] = [group for group in GROUPS if f"{group}.embed" in tensors]
    wanted = {f"{group}.{part}" for group in groups for part in PARTS}
    expected = [group for group in GROUPS if card.layout.count(group)][: len(groups)]
    if set(tensors) != wanted or groups != expected or not groups:
        raise ConceptError(
            f"'{path}' holds the tensors {', '.join(sorted(tensors))}, which are no whole groups of the layout "
            f"{_counts(card.layout)}: export the concept again"
        )
    for group in groups:
        count, width = card.layout.count(group), card.backbone.width
        for part, shape in zip(PARTS, ((count, width), (count, width), (count,)), strict=True):
            tensor = tensors[f"{group}.{part}"]
            if tuple(tensor.shape) != shape or tensor.dtype != torch.float32:
                raise ConceptError(
                    f"'{path}': {group}.{part} is {tensor.dtype} {tuple(tensor.shape)}, the layout "
                    f"{_counts(card.layout)} at width {width} needs float32 {shape}: export the concept again"
                )
            if not torch.isfinite(tensor).all():
                raise ConceptError(f"'{path}': {group}.{part} holds non-finite numbers: train the concept again")
    stacked = [torch.cat([tensors[f"{group}.{part}"] for group in groups]) for part in PARTS]
    return ConceptTokens(card.layout, *stacked)


def _counts(layout: TokenLayout) -> str:
    return f"{layout.shared}/{layout.generation}/{layout.understanding} ({layout.total} rows)"
