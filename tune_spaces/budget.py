"""Whether prompts with so many tokens fit: a backbone reads only so much text beside an image.

A drawing prompt that is too long loses its end, where what is to be drawn stands, and nobody is told. A question has no such limit in
the model, but beyond its room lie positions that the base has never seen text at. So both are counted before anything is trained, with
the longest prompts of the dataset:

    drawing   task, start, "A photo of <soft tokens> <name> at the beach.", end    at most T + 1 places (T is 128 in Show-o)
    question  start, "<name> is <soft tokens>.", the question                      at most T places
"""

from collections.abc import Iterator, Sequence

from unictokens.backbones.showo.config import read_config, read_json
from unictokens.backbones.showo.places import locate
from unictokens.backbones.showo.sequence import Sequences
from unictokens.backbones.showo.vocabulary import Vocabulary
from unictokens.concepts.layout import GROUPS, Group, TokenLayout
from unictokens.concepts.prompt import Prompt
from unictokens.concepts.tokenizer import TextTokenizer
from unictokens.config import RunConfig
from unictokens.data.catalog import Catalog
from unictokens.data.records import ConceptRecord
from unictokens.data.samples import drawing_prompt, generation_prompt, perception_prompt, question_prompt
from unictokens.errors import ConfigError, DataError
from unictokens.lookup import resolve
from unictokens.methods.base import METHODS, Method

MARKS = {"drawing": 3, "question": 1}
"""Places beside the text: task, start and end; start."""


class TextBudget:
    """The room of one backbone and the longest prompts of some concepts. Reads the backbone's config and tokenizer only.

    Raises CheckpointError for a backbone that is not there, DataError for concepts that cannot be read.
    """

    def __init__(self, backbone: str, catalog: Catalog, concepts: Sequence[str]) -> None:
        found = locate(backbone)
        config = read_config(found.config, None if found.phi is None else read_json(found.phi))
        tokenizer = TextTokenizer.load(found.tokenizer)
        vocabulary = Vocabulary.of(config, tokenizer.eot, tokenizer.size)
        self._sequences = Sequences(vocabulary, tokenizer, config.text_length)
        self.room = config.text_length
        self._records = [catalog.concept(concept) for concept in concepts]
        self._drawn = {record.name: _drawn(catalog, record) for record in self._records}
        self._known: dict[tuple[str, TokenLayout, tuple[Group, ...]], tuple[int, str]] = {}

    def check(self, config: RunConfig, searched: Sequence[str] = ()) -> None:
        """Raises ConfigError that names the token count which is too large, of those `searched` where there are some."""
        method: Method = resolve(METHODS, config.method, "method")()
        for stage in method.stages(config):
            for what, groups in (("drawing", stage.config.subject), ("question", stage.config.introduction)):
                need, said = self._longest(what, config.layout, groups)
                room = self.room + (what == "drawing")
                if need > room:
                    raise ConfigError(
                        _too_long(config.layout, stage.name, what, groups, need - room, room, said, searched)
                    )

    def _longest(self, what: str, layout: TokenLayout, groups: tuple[Group, ...]) -> tuple[int, str]:
        """Places that the longest prompt takes, and its text. Every soft token takes one, so one of each group is counted out."""
        counts = {group: layout.count(group) for group in GROUPS if group != "identifier"}
        slim = TokenLayout(**{group: min(1, count) for group, count in counts.items()})
        if (what, slim, groups) not in self._known:
            made = self._drawings(slim, groups) if what == "drawing" else self._questions(slim, groups)
            lengths = [(len(self._sequences.text(prompt)) + MARKS[what], text) for prompt, text in made]
            self._known[what, slim, groups] = max(lengths, default=(0, ""))
        places, said = self._known[what, slim, groups]
        return places + sum(counts[group] - min(1, counts[group]) for group in groups if group != "identifier"), said

    def _drawings(self, layout: TokenLayout, groups: tuple[Group, ...]) -> Iterator[tuple[Prompt, str]]:
        for record in self._records:
            yield generation_prompt(layout, groups), "A photo of ..."
            yield perception_prompt(record, layout, groups), "A photo of ... in the middle of the photo."
            for text in self._drawn[record.name]:
                yield drawing_prompt(record, layout, groups, text), text

    def _questions(self, layout: TokenLayout, groups: tuple[Group, ...]) -> Iterator[tuple[Prompt, str]]:
        for record in self._records:
            trained = (item.exchanges[0].question for items in record.stages.values() for item in items)
            for text in dict.fromkeys([*(question.text for question in record.exam), *trained]):
                yield ("USER: ", *question_prompt(record, layout, groups, text), " ASSISTANT:"), text


def _drawn(catalog: Catalog, record: ConceptRecord) -> tuple[str, ...]:
    try:
        knowledge = record.knowledge_conditions()
    except DataError:
        knowledge = ()  # the examination will say what is wrong with them
    return (*catalog.evaluation_prompts(record.kind), *knowledge)


def _too_long(
    layout: TokenLayout,
    stage: str,
    what: str,
    groups: Sequence[Group],
    over: int,
    room: int,
    said: str,
    searched: Sequence[str],
) -> str:
    counts = {f"layout.{group}": layout.count(group) for group in groups if group != "identifier"}
    blamed = {path: count for path, count in counts.items() if path in searched} or counts
    path = max(blamed, key=lambda each: blamed[each])
    others = ", ".join(f"{each}={count}" for each, count in counts.items() if each != path)
    beside = f" beside {others}" if others else ""
    least = counts[path] - over
    advice = f"at most {least} fit{beside}" if least >= 0 else f"none fits{beside}"
    return (
        f"{path}={counts[path]} is too large: in stage {stage} the {what} {said[:60]!r} takes {room + over} of {room} places for "
        f"text; {advice}"
    )
