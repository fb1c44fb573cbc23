"""What a client asks of the infer task, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsseg.errors import WssegError
from wsseg.labels import NO, UNKNOWN, YES, LabelSpace, Presence
from wsseg.scan import SEG
from wsseg.volume import EXTENSIONS

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
    """

    image: str
    device: str
    extension: str
    compress: bool
    presence: Any
    uncertainty: bool

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
            presence=request.get("presence"),
            uncertainty=request.get("uncertainty") in (True, "true"),
        )


def is_plain(name: str) -> bool:
    """Whether a name, joined to a folder, stays in it."""
    return not set(name) & set("/\\\0") and name not in ("", ".", "..")


def read_states(given: Any, labels: LabelSpace, slices: int) -> Presence:
    """Presence labels from JSON.

    Args:
        given: one list of 1 (present), 0 (absent), null (unknown) per slice
            along the scan's third stored axis, or such a list per class name;
            classes left out are unknown.
        slices: how many there are.
    """
    if isinstance(given, list) and len(labels) == 1:
        given = {labels.names[0]: given}
    if not isinstance(given, dict):
        raise WssegError(f"presence: must be a list of 1, 0 or null for each of: {', '.join(labels.names)}")
    presence = np.full((len(labels), slices), UNKNOWN, np.int8)
    for name, states in given.items():
        row = labels.value(name) - 1
        presence[row] = _row(name, states, slices)
    return presence


def _row(name: str, states: Any, slices: int) -> list[int]:
    if not isinstance(states, list):
        raise WssegError(f"presence: {name} must be a list of 1, 0 or null, not {states!r}")
    if len(states) != slices:
        raise WssegError(f"presence: {name} is given for {len(states)} slices, the scan has {slices}")
    for state in states:
        if isinstance(state, (str, list, dict)) or state not in _STATES:
            raise WssegError(f"presence: {name} must be 1, 0 or null on every slice, not {state!r}")
    return [_STATES[state] for state in states]


def _device(given: Any, devices: Sequence[str]) -> str:
    """A list option may arrive whole; its first entry is the default."""
    if isinstance(given, list):
        given = given[0] if given else None
    name = {None: devices[0], "": devices[0], "cuda": "cuda:0"}.get(given, given)
    if name not in devices:
        raise WssegError(f'device "{name}" is not there, use one of: {", ".join(devices)}')
    return str(name)


def _extension(given: Any) -> str:
    extension = "." + str(given or ".nii.gz").lower().lstrip(".")
    if extension not in (*EXTENSIONS, SEG):
        raise WssegError(f'result_extension "{given}" is unknown, use one of: {", ".join((*EXTENSIONS, SEG))}')
    return extension
