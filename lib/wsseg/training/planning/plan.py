"""How a new model should look at scans, told from a few of them and the labels that there are."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from wsseg.data.kinds.base import CutScan
from wsseg.data.kinds.registry import KINDS, Kinds
from wsseg.data.preprocess import BRIGHT, View, prepare
from wsseg.data.sentences.lexicon import side_of
from wsseg.data.slices import evenly
from wsseg.data.targets import Targets
from wsseg.errors import WssegError
from wsseg.files import make_folder, whole_file
from wsseg.images.folder import scan_files
from wsseg.images.scan import read_scan
from wsseg.images.volume import Volume
from wsseg.labels.space import LabelSpace
from wsseg.models.package import Recipe, is_ct

PLAN = "plan.json"
"""The file of a run that holds what was chosen for it."""

LOOKED_AT = 8
"""Scans, evenly over the folder."""

HOUNSFIELD = ((-160.0, 240.0), (-1000.0, 1000.0), (100.0, 1500.0))
"""Windows of a CT: soft tissue, everything, bone."""

LEAST_RANGE = 100.0
"""Hounsfield units from the lowest to the highest of any CT; values brought to a mean of 0 span a few."""

MOST, LEAST = 128, 64
"""Pixels that all classes together may take of a slice: more are too slow on two cores, fewer are enlarged."""

AROUND = 1.5
"""What is trained on, in parts of what the classes take."""

LEAST_PART = 0.4
"""Of a slice's side that a square shows: of much smaller ones most see none of what looks like a class elsewhere."""

ASIDE = 0.1
"""Of half a slice, from its middle: what lies farther off to one side in all scans has a side of its own."""

FEWEST = 4
"""Scans that tell so: a lesion lies on one side of two by chance."""

LARGEST = 320
"""Side of a whole slice in pixels."""

BRIGHTEST = 0.998
"""Quantile of the tissue's intensity that is shown as white."""

NOT_DRAWN = (
    "nothing is drawn on the scans: a class is first looked for as the region that is brighter or darker than its"
    " surroundings on the slices that show it and on no others; strokes, points or boxes on a few slices tell more"
)

_PROBE, _PROBE_BRIGHT = 128, 20.0


@dataclass(frozen=True)
class Plan:
    """What was chosen, and why in a sentence each.

    Attributes:
        size, bright, windows: as in :class:`wsseg.models.package.Recipe`.
        crop: side of the square that is trained on, in pixels.
        mirrored: whether left and right may change places.
        reasons: for people.
    """

    size: int
    crop: int
    bright: float
    windows: tuple[tuple[float, float], ...]
    mirrored: bool
    reasons: tuple[str, ...]

    @classmethod
    def read(cls, file: Path) -> Plan:
        """From a file that :meth:`write` has written.

        Raises:
            WssegError: it is damaged.
        """
        try:
            return TypeAdapter(Plan).validate_json(file.read_bytes())
        except ValidationError as error:
            raise WssegError(f"{file}: is damaged; start again with --fresh") from error

    def write(self, file: Path) -> None:
        """Into a file, and its folder if there is none."""
        make_folder(file.parent)
        with whole_file(file) as part:
            part.write_bytes(TypeAdapter(Plan).dump_json(self))

    @property
    def settings(self) -> dict[str, Any]:
        """Of the union learner, by name."""
        return {"channels": max(1, len(self.windows)), "crop": self.crop, "mirrored": self.mirrored}

    def applied(self, recipe: Recipe) -> Recipe:
        """A recipe of the union learner that sees scans so."""
        return recipe.model_copy(
            update={
                "size": self.size,
                "bright": self.bright,
                "windows": self.windows,
                "settings": {**recipe.settings, **self.settings},
                "planned": True,
            }
        )


@dataclass(frozen=True)
class _Seen:
    """One scan.

    Attributes:
        window, pixel, taken: the side of its window, of its pixels and of what its classes take of a slice, in mm.
        bright: its bright end, in medians of the tissue.
        aside: where marks lie along the axis that mirroring turns round, from -1 to 1; 0 without any.
    """

    window: float
    pixel: float
    taken: float
    bright: float
    aside: float


