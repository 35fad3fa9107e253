"""OpenAI's bodies to work: names resolved in the caller's namespace, prompts as in training, every bound checked.

Pure but for one look into the namespace. A name that the namespace does not know stays the text that was typed, as do special
tokens and ids: learned rows get into a prompt by position only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serve.client import Reference
from serve.limits import Limits
from serve.naming import ConceptName, parse_name, placeholders
from serve.protocol import ImagePart, Message
from serve.refusal import Refusal, absent, wrong
from serve.users.shelf import Concept, Served
from unictokens.backbones.base import Turn
from unictokens.concepts.prompt import Prompt, fill, identifier, join
from unictokens.errors import ConceptError, RequestError, StorageError

Find = Callable[[Sequence[ConceptName]], Mapping[ConceptName, Concept]]
"""The caller's namespace: which of these names are concepts."""


@dataclass(frozen=True)
class Named:
    """The concepts of one request, in the order its prompt counts them; `names` is how each was written."""

    names: tuple[str, ...]
    served: tuple[Served, ...]

    @property
    def references(self) -> tuple[Reference, ...]:
        """What the computing side loads."""
        return tuple(one.reference for one in self.served)

    def identifiers(self) -> dict[str, Prompt]:
        """What a name stands for in conversations."""
        return {name: identifier(one.card.layout, at) for at, (name, one) in enumerate(self._each())}

    def subjects(self) -> dict[str, Prompt]:
        """What a name stands for in drawing prompts."""
        return {name: one.card.subject(at) for at, (name, one) in enumerate(self._each())}

    def introductions(self) -> list[str | Prompt]:
        """What precedes the first question, each sentence followed by a line break, as in training."""
        said: list[str | Prompt] = []
        for at, (_, one) in enumerate(self._each()):
            if sentence := one.card.introduction(at):
                said += [sentence, "\n"]
        return said

    def _each(self) -> list[tuple[str, Served]]:
        return list(zip(self.names, self.served, strict=True))


def resolve(texts: Sequence[str], model: str | None, backbone: str, find: Find, limits: Limits) -> Named:
    """The concepts that `texts` and `model` name.

    model  the backbone's name or None; or a concept, which is then part of the request without being named in it
    Raises Refusal: 404 for a model that is neither, 400 for too many concepts, 409 for one without a version, 503 for one whose files
    cannot be read.
    """
    asked = placeholders(*texts)
    by_model = None
    if model is not None and model != backbone:
        by_model = parse_name(model)
        if by_model is None:
            raise absent("model")
    wanted = asked if by_model is None else tuple(dict.fromkeys((by_model, *asked)))
    known = find(wanted) if wanted else {}
    if by_model is not None and by_model not in known:
        raise absent("model")
    named = [name for name in wanted if name in known]
    if len(named) > limits.concepts:
        raise wrong("too_many_concepts", f"the request names {len(named)} concepts: at most {limits.concepts} fit")
    return Named(tuple(str(name) for name in named), tuple(_served(known[name], name) for name in named))


def _served(concept: Concept, name: ConceptName) -> Served:
    try:
        return concept.served(name.version)
    except ConceptError as error:
        if name.version is not None:
            raise Refusal(404, "version_not_found", f"'{name}' has no version or alias '{name.version}'") from error
        raise Refusal(409, "concept_not_ready", str(error)) from error
    except StorageError as error:
        raise Refusal(
            503, "concept_unavailable", f"'{name}' cannot be read now: its files are damaged or away"
        ) from error


def picture_of(messages: Sequence[Message]) -> str | None:
    """The data URI of a conversation's picture, or None. Raises Refusal (400) when there are several."""
    urls = [
        part.image_url.url
        for message in messages
        if not isinstance(message.content, str)
        for part in message.content
        if isinstance(part, ImagePart)
    ]
    if len(urls) > 1:
        raise wrong("too_many_images", f"the conversation has {len(urls)} pictures: it can be about one", "messages")
    return urls[0] if urls else None


def texts_of(messages: Sequence[Message]) -> list[str]:
    """The text of each message."""
    return [
        message.content
        if isinstance(message.content, str)
        else "\n".join(part.text for part in message.content if not isinstance(part, ImagePart))
        for message in messages
    ]


def with_last(messages: Sequence[Message], text: str) -> list[Message]:
    """A conversation whose last message says `text`."""
    return [*messages[:-1], messages[-1].model_copy(update={"content": text})]


def chat_turns(messages: Sequence[Message], named: Named) -> tuple[Turn, ...]:
    """A conversation as turns; the introductions of its concepts precede the first question.

    The model knows two speakers: what the system says belongs to the user's turn that it stands in, and several messages of
    one speaker are one. Raises Refusal (400) unless the user speaks first and last.
    """
    if messages[0].role == "assistant":
        raise wrong("invalid_messages", "a conversation starts with the user: put a user message first", "messages")
    if messages[-1].role != "user":
        raise wrong("invalid_messages", "the last message must be the user's: that is what is answered", "messages")
    stands_for = named.identifiers()
    said: list[tuple[bool, Prompt]] = []
    for message, text in zip(messages, texts_of(messages), strict=True):
        answers, filled = message.role == "assistant", fill(text, stands_for)
        if said and said[-1][0] == answers:
            said[-1] = (answers, join(said[-1][1], "\n", filled))
        else:
            said.append((answers, filled))
    said[0] = (False, join(*named.introductions(), said[0][1]))
    prompts = [prompt for _, prompt in said]
    return tuple(Turn(question, answer) for question, answer in zip(prompts[::2], [*prompts[1::2], ()], strict=True))


def drawing_prompt(text: str, named: Named) -> Prompt:
    """A drawing prompt; a concept that `model` names and the text does not is put before it."""
    stands_for = named.subjects()
    unsaid = [name for name in named.names if f"<{name}>" not in text]
    before: list[str | Prompt] = [piece for name in unsaid for piece in (stands_for[name], ", ")]
    return join(*before, fill(text, stands_for))


def count_tokens(count: Callable[..., int], *arguments: Any, param: str) -> int:
    """What `count` counts; Refusal (400, with the numbers) when that is more than there is room for."""
    try:
        return count(*arguments)
    except RequestError as error:
        raise wrong("context_length_exceeded", str(error), param) from error


def check_size(size: str, side: int) -> None:
    """Raises Refusal (400) for a picture size other than the model's."""
    if size not in ("auto", f"{side}x{side}"):
        raise wrong(
            "invalid_size", f"size {size!r} cannot be drawn: this model draws {side}x{side}; or write auto", "size"
        )
