"""The scribbles task: how strokes drawn in 3D Slicer arrive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.tasks.infer_v2 import InferType
from numpy.typing import NDArray

from wsseg.errors import WssegError
from wsseg.images.on_grid import read_drawn
from wsseg.images.scan import SEG, read_any
from wsseg.images.volume import SliceGrid, Volume
from wsseg.labels.space import BACKGROUND, UNKNOWN, YES, LabelSpace, Presence, presence_of_mask
from wsseg.models.package import ModelPackage
from wsseg.server.compute import Compute
from wsseg.server.studies.labels import Labels
from wsseg.server.studies.voxels import state
from wsseg.server.tasks.infer import write_result
from wsseg.server.tasks.one_class import OneClassTask
from wsseg.server.tasks.request import InferRequest, Source
from wsseg.server.viewers.slicer import StrokeValues

NAME = "scribbles"
"""Of the task, in the list of models."""


class ScribblesTask(OneClassTask):
    """Stores strokes, and segments one class with them laid over.

    3D Slicer sends all segments as one mask with their names, and shows what
    comes back as the segment that was selected, so the answer is a mask of that
    class alone, with value 1.

    Args:
        packages: models that may segment; untrained ones give the strokes back as they are.
        compute: shared by all tasks of a server.
        labels: where strokes are stored.
    """

    def __init__(self, packages: Sequence[ModelPackage], compute: Compute, labels: Labels) -> None:
        description = "Stores scribbles as labels, and segments with them laid over"
        super().__init__(packages, compute, labels, InferType.SCRIBBLES, description)

    def __call__(self, asked: InferRequest, source: Source) -> tuple[Path, dict[str, Any]]:
        """Store the strokes, and segment the image.

        Returns:
            A mask file for the caller to delete, 1 in the selected class, and
            what is known about it, ready for JSON.

        Raises:
            WssegError: the image is not of the studies, no stroke is drawn, or
                a field of the request cannot be used.
        """
        if not source.scan:
            raise WssegError("scribbles: can be kept for images of the studies, upload this one to them first")
        if asked.extension == SEG:
            raise WssegError("scribbles: the answer is no DICOM SEG, ask for .nrrd or .nii.gz")
        if asked.strokes is None:
            raise WssegError("scribbles: the strokes are missing, send them as the file label")
        package = self.segments_with(asked)
        value = _value(asked.strokes.selected, package.labels)
        scan = read_any(source.path)
        strokes = _stored(read_drawn(asked.strokes.file, scan.volume, source.scan), asked.strokes.values, value)
        self._labels.scribble(source.scan, strokes, package.labels, asked.annotator)
        drawn = self._labels.read(source.scan, package).scribbles
        assert drawn is not None  # strokes were kept just now
        marked = drawn == value
        if package.trained:
            presence = _shown(drawn, package.labels, SliceGrid.of(scan.volume, package.recipe.axis).stored_axis)
            text = self._labels.text_for(package, source.scan, asked.text)
            _, result = self._compute.respect(
                *(package.name, asked.device, state(source.path), lambda: scan.volume),
                self._labels.drawn(source.scan, package),
                text,
                presence,
                force=asked.force,
            )
            marked = result.mask.voxels == value
        file = write_result(asked, scan.volume.like(marked.astype(np.uint8)), scan, package.segments)
        return file, {"label_names": {asked.strokes.selected: 1}, "model": package.name}


def _value(selected: str, labels: LabelSpace) -> int:
    if selected not in labels.names:
        raise WssegError(
            f'selected_label_name: "{selected}" is no class of the model, known are: {", ".join(labels.names)}'
        )
    return labels.value(selected)


def _stored(drawn: Volume, values: StrokeValues, value: int) -> NDArray[np.uint8]:
    """The strokes as they are stored, see :data:`wsseg.labels.values.Scribbles`, in a class of that value."""
    strokes = np.zeros(drawn.shape, np.uint8)
    if values.background is not None:
        strokes[drawn.voxels == values.background] = BACKGROUND
    if values.foreground is not None:
        strokes[drawn.voxels == values.foreground] = value
    return strokes


def _shown(drawn: NDArray[np.uint8], labels: LabelSpace, axis: int) -> Presence:
    """Presence (classes, slices along a stored axis): a class shows where a stroke of it is, else nothing is known."""
    return np.where(presence_of_mask(drawn, len(labels), axis) == YES, YES, UNKNOWN).astype(np.int8)