def plan_for(folder: Path, labels: LabelSpace, modality: str, use: Kinds = ()) -> Plan:
    """Choose spacing, crop, intensity rule and augmentation from scans and labels.

    Args:
        use: kinds of labels that are looked at; by default all.

    Raises:
        WssegError: there is no scan, none with a label, or they are colour pictures.
    """
    windows = HOUNSFIELD if is_ct(modality) else ()
    seen = _look(folder, labels, use or tuple(KINDS.values()), View(_PROBE, bright=_PROBE_BRIGHT, windows=windows))
    window, native, taken, bright, _ = np.median([astuple(each) for each in seen], axis=0).tolist()
    pixel = max(native, taken / MOST)
    if taken / native < LEAST:
        pixel = max(native / 2, taken / LEAST)
    size = min(LARGEST, _sixteens(window / pixel))
    crop = min(size, max(LEAST, _sixteens(LEAST_PART * size), min(MOST, _sixteens(AROUND * taken / pixel))))
    bright = BRIGHT if windows else round(max(1.0, bright), 1)
    asides = [each.aside for each in seen if each.aside]
    sided = len(asides) >= FEWEST and (min(asides) > ASIDE or max(asides) < -ASIDE)
    mirrored = len(labels) == 1 and not side_of(labels.names[0])[0] and not sided
    reasons = (
        f"slices of {size} x {size} pixels of {window / size:.2f} mm:"
        f" the body takes {window:.0f} mm, the classes {taken:.0f} mm of a slice; scans have {native:.2f} mm",
        f"trained on squares of {crop} pixels around labels",
        f"windows of {', '.join(f'{low:.0f} to {high:.0f}' for low, high in windows)} Hounsfield units"
        if windows
        else f"white is {bright:g} times the median of the tissue",
        _about_sides(mirrored, sided),
        *((NOT_DRAWN,) if taken == window else ()),
    )
    return Plan(size, crop, bright, windows, mirrored, reasons)


def _look(folder: Path, labels: LabelSpace, kinds: Kinds, view: View) -> list[_Seen]:
    """Labelled scans of a folder, at most :data:`LOOKED_AT`."""
    scans = scan_files(folder)
    given = {kind: kind.in_folder(folder, scans, labels) for kind in kinds}
    labelled = [case for case in scans if any(case in known for known in given.values())]
    if not labelled:
        raise WssegError(f"{folder}: no scan has a label, of whatever kind")
    chosen = evenly(labelled, LOOKED_AT)
    found, measured = [], []
    for case in chosen:
        volume = read_scan(scans[case])
        if volume.colour:
            raise WssegError(f"{scans[case]}: is a colour picture, from which models of the method textdiff learn")
        measured.append(not view.windows or _may_be_hounsfield(volume))
        scan = CutScan(case, scans[case], volume, prepare(volume, view))
        known = scan.unknown(labels)
        for kind, cases in given.items():
            if case in cases:
                known = kind.targets(cases[case], scan, labels, folder).over(known)
        found.append(_seen(scan, known))
    if not any(measured):
        raise WssegError(
            f"{folder}: none of {len(measured)} scans holds Hounsfield units, in which fat and air lie below 0 and bone"
            " hundreds above: are these scans CT, and were their values rescaled?"
        )
    return found


def _may_be_hounsfield(volume: Volume) -> bool:
    low, high = float(volume.voxels.min()), float(volume.voxels.max())
    return low < 0 and high - low > LEAST_RANGE


def _seen(scan: CutScan, targets: Targets) -> _Seen:
    stack = scan.stack
    drawn = torch.stack([targets.marked(k) for k in range(targets.presence.shape[1])]).any(dim=0)
    # A point marks a disc that is much smaller than what it lies in; what is drawn or boxed tells more.
    pointed = targets.about * ~targets.drawn_classes() * ~targets.boxed()
    widths = (2 * (pointed.amax(dim=1) / torch.pi).sqrt()).clamp(max=_PROBE)
    sides = [max(_side(plane), float(width)) for plane, width in zip(drawn, widths, strict=True) if plane.any()]
    taken = float(np.quantile(sides, 0.9)) * stack.pixel_mm if sides else stack.window_mm
    medians = (stack.native + 1) / 2 * _PROBE_BRIGHT
    tissue = medians[stack.tissue] if stack.tissue.any() else medians.ravel()
    bright = float(np.quantile(tissue, BRIGHTEST))
    return _Seen(stack.window_mm, float(min(stack.spacing)), taken, bright, _aside(drawn))


def _about_sides(mirrored: bool, sided: bool) -> str:
    if mirrored:
        return "left and right may change places"
    return f"left and right stay: classes {'lie on one side in all scans' if sided else 'may differ by side'}"


def _aside(drawn: Tensor) -> float:
    """Mean place of marks (slices, size, size) along rows, from -1 to 1; 0 without any."""
    places = torch.nonzero(drawn)[:, 1].double()
    return float(2 * (places.mean() + 0.5) / drawn.shape[1] - 1) if len(places) else 0.0


def _side(plane: Tensor) -> int:
    """Longer side of the box around what is marked, in pixels."""
    first, last = torch.nonzero(plane).aminmax(dim=0)
    return int((last - first).max()) + 1


def _sixteens(length: float) -> int:
    return max(16, 16 * round(length / 16))
