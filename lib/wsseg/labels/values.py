"""What people may give as a label, checked, and as the bytes that are kept of it; what is known of a scan."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wsseg.errors import WssegError
from wsseg.labels.drawn.drawing import Drawn
from wsseg.labels.identity import ScanIdentity
from wsseg.labels.space import BACKGROUND, LONGEST_NAME, NO, UNKNOWN, YES, About, LabelSpace, Presence, StrokeKind

LONGEST_TEXT = 2000

CORRECTIONS: Final = "corrections"
"""The kind of maps of where somebody corrected a mask, in the values of scribbles."""

Scribbles = NDArray[np.uint8]
"""(x, y, z) as the scan is stored: 0 not annotated, 1..N the classes, 255 background."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Mark:
    """One class on one slice.

    Attributes:
        label: class name.
        slice: from 0 along the stored axis that the scan's slices run along.
        state: 1 present, 0 absent, -1 unknown.
    """

    label: str
    slice: int
    state: int


@dataclass(frozen=True)
class WeakLabels:
    """What is known of one scan without a complete mask.

    Attributes:
        presence: (classes, slices) of 1, 0, -1.
        scribbles: as in :data:`Scribbles`, or None.
        text: a sentence of the report, or None.
        corrections: of a mask, from files, as in :data:`Scribbles`, or None.
        drawings: along the scan's axis, the oldest first; they lie over both maps.
    """

    presence: Presence
    scribbles: Scribbles | None
    text: str | None
    corrections: Scribbles | None = None
    drawings: tuple[Drawn, ...] = ()


@dataclass(frozen=True)
class Summary:
    """How far a scan is labelled.

    Attributes:
        labelled: number of slices on which a state of any of the classes is known.
        scribbles: whether there are any from files or viewers, drawn with exactly these classes on offer.
        drawings: how many there are, of any classes.
        text: whether there is one.
        annotator, time: of the last write about the scan, whatever it was; UTC.
    """

    labelled: int
    scribbles: bool
    drawings: int
    text: bool
    annotator: str
    time: datetime


def check_name(name: str, what: str) -> None:
    """Refuse what cannot be the name of a scan or an annotator, as ``what`` says."""
    if not name.strip():
        raise WssegError(f"labels: the name of the {what} is empty")
    if len(name) > LONGEST_NAME:
        raise WssegError(f"labels: the name of the {what}, {name[:20]}..., is longer than {LONGEST_NAME} characters")
    if _CONTROL.search(name) or (what == "scan" and re.search(r"[/\\]", name)):
        raise WssegError(f"labels: the name of the {what}, {name!r}, holds a character that no name may have")


def check_text(scan: str, text: str) -> str:
    """A sentence without the space around it.

    Raises:
        WssegError: longer than 2000 characters, or with control characters.
    """
    stripped = text.strip()
    if len(stripped) > LONGEST_TEXT:
        raise WssegError(f"{scan}: the text has {len(stripped)} characters, {LONGEST_TEXT} are possible")
    if _CONTROL.search(re.sub(r"[\t\r\n]", "", stripped)):
        raise WssegError(f"{scan}: the text holds control characters")
    return stripped


def check_marks(scan: ScanIdentity, marks: Iterable[Mark], labels: LabelSpace) -> dict[About, bytes | None]:
    """Marks as the rows that are kept of them.

    Raises:
        WssegError: no mark, the same class and slice twice, an unknown class or
            state, or a slice that the scan does not have.
    """
    found: dict[About, bytes | None] = {}
    for mark in marks:
        _check_mark(scan, mark, labels)
        about = About("presence", mark.label, scan.axis, int(mark.slice))
        if about in found:
            raise WssegError(f"{scan.name}: {mark.label} on slice {mark.slice} is given twice")
        found[about] = pack_state(int(mark.state))
    if not found:
        raise WssegError(f"{scan.name}: no label is given")
    return found


def _check_mark(scan: ScanIdentity, mark: Mark, labels: LabelSpace) -> None:
    place = f"{scan.name}, slice {mark.slice}"
    if not isinstance(mark.slice, int | np.integer) or not 0 <= mark.slice < scan.slices:
        raise WssegError(f"{place}: the scan has slices 0 to {scan.slices - 1}")
    if mark.label not in labels.names:
        raise WssegError(f'{place}: label "{mark.label}" is unknown, known are: {", ".join(labels.names)}')
    if mark.state not in (YES, NO, UNKNOWN):
        raise WssegError(f"{place}: {mark.label} must be 1, 0 or -1, not {mark.state!r}")


def check_scribbles(scan: ScanIdentity, voxels: NDArray[Any], labels: LabelSpace) -> None:
    """Refuse strokes that cannot be kept.

    Raises:
        WssegError: another shape than the scan's, a value that is no class, or nothing drawn.
    """
    if voxels.shape != scan.shape:
        raise WssegError(
            f"{scan.name}: the scribbles are {_size(voxels.shape)} voxels, the scan is {_size(scan.shape)}"
        )
    known = np.isin(voxels, [*range(len(labels) + 1), BACKGROUND])
    if not known.all():
        place = tuple(np.argwhere(~known)[0])
        raise WssegError(
            f"{scan.name}, slice {place[scan.axis]}: scribble value {voxels[place]:g} "
            f"is none of 0 to {len(labels)} or {BACKGROUND}"
        )
    if not voxels.any():
        raise WssegError(f"{scan.name}: the scribbles are empty")


def pack_state(state: int) -> bytes | None:
    """A state as it is kept; unknown is no label."""
    return None if state == UNKNOWN else str(state).encode()


def pack_voxels(voxels: Scribbles) -> bytes | None:
    """A map of strokes as it is kept, as NumPy's compressed archive; an empty one is no label."""
    if not voxels.any():
        return None
    packed = io.BytesIO()
    np.savez_compressed(packed, voxels=voxels)
    return packed.getvalue()


def unpack_voxels(packed: bytes) -> Scribbles:
    """What :func:`pack_voxels` packed."""
    with np.load(io.BytesIO(packed)) as stored:
        voxels: Scribbles = stored["voxels"]
    return voxels


def unpack_presence(held: Mapping[About, bytes], scan: ScanIdentity, labels: LabelSpace) -> Presence:
    """Rows of presence along the scan's axis as an array, unknown where there is none."""
    presence = np.full((len(labels), scan.slices), UNKNOWN, np.int8)
    for about, state in held.items():
        if about.label in labels.names:
            presence[labels.names.index(about.label), about.slice] = int(state)
    return presence


def new_states(scan: ScanIdentity, states: Presence, held: Presence, labels: LabelSpace) -> dict[About, bytes | None]:
    """Those that are known, and were not before."""
    new = np.argwhere((states != UNKNOWN) & (states != held)).tolist()
    return {About("presence", labels.names[k], scan.axis, index): pack_state(int(states[k, index])) for k, index in new}


def drawn_with(labels: LabelSpace, kind: StrokeKind = "scribbles") -> About:
    """What 255 and a number mean depends on the classes that were on offer, so each list of them has its own map."""
    return About(kind, json.dumps(labels.names))


def unpack_scribbles(
    held: Mapping[About, bytes], labels: LabelSpace, kind: StrokeKind = "scribbles"
) -> Scribbles | None:
    """The map that was drawn with exactly these classes on offer."""
    packed = held.get(drawn_with(labels, kind))
    return None if packed is None else unpack_voxels(packed)


def unpack_text(held: Mapping[About, bytes]) -> str | None:
    """The sentence."""
    packed = held.get(About("text"))
    return None if packed is None else packed.decode()


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
