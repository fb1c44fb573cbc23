"""How far a model may be believed, as a part of its package: predicted Dice, and doubt per voxel. No more than I/O.

``configs/calibration.json``, from scans that the model was not trained on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from wsseg.errors import WssegError
from wsseg.files import whole_file
from wsseg.labels.space import Strict

CALIBRATION = Path("configs/calibration.json")

_Part = Annotated[float, Field(ge=0, le=1)]


class ClassCalibration(Strict):
    """Of one class, on the scans that the calibration is from.

    Attributes:
        dice: its mean.
        signs: means of the signs of a good mask, in their order.
        below: how far Dice may lie below what is predicted in nine of ten scans;
            None where there were too few to say.
    """

    dice: _Part
    signs: tuple[float, ...]
    below: float | None = Field(None, ge=-1, le=1)


class Calibration(Strict):
    """What was learned from scans of which more is known than the model was told.

    Attributes:
        scans: how many.
        of: what their masks were compared with, as in "masks".
        weights: of each sign of a good mask, not negative.
        classes: by name.
        slope, offset: of the logit of a probability, which becomes right by them.
        ece: expected error of the probability that a voxel is marked rightly, before
            and after; None where no voxel's truth is known.
    """

    format: Literal[1] = 1
    scans: int = Field(ge=1)
    of: str
    weights: tuple[Annotated[float, Field(ge=0)], ...]
    classes: dict[str, ClassCalibration]
    slope: float = Field(gt=0, le=100)
    offset: float = Field(ge=-20, le=20)
    ece: tuple[_Part, _Part] | None


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
    """Write it into a package that is there already; a reader finds the whole of it or none."""
    with whole_file(folder / CALIBRATION) as part:
        part.write_text(calibration.model_dump_json(indent=2) + "\n", encoding="utf-8")
