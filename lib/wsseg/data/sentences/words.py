"""Words of English reports, each with its part in a sentence; all others make a sentence "not understood"."""

from __future__ import annotations

from enum import StrEnum

LEFT, RIGHT = 1, 2
"""Sides of the patient."""

BOTH = frozenset({LEFT, RIGHT})

SIDES = {
    "left": frozenset({LEFT}),
    "right": frozenset({RIGHT}),
    "bilateral": BOTH,
    "bilaterally": BOTH,
    "both": BOTH,
}


class Part(StrEnum):
    """What a word does in a sentence: one letter, so that grammar is a pattern of letters."""

    FINDING = "C"  # the noun of a class
    ORGAN = "K"  # a noun or adjective of a class of which there are two, so that it is a place as well
    SIDE = "S"
    BOTH = "Z"
    QUADRANT = "Q"
    NUMBER = "N"
    NOT = "X"
    GONE = "G"
    SEEN = "V"
    NORMAL = "H"
    PLACE = "P"  # where left and right are those of the body
    LOBE = "L"  # of brain or lung, if another word says so: the liver's left lobe lies across the midline
    WHOLE = "W"  # everything on one side
    KIND = "A"
    IN = "I"
    AND = "J"
    IS = "B"
    THERE = "T"
    THE = "D"
    A = "U"
    EVIDENCE = "E"
    OTHER = "?"


QUADRANTS = {"superior": "upper", "inferior": "lower"} | {
    word: word for word in ("upper", "lower", "anterior", "posterior")
}

NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}

_WORDS = {
    Part.SIDE: "left right",
    Part.BOTH: "both bilateral bilaterally",
    Part.QUADRANT: " ".join(QUADRANTS),
    Part.NUMBER: " ".join(NUMBERS),
    Part.NOT: "no not without neither",
    Part.GONE: "absent missing absence agenesis",
    Part.SEEN: "seen visible present identified visualised visualized shown found detected",
    Part.NORMAL: "normal unremarkable",
    Part.PLACE: "frontal temporal parietal occipital insular kidney kidneys renal lung lungs pulmonary parotid"
    " adrenal cerebral cerebellar hippocampal",
    Part.LOBE: "lobe lobes region regions pole",
    Part.WHOLE: "side sides hemisphere hemispheres half",
    Part.KIND: "large small big tiny enhancing solid cystic hyperintense hypointense round new known sized",
    Part.IN: "in on of at within",
    Part.AND: "and or nor ,",
    Part.IS: "is are was were be been",
    Part.THERE: "there",
    Part.THE: "the this these",
    Part.A: "a an any",
    Part.EVIDENCE: "evidence sign signs",
}

PARTS = {word: part for part, words in _WORDS.items() for word in words.split()}
