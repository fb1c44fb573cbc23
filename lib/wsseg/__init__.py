"""Medical image segmentation learned from labels that cost seconds.

>>> from wsseg import LabelSpace, find_package, segment
>>> find_package("cam-glioma-flair").labels.names
('tumor',)
>>> LabelSpace(("liver", "spleen")).values()
{'liver': 1, 'spleen': 2}

A scan may be any :class:`Volume`, as ``read_scan(path)`` reads one; the mask
comes on its own grid. Here a drawn head of 24 slices:

>>> from wsseg.data.phantom import make_phantom
>>> scan, _ = make_phantom(seed=0, size=64)
>>> result = segment(scan, model="cam-glioma-flair")
>>> result.mask.voxels.shape == scan.voxels.shape
True
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_FACE = {
    "LabelSpace": "labels.space",
    "ModelPackage": "models.package",
    "Segmentation": "inference.result",
    "Segmenter": "inference.segmenter",
    "Volume": "images.volume",
    "WssegError": "errors",
    "find_package": "models.shelf",
    "read_presence": "labels.tables",
    "read_scan": "images.scan",
    "segment": "inference.segmenter",
    "segment_file": "inference.segmenter",
    "write_mask": "images.formats.table",
}

__all__ = sorted(_FACE)


def __getattr__(name: str) -> Any:
    """Import on first use: torch and MONAI take seconds that ``wsseg --help`` need not wait."""
    if name not in _FACE:
        raise AttributeError(f"module 'wsseg' has no attribute {name!r}")
    return getattr(import_module(f"wsseg.{_FACE[name]}"), name)
