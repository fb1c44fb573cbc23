from __future__ import annotations

import numpy as np
import pytest

from wsseg.inference.quality.dice import SIGNS, PredictedDice, expected_dice, learn_quality, predicted_dice, signs_of
from wsseg.models.calibration import Calibration


def test_the_dice_that_probabilities_promise() -> None:
    """One slice of 4 pixels, 2 marked: 2 (0.9 + 0.7) / (2 + 0.9 + 0.7 + 0.4)."""
    maps = np.array([[[0.9, 0.7, 0.4, 0.0]]], np.float32)
    mask, shown = np.array([[[True, True, False, False]]]), np.ones(1, np.float32)
    assert expected_dice(maps, mask, shown) == pytest.approx(3.2 / 4.0)
    assert expected_dice(maps, np.zeros_like(mask), np.full(1, 0.3, np.float32)) == pytest.approx(0.7)
    assert expected_dice(np.round(maps), mask, shown) == 1.0


def test_signs_are_greater_where_a_mask_is_better() -> None:
    good = np.zeros((6, 1, 12, 12), np.float32)
    good[1:5, 0, 3:9, 3:9] = 0.99
    torn = good.copy()
    torn[2] = np.roll(torn[2], 6, axis=2)
    torn[torn > 0] = 0.6
    presence = np.ones((6, 1), np.float32)
    better, worse = (
        signs_of(maps, (maps[:, 0] > 0.5).astype(np.uint8), shown, 0.1, p)[0]
        for maps, shown, p in ((good, presence, 0.5), (torn, 0.7 * presence, 0.01))
    )
    assert dict(zip(SIGNS, better >= worse, strict=True)) == dict.fromkeys(SIGNS, True)
    assert better[0] > worse[0] + 0.2


def test_an_empty_mask_has_signs_too() -> None:
    signs = signs_of(np.zeros((3, 2, 4, 4), np.float32), np.zeros((3, 4, 4), np.uint8), np.zeros((3, 2)), 0.1, 1.0)
    assert np.isfinite(signs).all()
    assert signs[:, 0].tolist() == [1.0, 1.0]


def calibration_of(signs: np.ndarray, dice: np.ndarray, patients: list[str], **changed: float) -> Calibration:
    learned = learn_quality(signs, dice, patients)
    classes = {name: known.model_copy(update=changed) for name, known in zip("ab", learned.classes, strict=True)}
    return Calibration(
        scans=len(signs), of="masks", weights=tuple(learned.weights), classes=classes, slope=1, offset=0, doubt=None
    )


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_an_empty_mask_is_right_where_the_class_is_absent(part: float) -> None:
    """Of 20 scans all showed it: one of 22 will not, by the rule of succession, before the scan is looked at."""
    signs, dice, patients = scans(20, 0)
    calibration = calibration_of(signs, dice, patients, shown=part)
    maps, mask = np.zeros((3, 2, 4, 4), np.float32), np.zeros((3, 4, 4), np.uint8)
    shown = np.array([[0.0, 0.1]] * 3, np.float32)
    none, hardly = predicted_dice(signs_of(maps, mask, shown, 0.1, 1.0), "ab", calibration, foreign=False).values()
    odds = 0.9 / 0.1 * (20 * (1 - part) + 1) / (20 * part + 1)
    assert none.value == 1.0
    assert hardly.value == pytest.approx(odds / (1 + odds), abs=1e-3)
    assert none.at_least is hardly.at_least is None
    assert f"{hardly}" == f"nothing is marked, which is right with probability {hardly.value:.2f}"
    assert (hardly.value < 0.5) is (part == 1.0), "a class that all scans show is hardly absent"


def test_empty_masks_teach_nothing() -> None:
    """Their Dice is 0 however sure the class is absent, which would be a sign of a bad mask else."""
    signs, dice, patients = scans(20, 0)
    empty = signs[:4].copy()
    empty[..., SIGNS.index("large")] = 0
    empty[..., 0] = 1
    more = np.concatenate([signs, empty]), np.concatenate([dice, np.zeros((4, 2))])
    learned, alone = learn_quality(*more, [f"{k}" for k in range(24)]), learn_quality(signs, dice, patients)
    assert learned.classes == alone.classes
    np.testing.assert_array_equal(learned.weights, alone.weights)
    assert np.isnan(learned.order[20:]).all()


def scans(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Scans of two classes of which one sign tells Dice, up to noise."""
    rng = np.random.default_rng(seed)
    signs = rng.random((count, 2, len(SIGNS)))
    dice = 0.5 + 0.4 * signs[..., 1] - [0.0, 0.2] + rng.normal(0, 0.03, (count, 2))
    return signs, np.clip(dice, 0, 1), [f"{index}" for index in range(count)]


def test_what_tells_dice_is_found() -> None:
    signs, dice, patients = scans(300, 0)
    learned = learn_quality(signs, dice, patients)
    assert learned.weights.argmax() == 1
    assert learned.weights.min() >= 0
    for k in range(2):
        assert np.corrcoef(learned.left_out[:, k], dice[:, k])[0, 1] > 0.8


def test_few_scans_are_ranked_by_what_their_probabilities_promise() -> None:
    """Weights of seven signs would be learned from noise; here each of the others has as wide a spread."""
    ranked = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        signs = rng.random((10, 1, len(SIGNS)))
        dice = 0.4 + 0.5 * signs[..., 0] + rng.normal(0, 0.08, (10, 1))
        ranked.append(learn_quality(signs, dice, [f"{k}" for k in range(10)]).classes[0].ranked)
    assert np.mean(ranked) > 0.8


def test_nine_of_ten_scans_keep_the_bound() -> None:
    kept = []
    for seed in range(60):
        signs, dice, patients = scans(40, seed)
        calibration = calibration_of(signs[:20], dice[:20], patients[:20])
        for own, true in zip(signs[20:], dice[20:], strict=True):
            told = predicted_dice(own, "ab", calibration, foreign=False)
            kept += [true[k] >= (told[name].at_least or 0) for k, name in enumerate("ab")]
    assert 0.88 < np.mean(kept) < 0.95


def test_too_few_scans_bound_nothing() -> None:
    signs, dice, patients = scans(8, 0)
    learned = learn_quality(signs, dice, patients)
    assert [known.below for known in learned.classes] == [None, None]


def test_the_sentence_says_of_what() -> None:
    signs, dice, patients = scans(20, 0)
    calibration = calibration_of(signs, dice, patients).model_copy(update={"of": "scribbles"})
    told = predicted_dice(signs[0][:1], ["a"], calibration, foreign=False)["a"]
    bound = f">= {told.at_least:.2f} in nine of ten scans like this, of scribbles"
    assert f"{told}" == f"predicted Dice {told.value:.2f}, {bound}"
    assert "too few scans for a bound" in f"{PredictedDice(0.5, None, 'masks')}"


def test_nothing_is_said_of_what_is_not_known() -> None:
    signs, dice, patients = scans(20, 0)
    calibration = calibration_of(signs, dice, patients)
    assert predicted_dice(signs[0], "ab", None, foreign=False) == {}
    assert predicted_dice(signs[0], "ab", calibration, foreign=True) == {}
