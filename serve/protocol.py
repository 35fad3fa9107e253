"""What comes in and goes out over HTTP, in OpenAI's shapes: strict on the way in, so that a typo is an error and not a default.

Fields beyond OpenAI's are our own where a drawing or an answer needs them: `steps`, `guidance`, `top_k`, `replay`, and `seed` of
drawings.
"""

import unicodedata
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from unictokens.replay.trace import Trace

MAX_TEXT = 100_000
SEEDS = 2**63
ALLOWED_CONTROLS = "\n\r\t"


def clean_text(text: str) -> str:
    """`text` unless it holds characters that are no writing: controls other than line breaks and tabs, lone surrogates."""
    for letter in text:
        if unicodedata.category(letter) in ("Cc", "Cs") and letter not in ALLOWED_CONTROLS:
            raise ValueError(f"the control character U+{ord(letter):04X} is not allowed")
    return text


Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(clean_text)]
Word = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(clean_text)]
Seed = Annotated[int, Field(ge=0, lt=SEEDS, description="decides all random numbers; a random one without it")]
Steps = Annotated[int, Field(ge=1, le=64, description="drawing steps")]
Guidance = Annotated[float, Field(ge=0, le=20, allow_inf_nan=False, description="how strictly the prompt is followed")]
Replay = Annotated[
    Literal["rules"] | None,
    Field(
        description="the concepts that the text names first say what it refers to ('its hat', 'where it lives'), and their answers "
        "are put in place of that; what was asked and refused is returned as `replay`"
    ),
]
Size = Annotated[str, Field(max_length=20, description="auto, or the model's own size, such as 512x512")]


class Body(BaseModel):
    """A request body: unknown fields and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class TextPart(Body):
    """Text of a message."""

    type: Literal["text"]
    text: Text


class ImageUrl(Body):
    """A picture as a data URI."""

    url: str = Field(description="data:image/png;base64,... (or jpeg, webp); nothing is fetched")
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePart(Body):
    """The picture of a conversation; there can be one."""

    type: Literal["image_url"]
    image_url: ImageUrl


class Message(Body):
    """A message of a conversation. `<name>` stands for one of your concepts."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart | ImagePart], Field(min_length=1, max_length=64)]
    name: Word | None = None


class StreamOptions(Body):
    """What a stream also says."""

    include_usage: bool = False


class ChatBody(Body):
    """POST /v1/chat/completions."""

    model: Word
    messages: Annotated[list[Message], Field(min_length=1, max_length=64)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1, le=512)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=512)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = Field(
        default=None, description="0, or nothing: the likeliest word each time"
    )
    top_k: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=50, description="with a temperature: draw from that many words"
    )
    seed: Seed | None = None
    n: Literal[1] = 1
    replay: Replay = None
    user: Annotated[str, Field(max_length=256)] | None = Field(default=None, description="ignored")


class ImageBody(Body):
    """POST /v1/images/generations."""

    prompt: Text
    model: Word | None = None
    n: Annotated[int, Field(ge=1, le=8)] = 1
    size: Size = "auto"
    seed: Seed | None = None
    steps: Steps = 24
    guidance: Guidance = 5.0
    response_format: Literal["b64_json"] = "b64_json"
    output_format: Literal["png"] = "png"
    stream: bool = False
    partial_images: Annotated[int, Field(ge=0, le=3)] = 0
    replay: Replay = None
    user: Annotated[str, Field(max_length=256)] | None = Field(default=None, description="ignored")


class EditForm(ImageBody):
    """The fields of POST /v1/images/edits beside its files; a form has only text, so numbers are read from it."""

    model_config = ConfigDict(extra="forbid", strict=False)


class ConceptForm(BaseModel):
    """The fields of POST /v1/concepts beside its photos."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=1, max_length=64)]
    class_word: Annotated[str, Field(min_length=1, max_length=40), AfterValidator(clean_text)]
    info: Annotated[str, Field(min_length=1, max_length=400), AfterValidator(clean_text)]
    facts: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=400), AfterValidator(clean_text)]], Field(max_length=20)
    ] = []
    person: bool = False


class AliasBody(Body):
    """PUT /v1/concepts/{name}/aliases/{alias}."""

    version: Annotated[int, Field(ge=1, le=999_999_999)]


class ErrorDetail(BaseModel):
    """What was wrong, in one line."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """Every answer that is not a success."""

    error: ErrorDetail


class ModelCard(BaseModel):
    """Something to ask: the backbone, or a concept on it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    parent: str | None = None


class ModelList(BaseModel):
    """GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Usage(BaseModel):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Reply(BaseModel):
    """What the model said."""

    role: Literal["assistant"] = "assistant"
    content: str


class Choice(BaseModel):
    """The one answer."""

    index: int = 0
    message: Reply
    finish_reason: Literal["stop", "length"]


class ChatCompletion(BaseModel):
    """The whole answer; streams send `chat.completion.chunk` objects in its place."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    replay: Trace | None = None


class ImageData(BaseModel):
    """A PNG; the seed draws it again."""

    b64_json: str
    seed: int


class Images(BaseModel):
    """The pictures; streams send events with partial pictures and one with the finished one."""

    created: int
    data: list[ImageData]
    size: str
    output_format: Literal["png"] = "png"
    replay: Trace | None = None


class VersionBody(BaseModel):
    """A published version of a concept."""

    version: int
    created: str
    stage: str
    backbone: str
    usable: bool = Field(description="whether it was learned on the backbone that is served")


class RunBody(BaseModel):
    """A training run."""

    id: str
    object: Literal["concept.run"] = "concept.run"
    concept: str
    status: Literal["queued", "running", "finished", "failed", "cancelled"]
    created: float
    started: float | None = None
    ended: float | None = None
    version: int | None = None
    error: str | None = None
    progress: dict[str, Any] = {}


class ConceptBody(BaseModel):
    """A concept as its owner, or somebody it was granted to, sees it; `name` is how to write it in prompts."""

    id: str
    object: Literal["concept"] = "concept"
    name: str
    owner: str
    mine: bool
    created: float
    class_word: str = ""
    info: str = ""
    served: int | None = None
    versions: list[VersionBody] = []
    aliases: dict[str, int] = {}
    granted_to: list[str] = []
    follows: str | None = Field(default=None, description="the registered model whose versions and aliases it has")
    photos: int = 0
    runs: list[RunBody] = []


class ConceptList(BaseModel):
    """GET /v1/concepts."""

    object: Literal["list"] = "list"
    data: list[ConceptBody]


class Taught(BaseModel):
    """A new concept and the run that teaches it."""

    concept: ConceptBody
    run: RunBody


class Deleted(BaseModel):
    """What is gone."""

    id: str
    object: str
    deleted: Literal[True] = True
