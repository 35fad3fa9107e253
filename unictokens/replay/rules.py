"""What in a drawing prompt refers to knowledge, how to ask for it and how to read the answer: a table of patterns.

"A photo of <bo> with its hat." has one reference, `its hat`, which belongs to <bo>. It is asked for in the words in which facts
are taught ("What does <bo> have?"), and "<bo> has a red hat." reads `a red hat`. What a body has by itself (eyes, a tail) is no reference:
photos teach it. A rule more is a row more in `RULES`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_CALLED = "[A-Za-z0-9_-]{1,64}"
NAME = re.compile(rf"<((?:{_CALLED}/)?{_CALLED}(?:@{_CALLED})?)>")
"""A concept as it may be written: `<bo>`, at an endpoint also somebody else's `<ada/bo>` and a version of either, `<bo@2>`."""
PRONOUNS = "he|she|it|they"
OWNERS = "his|her|its|their"
PLACED = "at|in|on|near|by|under|inside|beside|behind|among|above"
_STOP = (
    f"{PLACED}|with|and|or|of|to|for|from|while|when|where|wearing|holding|sitting|standing|lying|running|playing|walking"
    "|sleeping|eating|looking|is|has|a|an|the|his|her|its|their|as|during|next|favou?rite"
)
_WORD = rf"(?!(?:{_STOP})\b)[a-z][a-z-]*"
_NOUN = rf"{_WORD}(?: {_WORD}){{0,2}}"
_BODY = "eyes?|ears?|nose|mouth|face|head|tail|paws?|legs?|feet|fur|hair|arms?|hands?|back|body|tongue|smile|owners?|friends?"
_KINDS = "toy|food|snack|drink|treat|meal|dish|book|game|sport|instrument|outfit|costume|vehicle|job"
_SHADES = "dark|light|bright|pale|deep"
_COLOURS = (
    "red|orange|yellow|green|blue|purple|pink|brown|black|white|grey|gray|gold|golden|silver|beige|violet|turquoise"
)
_HUE = rf"(?:(?:{_SHADES}) )?(?:{_COLOURS})"
COLOUR = rf"(?P<said>{_HUE}(?:(?:, | and |, and ){_HUE}){{0,2}})"
PLACE = rf"(?P<said>(?:{PLACED}) [\w'-]+(?: [\w'-]+){{0,5}})"
THING = r"(?P<said>(?:an?|the|some|two|three) [\w'-]+(?: [\w'-]+){0,5})"
UNSURE = re.compile(r"\b(?:don't|not|no|none|nothing|nobody|unknown|unsure|cannot|yes|sorry)\b", re.IGNORECASE)
DENIED = "it says that there is none"
LONGEST = 60
"""Characters of an answer's part that may go into a prompt."""


@dataclass(frozen=True, eq=False)
class Ask:
    """A question, with {who}, {what} and {a_what} (with its article), and how its answer is read.

    denies pattern of how an answer begins after which nothing more is asked
    reads  pattern of a whole answer, without its full stop -> words for the prompt. {who}, {owner} and {what} stand in the pattern
           for the concept or a pronoun, for its possessive and for the thing; in the words, {said} is the pattern's group of that
           name and {thing} is said and what with an article
    """

    question: str
    reads: Mapping[str, str]
    denies: str = ""


@dataclass(frozen=True, eq=False)
class Rule:
    """One way of referring to knowledge.

    refers  pattern in a prompt; its group `owner` says whose, `what` what
    about   pattern of a question that asks for the same, with {what}
    asks    questions in the order in which they are tried, until an answer can be read
    """

    name: str
    refers: str
    about: str
    asks: tuple[Ask, ...]


_IS = {rf"(?:{{owner}} (?:favou?rite )?{{what}} is )?{THING}": "{said}"}
_COLOURED = {
    rf"(?:{{owner}} {{what}} (?:is|are) |{{who}} has )?(?:an? )?{COLOUR}": "{thing}",
    rf"(?:{{who}} has )?(?:an? )?{COLOUR} {{what}}": "{thing}",
}
_HAS = Ask(
    "What does {who} have?", {r"{who} (?:has|owns|wears) (?P<said>(?:an?|some|the)(?: [\w-]+){0,4} {what})": "{said}"}
)
_EXISTS = Ask("Does {who} have {a_what}?", {}, denies=r"no\b")
"""Without it, whoever is asked for the colour of a thing that is not there names one."""
_THERE = Ask("Where does {who} {what}?", {rf"(?:{{who}} {{what}}s? )?{PLACE}": "{said}"})

