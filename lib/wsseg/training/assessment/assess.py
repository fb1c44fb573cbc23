"""What a version that was just trained is told to have been made for, and how far it may be believed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from wsseg.data.slices import LabelledSlices
from wsseg.inference.segmenter import Segmenter
from wsseg.methods.base import Method
from wsseg.methods.prompt import Progress
from wsseg.models.calibration import write_calibration
from wsseg.models.domain import write_domain
from wsseg.models.package import read_package
from wsseg.training.assessment.calibrate import calibration_of, compare
from wsseg.training.assessment.describe import describe


def assess(
    folder: Path, method: Method, data: Path, cases: Collection[str], held: LabelledSlices | None, progress: Progress
) -> None:
    """Write it into the package.

    Args:
        folder: of the package, as written.
        method: as trained.
        data: folder of scans.
        cases: those of them that it was trained on.
        held: those held back, if any.
        progress: told the finished part, in [0, 1].
    """
    package = read_package(folder)
    if domain := describe(method, package.recipe, data, cases, progress):
        write_domain(folder, domain)
    if held is not None:
        compared = compare(Segmenter(folder, calibrated=False), data, held.cases)
        if calibration := calibration_of(compared, package.labels.names):
            write_calibration(folder, calibration)
