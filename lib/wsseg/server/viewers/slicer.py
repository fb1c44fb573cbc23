"""3D Slicer's module: how its option rows and its scribbles panel say things."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wsseg.errors import WssegError

FOREGROUND_STROKES, BACKGROUND_STROKES = "foreground_scribbles", "background_scribbles"
"""Names of the segments that the scribbles panel draws into."""


@dataclass(frozen=True)
class StrokeValues:
    """Values of the strokes in the mask of all segments that the panel sends; None for one that is not in it."""

    foreground: int | None
    background: int | None


def chosen(option: Any) -> Any:
    """What a row of options says: a list arrives whole where nobody touched it, and its first entry is the default."""
    return (option or [None])[0] if isinstance(option, list) else option


def stroke_values(info: Any) -> StrokeValues:
    """The strokes among the segments that ``label_info`` lists.

    Raises:
        WssegError: it is no list of segments, or none of them is of strokes.
    """
    if not isinstance(info, list) or not all(
        isinstance(e, dict) and isinstance(e.get("name"), str) and type(e.get("id")) is int for e in info
    ):
        raise WssegError(f'label_info: must be a list like [{{"name": "{FOREGROUND_STROKES}", "id": 2}}]')
    values = {entry["name"]: entry["id"] for entry in info}
    found = StrokeValues(values.get(FOREGROUND_STROKES), values.get(BACKGROUND_STROKES))
    if found == StrokeValues(None, None):
        raise WssegError(f"label_info: names neither {FOREGROUND_STROKES} nor {BACKGROUND_STROKES}")
    return found
