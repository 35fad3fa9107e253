"""What a bundle says about itself: name, layout, prompt templates, the backbone its rows fit, where they came from."""

import json
import re
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Protocol, cast

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from unictokens.concepts.layout import GROUPS, Group, TokenLayout
from unictokens.concepts.names import check_name
from unictokens.concepts.prompt import Prompt, Rows, join
from unictokens.errors import ConceptError, StorageError
from unictokens.storage.base import Place

FORMAT = 1
STRICT = ConfigDict(extra="forbid")
_SLOT = re.compile(r"\{(" + "|".join(GROUPS) + r")\}")


class FrozenModel(Protocol):
    """What a concept must know of the backbone it was learned on; a backbone's `info` has all of it."""

    @property
    def name(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def vocabulary(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class BackboneStamp:
    """The backbone the rows were learned on; `fingerprint` is a SHA-256 over its frozen weights."""

    __pydantic_config__ = STRICT
    name: str
    width: Annotated[int, Field(ge=1)]
    vocabulary: Annotated[int, Field(ge=1)]
    fingerprint: str

    @classmethod
    def of(cls, model: FrozenModel) -> "BackboneStamp":
        """The stamp of a backbone, from its `info`."""
        return cls(name=model.name, width=model.width, vocabulary=model.vocabulary, fingerprint=model.fingerprint)


@dataclass(frozen=True, kw_only=True)
class PromptTemplates:
    """How the rows stand in prompts, as text: `{identifier}`, `{shared}`, `{generation}`, `{understanding}` are rows.

    introduction  what precedes the first question, "{identifier} is {shared}{understanding}." (paper section 3.2)
    subject       what stands for the concept in drawing prompts, "{shared}{generation} {identifier}"
    """

    __pydantic_config__ = STRICT
    introduction: str = "{identifier} is {shared}{understanding}."
    subject: str = "{shared}{generation} {identifier}"

    @classmethod
    def of(cls, layout: TokenLayout, introduction: tuple[Group, ...], subject: tuple[Group, ...]) -> "PromptTemplates":
        """The templates of a stage that puts these soft-token groups before questions and into drawing prompts."""
        before = "".join(f"{{{group}}}" for group in introduction if layout.count(group))
        inside = "".join(f"{{{group}}}" for group in subject if layout.count(group))
        return cls(
            introduction=f"{{identifier}} is {before}." if before else "",
            subject=f"{inside} {{identifier}}" if inside else "{identifier}",
        )


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the rows came from. `created` is UTC, ISO 8601, given by the caller; `config` is the whole setting tree."""

    __pydantic_config__ = STRICT
    config: dict[str, Any] = field(default_factory=dict)
    config_hash: str = ""
    dataset_digest: str = ""
    seed: int = 0
    package_version: str = ""
    stage: str = ""
    epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    created: str = ""


@dataclass(frozen=True, kw_only=True)
class ConceptCard:
    """A concept in words. `class_word` is its everyday class ("dog"); `person` and `info` come from the dataset's record.

    Raises ConceptError for a name that cannot be a concept's.
    """

    __pydantic_config__ = STRICT
    name: str
    class_word: str
    layout: TokenLayout
    backbone: BackboneStamp
    person: bool = False
    info: str = ""
    templates: PromptTemplates = PromptTemplates()
    provenance: Provenance = Provenance()
    format: int = FORMAT

    def __post_init__(self) -> None:
        check_name(self.name)

    def introduction(self, concept: int = 0) -> Prompt:
        """The sentence before the first question; `concept` counts the concepts one prompt names."""
        return compile_template(self.templates.introduction, self.layout, concept)

    def subject(self, concept: int = 0) -> Prompt:
        """What stands for the concept in a drawing prompt."""
        return compile_template(self.templates.subject, self.layout, concept)

    def groups_used(self) -> tuple[Group, ...]:
        """The groups whose rows the templates put into prompts, the identifier always among them."""
        text = self.templates.introduction + self.templates.subject
        return tuple(group for group in GROUPS if group == "identifier" or f"{{{group}}}" in text)


def compile_template(template: str, layout: TokenLayout, concept: int = 0) -> Prompt:
    """A template as a prompt; neighbouring slots become one run of rows, empty groups vanish."""
    pieces: list[str | Rows] = []
    for at, piece in enumerate(_SLOT.split(template)):
        if at % 2 == 0:
            pieces += [piece] if piece else []
            continue
        rows = layout.rows(cast(Group, piece))
        if rows and pieces and isinstance(pieces[-1], Rows):
            pieces[-1] = Rows(pieces[-1].rows + rows, concept)
        elif rows:
            pieces.append(Rows(rows, concept))
    return join(tuple(pieces))


def card_to_json(card: ConceptCard, indent: int | None = None) -> str:
    """The card as one JSON object."""
    return json.dumps(_adapter().dump_python(card, mode="json"), sort_keys=True, indent=indent)


def card_from_json(text: str | bytes, path: Place) -> ConceptCard:
    """Read a card; `path` is named in errors.

    Raises StorageError for a damaged card or one of a newer format, ConceptError for a name or layout refused here.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise StorageError(f"the concept card in '{path}' is not JSON ({error}): publish the concept again") from error
    written = values.get("format") if isinstance(values, dict) else None
    if isinstance(written, int) and written > FORMAT:
        raise StorageError(f"'{path}' has format {written}, this version reads up to {FORMAT}: update the package")
    try:
        return _adapter().validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the card"
        raise StorageError(
            f"the concept card in '{path}' is damaged ({place}: {first['msg'].lower()}): publish the concept again"
        ) from error
    except ConceptError as error:
        raise ConceptError(f"'{path}': {error}") from error


@cache
def _adapter() -> TypeAdapter[ConceptCard]:
    return TypeAdapter(ConceptCard)
