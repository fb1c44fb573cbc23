"""The infer task: a trained package as MONAI Label offers it to viewers."""

from __future__ import annotations

import base64
import itertools
import logging
import os
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from wsseg.errors import WssegError
from wsseg.images.formats.nifti import nifti_bytes
from wsseg.images.formats.nrrd import NRRD, write_nrrd_mask
from wsseg.images.scan import SEG, Scan, read_any, write_any
from wsseg.images.segments import Segments
from wsseg.images.volume import SliceGrid, Volume
from wsseg.inference.result import Segmentation
from wsseg.labels.space import UNKNOWN, Presence
from wsseg.labels.values import Mark
from wsseg.models.package import ModelPackage
from wsseg.server.compute import Compute, devices
from wsseg.server.studies.labels import Labels
from wsseg.server.tasks.request import InferRequest, Source

logger = logging.getLogger(__name__)


class SegmentTask(InferTask):
    """One package, segmenting whole scans without asking for anything.

    Its option rows ``presence``, see :class:`PresenceRow`, and ``text`` are labels
    of the scan if ``save_as_label`` is ticked, and forgotten otherwise: viewers
    keep what stands in them from scan to scan. A model that reads text is told
    the sentence of the row, else the one that is known of the scan.

    Args:
        package: trained.
        compute: shared by all tasks of a server.
        labels: where option rows are kept.
    """

    def __init__(self, package: ModelPackage, compute: Compute, labels: Labels) -> None:
        super().__init__(
            type=InferType.SEGMENTATION,
            labels=package.labels.values(),
            dimension=3,
            description=package.metadata.description + (" Reads colour pictures." if package.recipe.colour else ""),
            config={"device": devices(), "presence": "", "text": "", "save_as_label": False},
        )
        self.package = package
        self._compute = compute
        self._labels = labels

    def info(self) -> dict[str, Any]:
        """MONAI Label's own fields, and the classes' colours for clients that ask."""
        colors = {name: list(label.color) for name, label in self.package.recipe.labels.items()}
        return {**super().info(), "colors": colors, "version": self.package.metadata.version}

    def is_valid(self) -> bool:
        """Always: untrained packages never become a task."""
        return True

    def segments_with(self, asked: InferRequest) -> ModelPackage:
        """Its own model."""
        return self.package

    def load(self) -> None:
        """Start reading the weights in the background."""
        self._compute.load(self.package.name, devices()[0])

    def __call__(self, asked: InferRequest, source: Source) -> tuple[Path, dict[str, Any]]:
        """Segment one image.

        Returns:
            A mask file for the caller to delete, uint8 on the scan's own grid,
            and what is known about it, ready for JSON.

        Raises:
            WssegError: the scan or a field of the request cannot be used.
        """
        times = [perf_counter()]
        scan = read_any(source.path)
        if asked.extension == SEG and scan.series is None:
            raise WssegError(f"{source.path}: is not a DICOM series, a DICOM SEG can be written for one only")
        slices = scan.volume.shape[SliceGrid.of(scan.volume, self.package.recipe.axis).stored_axis]
        if asked.extension == ".png" and slices > 1:
            raise WssegError(f'result_extension ".png": holds one slice, the scan has {slices}, use .nii.gz')
        presence = asked.presence.of(self.package.labels, slices) if asked.presence else None
        if asked.save_as_label:
            self._keep(asked, source.scan, presence)
        times.append(perf_counter())
        text = self._labels.text_for(self.package, source.scan, asked.text)
        _, result = self._compute.segment(self.package.name, asked.device, scan.volume, presence, text, asked.force)
        times.append(perf_counter())
        file = write_result(asked, result.mask, scan, result.segments(self.package))
        times.append(perf_counter())
        logger.info("%s: a scan in %.1f s", self.package.name, times[-1] - times[0])
        facts = _facts(result, asked.device, times)
        if text:
            facts["text"] = text
        if asked.uncertainty:
            facts["uncertainty_nifti"] = base64.b64encode(nifti_bytes(result.uncertainty)).decode()
        return file, facts

    def _keep(self, asked: InferRequest, scan: str, presence: Presence | None) -> None:
        """Store what the option rows say of the scan."""
        if not scan:
            raise WssegError("save_as_label: labels can be kept for images of the studies, not for an uploaded file")
        names = self.package.labels.names
        marks = []
        if presence is not None:
            known = np.argwhere(presence != UNKNOWN).tolist()
            marks = [Mark(names[k], index, int(presence[k, index])) for k, index in known]
        if asked.text:  # first, as it may be refused
            self._labels.describe(scan, asked.text, asked.annotator)
        if marks:
            self._labels.mark(scan, marks, self.package, asked.annotator)


def write_result(asked: InferRequest, mask: Volume, scan: Scan, segments: Segments) -> Path:
    """Write a mask into a temporary file of the extension that was asked for."""
    handle, name = tempfile.mkstemp(prefix="wsseg-", suffix=asked.extension)
    os.close(handle)
    file = Path(name)
    try:
        if asked.extension in NRRD and not asked.compress:
            write_nrrd_mask(file, mask, packed=False)
        else:
            write_any(file, mask, scan, segments)
    except BaseException:
        file.unlink()
        raise
    return file


def _facts(result: Segmentation, device: str, times: list[float]) -> dict[str, Any]:
    read, infer, write = (round(end - start, 3) for start, end in itertools.pairwise(times))
    return {
        **result.facts(),
        "device": device,
        # "infer" holds the wait for scans that came before.
        "latencies": {"read": read, "infer": infer, "write": write, "total": round(times[-1] - times[0], 3)},
    }
