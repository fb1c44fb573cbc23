"""A DICOM series that shows each slice at several times, as one scan a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsseg.errors import WssegError
from wsseg.images.dicom.series import DicomScan, image_files, read_files
from wsseg.images.dicom.slice import Slice, numbers

SAME_PLACE_MM = 1e-3

TIMES = ("TriggerTime", "TemporalPositionIdentifier", "InstanceNumber")
"""Attributes that order the images of one place in time; the first that tells them apart does."""


def read_cine(folder: Path) -> list[DicomScan]:
    """The scans of a folder's one series in the order of time; a single one where each slice is there once.

    Raises:
        WssegError: as :func:`~wsseg.images.dicom.series.read_series`; or slices
            are there at different numbers of times, or their order is not told.
    """
    _, files = image_files(folder)
    slices = [Slice.of(path, header) for path, header in files]
    normal = slices[0].normal
    slices.sort(key=lambda s: float(s.position @ normal))
    places: list[list[Slice]] = []
    for each in slices:
        if places and np.linalg.norm(each.position - places[-1][0].position) < SAME_PLACE_MM:
            places[-1].append(each)
        else:
            places.append([each])
    counts = sorted({len(place) for place in places})
    if len(counts) > 1:
        raise WssegError(
            f"{folder}: shows some slices at {counts[0]} times and others at {counts[-1]}, images are missing"
        )
    ordered = [_in_time(place, folder) for place in places]
    return [read_files([place[time].path for place in ordered], folder) for time in range(counts[0])]


def _in_time(place: list[Slice], folder: Path) -> list[Slice]:
    for attribute in TIMES:
        times = [next(iter(numbers(each.header, attribute)), None) for each in place]
        known = [time for time in times if time is not None]
        if len(set(known)) == len(place):
            return [each for _, each in sorted(zip(known, place, strict=True), key=lambda pair: float(pair[0]))]
    raise WssegError(
        f"{folder}: {place[0].path.name} and others show one slice, but no {' or '.join(TIMES)} orders them"
    )
