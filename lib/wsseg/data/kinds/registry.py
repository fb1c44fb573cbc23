"""All kinds of labels there are.

Every kind is one object of :data:`KINDS`. Whoever handles labels looks kinds
up there and calls them; nothing asks which kind one is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from wsseg.data.kinds.base import LabelKind
from wsseg.data.kinds.drawn import CorrectionKind, MaskKind, ScribbleKind
from wsseg.data.kinds.placed import BoxKind, PointKind
from wsseg.data.kinds.presence import PresenceKind
from wsseg.data.kinds.text import TextKind
from wsseg.errors import WssegError

MASKS, CORRECTIONS, SCRIBBLES = MaskKind(), CorrectionKind(), ScribbleKind()
POINTS, BOXES = PointKind(), BoxKind()
PRESENCE, TEXT = PresenceKind(), TextKind()

KINDS: dict[str, LabelKind[Any]] = {
    kind.name: kind for kind in (MASKS, CORRECTIONS, SCRIBBLES, POINTS, BOXES, PRESENCE, TEXT)
}
"""All kinds by name, those that say most of a pixel first: where two speak, the first is believed."""

Kinds = Sequence[LabelKind[Any]]


def kinds_named(names: Iterable[str]) -> list[LabelKind[Any]]:
    """Kinds by their names, in the order of :data:`KINDS`.

    Raises:
        WssegError: there is no such kind.
    """
    wanted = set(names)
    if unknown := wanted - KINDS.keys():
        raise WssegError(f'label kind "{sorted(unknown)[0]}" is unknown, known are: {", ".join(KINDS)}')
    return [kind for name, kind in KINDS.items() if name in wanted]
