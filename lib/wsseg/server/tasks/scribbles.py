"""The scribbles task: how strokes drawn in 3D Slicer arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from numpy.typing import NDArray

from wsseg.errors import WssegError
from wsseg.images.on_grid import read_drawn
from wsseg.images.scan import SEG, read_any
from wsseg.images.volume import SliceGrid, Volume
from wsseg.labels.space import BACKGROUND, UNKNOWN, YES, LabelSpace, Presence, presence_of_mask
from wsseg.models.package import ModelPackage
from wsseg.server.compute import Compute, devices
from wsseg.server.studies.labels import Labels
from wsseg.server.tasks.infer import write_result
from wsseg.server.tasks.request import InferRequest

NAME = "scribbles"
"""Of the task, in the list of models."""

FOREGROUND_STROKES, BACKGROUND_STROKES = "foreground_scribbles", "background_scribbles"
"""Names of the segments that 3D Slicer's panel draws into."""


class ScribblesTask(InferTask):
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
        names = dict.fromkeys(name for package in packages for name in package.labels.names)
        super().__init__(
            type=InferType.SCRIBBLES,
            labels={name: place + 1 for place, name in enumerate(names)},
            dimension=3,
            description="Stores scribbles as labels, and segments with them laid over",
            config={"segment_with": [package.name for package in packages]},
        )
        self._packages = {package.name: package for package in packages}
        self._compute = compute
        self._labels = labels

    def is_valid(self) -> bool:
        """Always: it is made only where there is a model."""
        return True

    def load(self) -> None:
        """Nothing: the weights are those of the other tasks."""

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Store the strokes in the mask ``request["label"]``, and segment ``request["image"]``.

        Returns:
            A mask file for the caller to delete, 1 in the selected class, and
            what is known about it, ready for JSON.

        Raises:
            WssegError: the image is not of the studies, no stroke is drawn, or
                a field of the request cannot be used.
        """
        asked = InferRequest.parse(request, devices())
        if not asked.scan:
            raise WssegError("scribbles: can be kept for images of the studies, upload this one to them first")
        if asked.extension == SEG:
            raise WssegError("scribbles: the answer is no DICOM SEG, ask for .nrrd or .nii.gz")
        package = self._package(request.get("segment_with"))
        panel = _Panel.parse(request, package.labels)
        scan = read_any(Path(asked.image))
        value = package.labels.value(panel.selected)
        strokes = panel.strokes(read_drawn(Path(panel.file), scan.volume, asked.scan), value)
        self._labels.scribble(asked.scan, strokes, package.labels, asked.annotator)
        drawn = self._labels.read(asked.scan, package).scribbles
        assert drawn is not None  # strokes were kept just now
        marked = drawn == value
        if package.trained:
            presence = _shown(drawn, package.labels, SliceGrid.of(scan.volume, package.recipe.axis).stored_axis)
            text = self._labels.text_for(package, asked.scan, asked.text)
            result = self._compute.segment(package.name, asked.device, scan.volume, presence, text)
            marked = np.where(drawn == 0, result.mask.voxels == value, marked)
        file = write_result(asked, scan.volume.like(marked.astype(np.uint8)), scan, package)
        return str(file), {"label_names": {panel.selected: 1}, "model": package.name}

    def _package(self, given: Any) -> ModelPackage:
        """A list option may arrive whole; its first entry is the default."""
        if isinstance(given, list):
            given = given[0] if given else None
        name = given or next(iter(self._packages))
        if name not in self._packages:
            raise WssegError(f'segment_with: "{name}" is unknown, use one of: {", ".join(self._packages)}')
        return self._packages[name]


@dataclass(frozen=True)
class _Panel:
    """What 3D Slicer's scribbles panel sends.

    Attributes:
        file: all segments in one mask.
        foreground, background: values of the strokes in it.
        selected: name of the class that foreground strokes are of.
    """

    file: str
    foreground: int | None
    background: int | None
    selected: str

    @classmethod
    def parse(cls, request: Mapping[str, Any], labels: LabelSpace) -> _Panel:
        if not request.get("label"):
            raise WssegError("scribbles: the strokes are missing, send them as the file label")
        selected = request.get("selected_label_name")
        if selected not in labels.names:
            raise WssegError(
                f'selected_label_name: "{selected}" is no class of the model, known are: {", ".join(labels.names)}'
            )
        values = _stroke_values(request.get("label_info"))
        return cls(str(request["label"]), values.get(FOREGROUND_STROKES), values.get(BACKGROUND_STROKES), selected)

    def strokes(self, drawn: Volume, value: int) -> NDArray[np.uint8]:
        """The strokes as they are stored, see :data:`wsseg.labels.values.Scribbles`."""
        strokes = np.zeros(drawn.shape, np.uint8)
        if self.background is not None:
            strokes[drawn.voxels == self.background] = BACKGROUND
        if self.foreground is not None:
            strokes[drawn.voxels == self.foreground] = value
        return strokes


def _stroke_values(info: Any) -> dict[str, int]:
    if not isinstance(info, list) or not all(
        isinstance(e, dict) and isinstance(e.get("name"), str) and type(e.get("id")) is int for e in info
    ):
        raise WssegError(f'label_info: must be a list like [{{"name": "{FOREGROUND_STROKES}", "id": 2}}]')
    values = {entry["name"]: entry["id"] for entry in info}
    if not {FOREGROUND_STROKES, BACKGROUND_STROKES} & set(values):
        raise WssegError(f"label_info: names neither {FOREGROUND_STROKES} nor {BACKGROUND_STROKES}")
    return values


def _shown(drawn: NDArray[np.uint8], labels: LabelSpace, axis: int) -> Presence:
    """Presence (classes, slices along a stored axis): a class shows where a stroke of it is, else nothing is known."""
    return np.where(presence_of_mask(drawn, len(labels), axis) == YES, YES, UNKNOWN).astype(np.int8)
