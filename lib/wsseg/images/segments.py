"""What a finished mask says of its segments and of who made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wsseg.labels.space import Label


@dataclass(frozen=True)
class Segments:
    """The classes of a mask and who made it.

    Attributes:
        labels: classes in order of their voxel values.
        author: name of the model or program.
        version: of it.
        edited: whether a person finished what it made.
        remark: what whoever opens the mask should know, in a sentence; mostly nothing.
    """

    labels: Mapping[str, Label]
    author: str
    version: str
    edited: bool = False
    remark: str = ""
