"""How far a model may be believed, as a part of its package: predicted Dice, and doubt per voxel. No more than I/O.

``configs/calibration.json``, from scans that the model was not trained on, and for
people ``docs/calibration.md``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from wsseg.errors import WssegError
from wsseg.files import whole_file
from wsseg.labels.space import Strict

CALIBRATION = Path("configs/calibration.json")
CALIBRATION_CARD = Path("docs/calibration.md")

_Part = Annotated[float, Field(ge=0, le=1)]


class ClassCalibration(Strict):
    """Of one class, on the scans that the calibration is from.

    Attributes:
        dice: its mean.
        signs: means of the signs of a good mask, in their order.
        shown: part of the scans that show it; all, where an earlier version of wsseg has written it.
        below: how far Dice may lie below what is predicted in nine of ten scans;
            None where there were too few to say.
        ranked: rank correlation of predicted with true Dice, by weights that were
            learned from other patients; None where scans are too few or alike.
    """

    dice: _Part
    signs: tuple[float, ...]
    shown: _Part = 1.0
    below: float | None = Field(None, ge=-1, le=1)
    ranked: float | None = Field(None, ge=-1, le=1)


class Level(Strict):
    """Voxels of like doubt, in patients that were left out.

    Attributes:
        stated: the probability that they are marked rightly, as doubt says; mean.
        right: the part of them that is.
        voxels: how many.
    """

    stated: _Part
    right: _Part
    voxels: int = Field(ge=1)


class DoubtQuality(Strict):
    """Whether doubt means what it says.

    Attributes:
        plain, calibrated: ECE, how far the probability that a voxel is marked
            rightly lies from the part that is; as the model has it, and
            calibrated on other patients.
        levels: the reliability diagram of calibrated doubt.
    """

    plain: _Part
    calibrated: _Part
    levels: tuple[Level, ...]


class Calibration(Strict):
    """What was learned from scans of which more is known than the model was told.

    Attributes:
        scans: how many.
        of: what their masks were compared with, as in "masks".
        weights: of each sign of a good mask, not negative.
        classes: by name.
        slope, offset: of the logit of a probability, which becomes right by them.
        doubt: whether it means what it says; None where no voxel's truth is known.
    """

    format: Literal[1] = 1
    scans: int = Field(ge=1)
    of: str
    weights: tuple[Annotated[float, Field(ge=0)], ...]
    classes: dict[str, ClassCalibration]
    slope: float = Field(gt=0, le=100)
    offset: float = Field(ge=-20, le=20)
    doubt: DoubtQuality | None


def read_calibration(folder: Path) -> Calibration | None:
    """The calibration of a package; None of one that has none.

    Raises:
        WssegError: the file is damaged.
    """
    path = folder / CALIBRATION
    if not path.exists():
        return None
    try:
        return Calibration.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = " ".join(str(error).split())
        raise WssegError(f"{path}: is damaged, `wsseg describe` writes it anew ({reason})") from error


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Write it into a package that is there already, and what it is worth beside the model card."""
    with whole_file(folder / CALIBRATION) as part:
        part.write_text(calibration.model_dump_json(indent=2) + "\n", encoding="utf-8")
    with whole_file(folder / CALIBRATION_CARD) as part:
        part.write_text(_card(calibration), encoding="utf-8")


def _card(calibration: Calibration) -> str:
    """Markdown: what predicted Dice and doubt are worth."""
    lines = [
        "# How far the masks may be believed",
        "",
        f"From {calibration.scans} scans that the model was not trained on, compared with {calibration.of};"
        " each patient's were left out in turn. `wsseg describe NAME --held-out DIR` writes this.",
        "",
        "## Predicted Dice",
        "",
        "| class | mean Dice | rank correlation of predicted and true | bound below predicted |",
        "|---|---|---|---|",
    ]
    for name, known in calibration.classes.items():
        lines.append(f"| {name} | {known.dice:.3f} | {_number(known.ranked)} | {_number(known.below)} |")
    if calibration.doubt:
        ece = f"{calibration.doubt.calibrated:.3f}, before calibration {calibration.doubt.plain:.3f}"
        lines += ["", "## Doubt per voxel", "", f"Expected calibration error: {ece}. Reliability diagram:", ""]
        lines += ["| said to be right | are right | voxels | |", "|---|---|---|---|"]
        for level in calibration.doubt.levels:
            bar = "#" * round(20 * level.right)
            lines.append(f"| {level.stated:.3f} | {level.right:.3f} | {level.voxels} | `{bar:<20}` |")
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
