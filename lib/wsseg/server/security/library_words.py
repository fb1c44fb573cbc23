"""What libraries say: not into the log as it is, since they quote the attributes of scans, patients' names too."""

from __future__ import annotations

import logging
import warnings
from typing import TextIO

logger = logging.getLogger(__name__)

_TALKATIVE = ("pydicom", "pynetdicom", "highdicom", "dicomweb_client", "py.warnings")
"""Loggers of libraries that handle patients' data."""


def keep_to_ourselves() -> None:
    """From now on log of a warning only what kind it is and where it was raised, by the hook that Python has for it."""
    warnings.showwarning = _told_in_short
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _told_in_short(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    logger.info("%s in %s, line %d", category.__name__, filename, lineno)
