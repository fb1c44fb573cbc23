"""What a report's sentences say of classes: a small grammar; what does not fit it word for word says nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from wsseg.data.sentences.lexicon import Lexicon, Word
from wsseg.data.sentences.words import BOTH, NUMBERS, QUADRANTS, SIDES, Part

_SIDED = "(?:SJ+S|[SZ])"
_PLACED = rf"I[DU]?(?=[SZQPKW]){_SIDED}?(?:Q?P+[LW]?|QL|Q?[KW]|Q)?"
_THING = rf"[DU]?N?A*{_SIDED}?A*Q?(?:P+L?|QL|K)?[CK](?:{_PLACED})*"
_WHERE = "I[DU]?(?:SJ+S|S)W?"
_NOTHING = rf"[DU]?(?:SJ+S|S)?[CK](?:{_WHERE})?"
"""A class that a "no" takes away: without attributes and narrow places, since "no large tumor" leaves small ones."""

_ALL_GONE = rf"[DU]?{_SIDED}?[CK](?:{_WHERE})?"
"""A class that an "absent" takes away: of both sides too, where "not both" may leave one."""

_ABSENT = (
    (_NOTHING, _WHERE, r"(TB)?XV?(EI)?l(B?V)?p?|lB?XVp?"),
    (_ALL_GONE, _WHERE, r"lB?Gp?|GIl"),
)
_PRESENT = ((_THING, _PLACED, r"(TB)?Hlp?|lB?Hp?|(TB)?lV?p?|lB?Vp?|lB?XG|lBp"),)
"""Of what is named, where else, and the sentence in which ``l`` is a list of the one and ``p`` the other."""


@dataclass(frozen=True)
class Said:
    """What a sentence says of one class.

    Attributes:
        label: position of the class.
        present: whether it is there.
        sides: of the patient on which it is (somewhere), or is not (anywhere).
        quadrant: upper, lower, anterior, posterior, or "" where none is said.
        count: how many; None where that is not said.
        news: it was told of as something found ("a tumor on the left"), so that there is no other one;
            "the left kidney" says nothing of the right one.
    """

    label: int
    present: bool
    sides: frozenset[int] = BOTH
    quadrant: str = ""
    count: int | None = None
    news: bool = False


@dataclass(frozen=True)
class Report:
    """What is understood of a text, and the sentences that are not."""

    understood: tuple[tuple[str, tuple[Said, ...]], ...]
    not_understood: tuple[str, ...]

    @property
    def said(self) -> list[Said]:
        """All of it."""
        return [each for _, said in self.understood for each in said]


def sentences_of(text: str) -> list[str]:
    """The sentences of a text; all below a heading is one, since it is said of what the heading names."""
    found = []
    for paragraph in re.split(r"\n\s*\n", re.sub(r"(?im)^\s*(findings|impression|report|conclusion)\s*:", "", text)):
        parts = [paragraph] if ":" in paragraph else re.split(r"[.;]+(?=\s|$)|\n", paragraph)
        found += [" ".join(part.split()) for part in parts if part.strip()]
    return found


def understand(text: str, lexicon: Lexicon) -> Report:
    """Read a text sentence by sentence."""
    read = [(sentence, _said(lexicon.words(sentence))) for sentence in sentences_of(text)]
    return Report(
        tuple((sentence, tuple(said)) for sentence, said in read if said is not None),
        tuple(sentence for sentence, said in read if said is None),
    )


def _said(words: Sequence[Word]) -> list[Said] | None:
    """What a sentence says; None if that is not understood."""
    letters = "".join(word.part for word in words)
    for present, forms in ((False, _ABSENT), (True, _PRESENT)):
        for thing, place, sentence in forms:
            skeleton = re.sub(place, "p", re.sub(rf"(?:{thing})(?:J+(?:{thing}))*", "l", letters))
            if re.fullmatch(sentence, skeleton):
                return _things(words, thing, present, "X" in letters)
    return None


def _things(words: Sequence[Word], thing: str, present: bool, denied: bool) -> list[Said] | None:
    """What a sentence that fits as a whole says of each class it names; None if it may mean one of several."""
    letters = "".join(word.part for word in words)
    named = [word for word in words if word.part not in "BVTEHXG"]
    told = "T" in letters or not re.search("[VHB]", letters)
    found: list[Said] = []
    for match in re.finditer(thing, "".join(word.part for word in named)):
        span, parts = named[match.start() : match.end()], match[0]
        at = next(k for k in range(len(parts)) if re.fullmatch(rf"[CK](?:{_PLACED})*", parts[k:]))
        sides = _sides(span) or (frozenset() if present else _sides(named))  # the weaker "left kidney or spleen"
        lies = "BI" in letters and "S" not in parts[:at]
        news = present and not denied and (parts[0] == "U" or "N" in parts or lies or (told and parts[0] != "D"))
        quadrant = next((QUADRANTS[word.text] for word in span if word.part is Part.QUADRANT), "")
        count = next((NUMBERS.get(word.text) or int(word.text) for word in span if word.part is Part.NUMBER), None)
        all_of_them = span[at].plural or (letters[0] == "X" and "D" not in parts)
        for label, own in span[at].classes:
            if own and not sides and not all_of_them:
                return None
            if not own or not sides or own in sides:
                where = BOTH if own else sides or BOTH
                found.append(Said(label, present, where, quadrant, count, news))
    return found


def _sides(words: Sequence[Word]) -> frozenset[int]:
    return frozenset().union(*(SIDES[word.text] for word in words if word.text in SIDES))