RULES: tuple[Rule, ...] = (
    Rule(
        "where",
        rf"where (?P<owner><[^<>]+>|{PRONOUNS}) (?P<what>live|sleep|work|play|eat|stay|hide|swim)s?\b",
        r"\bwhere\b.*\b{what}|\bhome\b",
        (_THERE,),
    ),
    Rule(
        "home",
        rf"(?:at|in) (?P<owner><[^<>]+>'s|{OWNERS}) (?:home|house)\b",
        r"\bwhere\b.*\blive|\bhome\b",
        (Ask("Where does {who} live?", {rf"(?:{{who}} lives? )?{PLACE}": "{said}"}),),
    ),
    Rule(
        "favourite place",
        rf"(?:at|in) (?P<owner><[^<>]+>'s|{OWNERS}) (?P<what>favou?rite (?:place|spot|room|park))\b",
        r"\b{what}",
        (Ask("Where is {who}'s {what}?", {rf"(?:{{owner}} {{what}} is )?{PLACE}": "{said}"}),),
    ),
    Rule(
        "favourite",
        rf"(?P<owner><[^<>]+>'s|{OWNERS}) favou?rite (?P<what>{_NOUN})",
        r"\bfavou?rite {what}\b",
        (Ask("What is {who}'s favourite {what}?", _IS | _COLOURED),),
    ),
    Rule(
        "kind of thing",
        rf"(?P<owner><[^<>]+>'s|{OWNERS}) (?P<what>{_KINDS})\b",
        r"\b{what}\b",
        (Ask("What is {who}'s {what}?", _IS | _COLOURED), _HAS),
    ),
    Rule(
        "thing",
        rf"(?P<owner><[^<>]+>'s|{OWNERS}) (?P<what>(?!(?:{_WORD} ){{0,2}}(?:{_BODY})\b){_NOUN})",
        r"\b{what}\b",
        (_HAS, _EXISTS, Ask("What colour is {who}'s {what}?", _COLOURED)),
    ),
)
"""Earlier rules win where two refer to the same words."""


@dataclass(frozen=True)
class Reference:
    """Words of a prompt, from `start` to `end`, that stand for something known of `concept`."""

    rule: Rule
    concept: str
    what: str
    start: int
    end: int

    @property
    def questions(self) -> tuple[str, ...]:
        """How to ask for it, in turn."""
        words = {"who": f"<{self.concept}>", "what": self.what, "a_what": with_article(self.what) if self.what else ""}
        return tuple(ask.question.format(**words) for ask in self.rule.asks)

    def reply(self, turn: int, answer: str) -> tuple[str, str]:
        """As `read`, of the answer to its question number `turn`; twice "" where that only asks whether there is one."""
        ask = self.rule.asks[turn]
        if ask.denies and re.match(ask.denies, answer.strip(), re.IGNORECASE):
            return "", DENIED
        return self.read(answer) if ask.reads else ("", "")

    def asked_by(self, question: str) -> bool:
        """Whether a question asks for this."""
        about = self.rule.about.replace("{what}", re.escape(self.what))
        named = f"<{self.concept}>" in question and re.search(about, question, re.IGNORECASE) is not None
        return named or question in self.questions

    def read(self, answer: str) -> tuple[str, str]:
        """Words for the prompt, or "" and the reason why the answer cannot be used."""
        text, why = first_sentence(answer), doubtful(answer, self.concept)
        if why:
            return "", why
        for ask in self.rule.asks:
            for pattern, says in ask.reads.items():
                found = re.fullmatch(self._filled(pattern), text, re.IGNORECASE)
                if found:
                    said = found["said"].lower()
                    return says.format(said=said, thing=with_article(f"{said} {self.what}")), ""
        return "", f"it does not say what '{self.what or 'home'}' stands for"

    def _filled(self, pattern: str) -> str:
        who = re.escape(f"<{self.concept}>")
        stand = {"who": f"(?:{who}|{PRONOUNS})", "owner": f"(?:{who}'s|{OWNERS}|the)", "what": re.escape(self.what)}
        for name, value in stand.items():
            pattern = pattern.replace(f"{{{name}}}", value)
        return pattern


def references(prompt: str, names: Sequence[str]) -> tuple[Reference, ...]:
    """What a prompt refers to, in its order. A pronoun belongs to the last of `names` before it, or else to the first after it."""
    found: list[Reference] = []
    for rule in RULES:
        for match in re.finditer(rule.refers, prompt, re.IGNORECASE):
            concept = _owner(prompt, match, names)
            apart = all(match.end() <= other.start or other.end <= match.start() for other in found)
            if concept is not None and apart:
                what = (match.groupdict().get("what") or "").lower()
                found.append(Reference(rule, concept, what, match.start(), match.end()))
    return tuple(sorted(found, key=lambda each: each.start))


def compose(prompt: str, said: Mapping[Reference, str]) -> str:
    """The prompt with words in place of references."""
    for reference in sorted(said, key=lambda each: -each.start):
        prompt = prompt[: reference.start] + said[reference] + prompt[reference.end :]
    return prompt


def first_sentence(answer: str) -> str:
    """An answer's first sentence in one line, without its full stop."""
    return re.split(r"[.!](?:\s|$)|\n", answer.strip(), maxsplit=1)[0].strip()


def doubtful(answer: str, concept: str) -> str:
    """Why an answer is no statement about the concept, whatever was asked; "" when it may be one."""
    text = first_sentence(answer)
    if not text:
        return "nothing was said"
    if "?" in text:
        return "it is a question"
    if UNSURE.search(text):
        return "it says that it is not so, or not known"
    if any(name != concept for name in NAME.findall(text)) or len(text) > LONGEST + len(concept):
        return "it is too long or speaks of somebody else"
    return ""


def with_article(phrase: str) -> str:
    """`a` or `an` before a phrase, nothing before a plural."""
    if re.search(r"[^s]s$", phrase):
        return phrase
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _owner(prompt: str, match: re.Match[str], names: Sequence[str]) -> str | None:
    if match["owner"].startswith("<"):
        written = NAME.match(match["owner"])
        return written[1] if written is not None and written[1] in names else None
    known = [(each.start(), each[1]) for each in NAME.finditer(prompt) if each[1] in names]
    before = [name for start, name in known if start < match.start()]
    return before[-1] if before else known[0][1] if known else None
