"""UIDs, which name files and stand in addresses, so what is none goes no further."""

from __future__ import annotations

import re

REFERENCES = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
"""Of an image: what a result of it refers to."""

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")

_LONGEST = 64


def is_uid(text: str) -> bool:
    """Whether a text is a DICOM UID: digits and single dots, so never a path."""
    return len(text) <= _LONGEST and _UID.fullmatch(text) is not None
