"""The words of a sentence: those that reports have in common, and the nouns of a task's classes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wsseg.data.sentences.words import LEFT, PARTS, RIGHT, Part
from wsseg.labels.space import LabelSpace

_ADJECTIVES = {
    "kidney": "renal",
    "liver": "hepatic",
    "spleen": "splenic",
    "lung": "pulmonary",
    "hippocampus": "hippocampal",
    "mandible": "mandibular",
    "pancreas": "pancreatic",
    "prostate": "prostatic",
    "ventricle": "ventricular",
    "atrium": "atrial",
    "aorta": "aortic",
}

_ENDINGS = (("us", "i"), ("is", "es"), ("um", "a"), ("y", "ies"), ("a", "e"), ("ix", "ices"), ("s", ""))
"""Of singular and plural, as :func:`_spelled` has them; names of classes may be plural themselves."""

_OWN = {"left": LEFT, "right": RIGHT}

_SILENT = ("sided", "gland", "glands")


@dataclass(frozen=True)
class Word:
    """One word, or the several of a class's noun.

    Attributes:
        text: as the lexicon has it, in lower case.
        part: what it does.
        classes: of a noun: position and own side, 0 where the name has none, of each class that it may mean.
        plural: of a noun.
    """

    text: str
    part: Part
    classes: tuple[tuple[int, int], ...] = ()
    plural: bool = False


def side_of(name: str) -> tuple[int, str]:
    """The side that a class's name says, 0 for none, and its noun: "left kidney" and "kidney_left" alike."""
    words = _spelled(name).split()
    sides = [_OWN[word] for word in words if word in _OWN]
    rest = [word for word in words if word not in _OWN]
    return (sides[0], " ".join(rest)) if sides and rest else (0, " ".join(words))


class Lexicon:
    """The words of reports on some classes."""

    def __init__(self, labels: LabelSpace) -> None:
        self._nouns: dict[str, Word] = {}
        for k, name in enumerate(labels.names):
            side, noun = side_of(name)
            for form, plural in _forms(noun):
                meant = (*self._nouns[form].classes, (k, side)) if form in self._nouns else ((k, side),)
                part = Part.ORGAN if PARTS.get(form) is Part.PLACE else Part.FINDING
                self._nouns[form] = Word(form, part, meant, plural)
        longest_first = sorted(self._nouns, key=len, reverse=True)
        nouns = "|".join(rf"\b{re.escape(form)}\b" for form in longest_first)
        self._words = re.compile(rf"{nouns}|[a-z]+|\d+|[^\s]")

    def words(self, sentence: str) -> list[Word]:
        """The words of a sentence in order."""
        sized = re.sub(r"\d+(\.\d+)?(\s*x\s*\d+(\.\d+)?)*\s*(mm|cm)\b", " sized ", sentence.lower())
        found = self._words.findall(_spelled(sized))
        return [self._nouns.get(text) or Word(text, _part(text)) for text in found if text not in _SILENT]


def _part(text: str) -> Part:
    if text.isdecimal() and int(text):
        return Part.NUMBER
    return PARTS.get(text, Part.OTHER)


def _spelled(text: str) -> str:
    """In lower case, British as American, one space for hyphens and spaces."""
    plain = re.sub(r"[-_\s]+", " ", text.lower())
    return plain.replace("tumour", "tumor").replace("ae", "e").replace("oe", "e")


def _forms(noun: str) -> list[tuple[str, bool]]:
    """A noun, its adjective, and its possible plurals, which are told."""
    plurals = {f"{noun}s", f"{noun}es"} | {
        noun.removesuffix(one) + many for one, many in _ENDINGS if noun.endswith(one)
    }
    adjectives = [(_ADJECTIVES[noun], False)] if noun in _ADJECTIVES else []
    return [(noun, False), *adjectives, *((plural, True) for plural in sorted(plurals))]
