"""The points task: how points placed in 3D Slicer's SmartEdit/Deepgrow panel arrive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.tasks.infer_v2 import InferType

from wsseg.errors import WssegError
from wsseg.images.scan import SEG, read_any
from wsseg.images.volume import SliceGrid, Volume
from wsseg.labels.drawn.drawing import BACKGROUND_NAME, Drawing, Tool
from wsseg.labels.drawn.render import render
from wsseg.models.package import ModelPackage
from wsseg.server.compute import Compute
from wsseg.server.studies.labels import Labels
from wsseg.server.studies.voxels import state
from wsseg.server.tasks.infer import write_result
from wsseg.server.tasks.one_class import OneClassTask
from wsseg.server.tasks.request import InferRequest, Place, Source

NAME = "points"
"""Of the task, in the list of models."""


class PointsTask(OneClassTask):
    """Segments one class so that points in it and outside of it are respected.

    3D Slicer sends all points of the segment that is selected, every time, and
    shows what comes back as that segment, so the answer is a mask of that class
    alone, with value 1. The points are forgotten, unless ``save_as_label`` is
    ticked.

    Args:
        packages: trained models that read grey values; the first one is the default.
        compute: shared by all tasks of a server.
        labels: where points are kept.
    """

    def __init__(self, packages: Sequence[ModelPackage], compute: Compute, labels: Labels) -> None:
        description = "Segments a class with points in it and outside of it respected"
        super().__init__(packages, compute, labels, InferType.DEEPGROW, description, save_as_label=False)

    def __call__(self, asked: InferRequest, source: Source) -> tuple[Path, dict[str, Any]]:
        """Segment the image.

        Returns:
            A mask file for the caller to delete, 1 in the segment's class, and
            what is known about it, ready for JSON.

        Raises:
            WssegError: a point lies outside, or a field of the request cannot be used.
        """
        if asked.extension == SEG:
            raise WssegError("points: the answer is no DICOM SEG, ask for .nrrd or .nii.gz")
        package = self.segments_with(asked)
        if asked.segment not in package.labels.names:
            known = ", ".join(package.labels.names)
            raise WssegError(f'label: "{asked.segment}" is no class of {package.name}, name the segment {known}')
        scan = read_any(source.path)
        drawings = _drawings(asked, scan.volume, package)
        if asked.save_as_label:
            if not source.scan:
                raise WssegError(
                    "save_as_label: labels can be kept for images of the studies, not for an uploaded file"
                )
            self._labels.draw(source.scan, drawings, (), package, asked.annotator)
        grid = scan.volume.like(np.broadcast_to(np.uint8(0), scan.volume.shape))
        drawn = (
            self._labels.drawn(source.scan, package, drawings)
            if source.scan
            else render(drawings, grid, package.labels)
        )
        text = self._labels.text_for(package, source.scan, asked.text)
        name = state(source.path)
        _, result = self._compute.respect(
            package.name, asked.device, name, lambda: scan.volume, drawn, text, force=asked.force
        )
        marked = result.mask.voxels == package.labels.value(asked.segment)
        file = write_result(asked, scan.volume.like(marked.astype(np.uint8)), scan, package.segments)
        return file, {"label_names": {asked.segment: 1}, "model": package.name}


def _drawings(asked: InferRequest, scan: Volume, package: ModelPackage) -> list[Drawing]:
    """Points as drawings on the slices that a model sees, always the same ones."""
    axis = SliceGrid.of(scan, package.recipe.axis).stored_axis
    given = [(asked.segment, point) for point in asked.foreground]
    given += [(BACKGROUND_NAME, point) for point in asked.background]
    return [_drawing(label, point, axis, scan, package) for label, point in given]


def _drawing(label: str, point: Place, axis: int, scan: Volume, package: ModelPackage) -> Drawing:
    if any(not 0 <= at < size for at, size in zip(point, scan.shape, strict=True)):
        raise WssegError(f"points: {list(point)} lies outside the scan, which has {list(scan.shape)} voxels")
    first, second = (at for other, at in enumerate(point) if other != axis)
    return Drawing(
        # The same point is the same label, however often it is sent.
        id=f"slicer-{package.labels.values().get(label, 0)}-" + "-".join(map(str, point)),
        tool=Tool.POINT,
        label=label,
        classes=package.labels.names,
        axis=axis,
        slice=point[axis],
        points=((first, second),),
    )
