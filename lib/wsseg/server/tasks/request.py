"""What a client asks of the infer task, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsseg.errors import WssegError
from wsseg.images.formats import MASKS
from wsseg.images.scan import SEG
from wsseg.labels.space import NO, UNKNOWN, YES, LabelSpace, Presence
from wsseg.labels.values import LONGEST_TEXT

_STATES = {1: YES, 0: NO, None: UNKNOWN}


@dataclass(frozen=True)
class InferRequest:
    """The part of MONAI Label's request dictionary that we read.

    Attributes:
        image: a file, or a folder of one DICOM series.
        device: "cpu" or "cuda:N".
        extension: of the result, with its dot.
        compress: whether an NRRD result is compressed; OHIF reads raw ones only.
        presence: as sent, see :func:`read_states`; None where nothing was.
        uncertainty: whether the reply's parameters hold the doubt per voxel.
        text: a sentence of the report, at most 2000 characters; "" where none was sent.
        save_as_label: whether presence and text are kept as labels of the scan.
        scan: the image's id in the studies, "" for one that is not of them.
        annotator: who asks.
    """

    image: str
    device: str
    extension: str
    compress: bool
    presence: Any
    uncertainty: bool
    text: str
    save_as_label: bool
    scan: str
    annotator: str

    @classmethod
    def parse(cls, request: Mapping[str, Any], devices: Sequence[str]) -> InferRequest:
        """Check a request; ``devices[0]`` is the default.

        Raises:
            WssegError: a field has a value that cannot be used.
        """
        return cls(
            image=str(request["image"]),
            device=_device(request.get("device"), devices),
            extension=_extension(request.get("result_extension")),
            compress=request.get("result_compress") not in (False, "false"),
            presence=_presence(request.get("presence")),
            uncertainty=request.get("uncertainty") in (True, "true"),
            text=_text(request.get("text")),
            save_as_label=request.get("save_as_label") in (True, "true"),
            scan=str(request.get("scan") or ""),
            annotator=str(request.get("annotator") or ""),
        )


def read_states(given: Any, labels: LabelSpace, slices: int) -> Presence:
    """Presence labels from JSON.

    Args:
        given: one list of 1 (present), 0 (absent), null (unknown) per slice
            as stored, along the axis that the scan's slices run along, or such a list per class name;
            classes left out are unknown. Or a text, see :func:`read_row`.
        slices: how many there are.
    """
    if isinstance(given, str):
        return read_row(given, labels, slices)
    if isinstance(given, list) and len(labels) == 1:
        given = {labels.names[0]: given}
    if not isinstance(given, dict):
        raise WssegError(f"presence: must be a list of 1, 0 or null for each of: {', '.join(labels.names)}")
    presence = np.full((len(labels), slices), UNKNOWN, np.int8)
    for name, states in given.items():
        row = labels.value(name) - 1
        presence[row] = _row(name, states, slices)
    return presence


def read_row(text: str, labels: LabelSpace, slices: int) -> Presence:
    """Presence labels from the text that people type into a viewer's option row.

    ::

        row    = entry { ";" entry }
        entry  = [ "no " ] class ":" range { "," range }
        range  = number [ "-" number ] | "all"

    "tumor: 3-9, 12; no tumor: 0-1" says that slices 3 to 9 and 12 show it, that
    0 and 1 do not, and nothing of the others. Slices count from 0 as stored,
    along the axis that the scan's slices run along; both ends of a range belong to it.
    """
    presence = np.full((len(labels), slices), UNKNOWN, np.int8)
    for entry in text.split(";"):
        name, colon, ranges = (part.strip() for part in entry.rpartition(":"))
        if not colon:
            raise WssegError(
                f'presence: must be like "{labels.names[0]}: 3-9, 12; no {labels.names[0]}: 0-1", not "{text}"'
            )
        absent = name not in labels.names and name.startswith("no ")
        row = presence[labels.value(name.removeprefix("no ").strip() if absent else name) - 1]
        for index in _indices(ranges, name, slices):
            if row[index] != UNKNOWN:
                raise WssegError(f"presence: slice {index} is given twice for {name}")
            row[index] = NO if absent else YES
    return presence


def _indices(ranges: str, name: str, slices: int) -> list[int]:
    found: list[int] = []
    for part in (part.strip() for part in ranges.split(",")):
        ends = re.fullmatch(r"([0-9]{1,5})(?:\s*-\s*([0-9]{1,5}))?", part)
        if part != "all" and not ends:
            raise WssegError(f'presence: {name}: "{part}" is no slice like 12, no range like 3-9 and not all')
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (0, slices - 1)
        if first > last:
            raise WssegError(f"presence: {name}: the range {part} ends before it begins")
        if last >= slices:
            raise WssegError(f"presence: {name}: slice {last} is given, the scan has slices 0 to {slices - 1}")
        found += range(first, last + 1)
    return found


def _row(name: str, states: Any, slices: int) -> list[int]:
    if not isinstance(states, list):
        raise WssegError(f"presence: {name} must be a list of 1, 0 or null, not {states!r}")
    if len(states) != slices:
        raise WssegError(f"presence: {name} is given for {len(states)} slices, the scan has {slices}")
    for state in states:
        if isinstance(state, (str, list, dict)) or state not in _STATES:
            raise WssegError(f"presence: {name} must be 1, 0 or null on every slice, not {state!r}")
    return [_STATES[state] for state in states]


def _presence(given: Any) -> Any:
    """An empty option row says nothing."""
    return None if isinstance(given, str) and not given.strip() else given


def _text(given: Any) -> str:
    if given is None:
        return ""
    if not isinstance(given, str):
        raise WssegError(f"text: must be a sentence, not {str(given)[:40]!r}")
    text = given.strip()
    if len(text) > LONGEST_TEXT:
        raise WssegError(f"text: has {len(text)} characters, {LONGEST_TEXT} are possible")
    return text


def _device(given: Any, devices: Sequence[str]) -> str:
    """A list option may arrive whole; its first entry is the default."""
    if isinstance(given, list):
        given = given[0] if given else None
    name = "cuda:0" if given == "cuda" else given or devices[0]
    if name not in devices:
        raise WssegError(f'device "{name}" is not there, use one of: {", ".join(devices)}')
    return str(name)


def _extension(given: Any) -> str:
    extension = "." + str(given or ".nii.gz").lower().lstrip(".")
    if extension not in (*MASKS, SEG):
        raise WssegError(f'result_extension "{given}" is unknown, use one of: {", ".join((*MASKS, SEG))}')
    return extension
