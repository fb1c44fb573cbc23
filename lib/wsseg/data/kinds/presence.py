"""Presence as a kind of label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wsseg.data.kinds.base import CutScan, ListedKind
from wsseg.data.targets import Targets
from wsseg.images.volume import Volume
from wsseg.labels.space import NO, YES, LabelSpace
from wsseg.labels.tables import PRESENCE_FILE, ListedPresence, read_presence


class PresenceKind(ListedKind[ListedPresence]):
    """A class is on a slice, or is not."""

    name, words = "presence", "slices marked present and absent"
    table, balanced = PRESENCE_FILE, True

    def _read(self, path: Path, labels: LabelSpace) -> dict[str, ListedPresence]:
        return read_presence(path, labels)

    def stored(self, given: ListedPresence, grid: Volume, labels: LabelSpace) -> Targets:
        unknown = Targets.unknown(given.states.shape[1], len(labels), (0, 0))
        return replace(unknown, presence=torch.from_numpy(given.states.T.copy()))

    def targets(self, given: ListedPresence, scan: CutScan, labels: LabelSpace, source: Path) -> Targets:
        if scan.volume.colour:  # a picture is seen in squares, of which nobody said anything
            return scan.unknown(labels)
        axis = scan.stack.grid.stored_axis
        states = given.of_scan(scan.volume.shape[axis], axis, scan.case, source / self.table)
        return replace(scan.unknown(labels), presence=scan.stack.ordered(states))

    def bears(self, targets: Targets) -> Tensor:
        return (targets.presence >= 0).any(dim=1)

    def lacking(self, targets: Iterable[Targets], labels: LabelSpace) -> list[str]:
        presence = torch.cat([each.presence for each in targets])
        return [
            f"no slice has {name} marked {word}, both are needed"
            for column, name in zip(presence.T, labels.names, strict=True)
            for state, word in ((YES, "present"), (NO, "absent"))
            if not (column == state).any()
        ]

    def candidates(self, targets: Targets, bearing: Tensor, sample: int, rng: np.random.Generator) -> Tensor:
        """Half of the samples show a class, and half do not, if there are such slices at all."""
        column = targets.presence[:, rng.integers(targets.presence.shape[1])]
        found = torch.nonzero(column == (YES if sample % 2 else NO))[:, 0]
        return found if len(found) else bearing
