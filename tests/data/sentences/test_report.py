from __future__ import annotations

import pytest

from wsseg.data.sentences.entailed import nowhere
from wsseg.data.sentences.lexicon import Lexicon, side_of
from wsseg.data.sentences.report import Said, sentences_of, understand
from wsseg.data.sentences.words import BOTH, LEFT, RIGHT
from wsseg.labels.space import LabelSpace

ORGANS = LabelSpace(("liver", "right kidney", "left kidney", "spleen"))
TUMOR = LabelSpace(("tumor",))
RENAL = LabelSpace(("kidney", "tumour"))


def _said(sentence: str, labels: LabelSpace) -> list[Said]:
    report = understand(sentence, Lexicon(labels))
    assert not report.not_understood
    return report.said


def _nowhere(text: str, labels: LabelSpace) -> dict[str, frozenset[int]]:
    report = understand(text, Lexicon(labels))
    found = {name: nowhere(report, label) for label, name in enumerate(labels.names)}
    return {name: sides for name, sides in found.items() if sides}


@pytest.mark.parametrize(
    ("sentence", "absent"),
    [
        ("No spleen.", {"spleen"}),
        ("Left kidney absent", {"left kidney"}),
        ("left renal agenesis", {"left kidney"}),
        ("Absence of the right-sided kidney.", {"right kidney"}),
        ("There is no evidence of a spleen", {"spleen"}),
        ("The liver is not seen.", {"liver"}),
        ("Neither the liver nor the spleen is visible.", {"liver", "spleen"}),
        ("Both kidneys are absent", {"right kidney", "left kidney"}),
        ("No kidneys.", {"right kidney", "left kidney"}),
        ("Left and right kidneys are missing.", {"right kidney", "left kidney"}),
        ("FINDINGS: No spleen. The liver is normal.", {"spleen"}),
        ("The spleen is absent; both kidneys are unremarkable.", {"spleen"}),
    ],
)
def test_what_is_absent(sentence: str, absent: set[str]) -> None:
    assert _nowhere(sentence, ORGANS) == dict.fromkeys(absent, BOTH)


@pytest.mark.parametrize(
    "sentence",
    [
        "No change in the left kidney.",
        "No enlarged spleen",
        "No hepatic lesion",
        "No evidence of absence of the spleen",
        "The spleen is not not seen",
        "No spleen?",
        "No bilateral kidneys",  # one may be there
        "Not both kidneys are seen",
        "The kidney is absent",  # which one?
        "Liver without lesion.",
        "Previously no spleen",
        "The left hepatic lobe is absent",
        "No spleen injury",
        "Left kidney: normal. No stones.",
        "Left kidney:\nNo liver.",  # below a heading
    ],
)
def test_what_is_not_understood_says_nothing_and_is_told(sentence: str) -> None:
    report = understand(sentence, Lexicon(ORGANS))
    assert report.said == []
    assert len(report.not_understood) == 1


@pytest.mark.parametrize(
    "sentence", ["The left kidney is not absent.", "The left kidney is normal", "Left kidney seen", "A left kidney"]
)
def test_what_is_present_takes_nothing_away(sentence: str) -> None:
    assert [(each.label, each.present) for each in _said(sentence, ORGANS)] == [(2, True)]
    assert _nowhere(sentence, ORGANS) == {}


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("There is a 3.5 x 2 cm tumour in the left frontal lobe.", {RIGHT}),
        ("A tumor is seen in the right parietal region", {LEFT}),
        ("Two tumors in the left hemisphere.", {RIGHT}),
        ("The tumor is in the right hemisphere.", {LEFT}),
        ("Tumour in the left and right hemisphere", set()),
        ("Bilateral tumours", set()),
        ("No evidence of tumour on the left.", {LEFT}),
        ("No tumor on the left or right", {LEFT, RIGHT}),
        ("No tumor.", {LEFT, RIGHT}),
        ("A tumor in the left frontal lobe. There is a tumor on the right.", set()),
        ("A tumor in the left frontal lobe. Oedema reaches the right side.", set()),
        ("A tumor in the left frontal lobe. Another one lies behind it.", set()),
        ("A tumor in the left frontal lobe. Marked oedema.", {RIGHT}),
        ("A tumor in the left frontal lobe. No tumor.", set()),  # contradicts itself
        ("The tumor on the left is normal.", set()),  # that one; there may be others
    ],
)
def test_on_which_sides_a_finding_is_not(text: str, sides: set[int]) -> None:
    assert _nowhere(text, TUMOR).get("tumor", frozenset()) == sides


@pytest.mark.parametrize(
    "sentence",
    [
        "No tumor in the left frontal lobe",
        "No large tumor",
        "No residual tumor",
        "Tumor in the left lobe of the liver",  # which lies across the body's middle
        "Tumor in the left lobe",
        "Possible tumor on the left",
        "No tumor, oedema on the left",
    ],
)
def test_what_is_narrower_than_it_looks_is_not_understood(sentence: str) -> None:
    assert understand(sentence, Lexicon(TUMOR)).not_understood == (sentence,)


def test_places_and_attributes_belong_to_their_noun() -> None:
    (found,) = _said("Two tumours in the upper pole of the right kidney", RENAL)
    assert (found.label, found.sides, found.quadrant, found.count) == (1, {RIGHT}, "upper", 2)
    assert _nowhere("The left kidney is normal", RENAL) == {}, "the other one is not denied"
    assert _nowhere("Left kidney absent", RENAL) == {"kidney": {LEFT}}
    assert _nowhere("No left kidney or tumour", RENAL) == {"kidney": {LEFT}, "tumour": {LEFT}}, "the weaker reading"
    assert understand("No renal tumour", Lexicon(RENAL)).said == [], "there may be one elsewhere"


def test_names_with_sides_in_any_spelling() -> None:
    assert side_of("kidney_left") == side_of("Left Kidney") == (LEFT, "kidney")
    assert side_of("bright spot") == (0, "bright spot")
    assert side_of("left") == (0, "left")


def test_sentences_end_at_stops_not_at_decimal_points() -> None:
    assert sentences_of("A 3.5 cm tumor.\nNo oedema; liver normal") == ["A 3.5 cm tumor", "No oedema", "liver normal"]
    assert sentences_of("") == []
