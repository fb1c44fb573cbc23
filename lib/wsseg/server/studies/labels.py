"""The weak labels as the server knows them: of the scans it serves, shown to MONAI Label's viewers too."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsseg.data.kinds.registry import TEXT
from wsseg.errors import ConflictError, UnavailableError, WssegError
from wsseg.labels.database.store import LabelStore
from wsseg.labels.drawn.drawing import Drawing, check_drawings
from wsseg.labels.drawn.render import Rendered, drawn_on
from wsseg.labels.identity import ScanIdentity, content_of
from wsseg.labels.space import NO, UNKNOWN, YES, LabelSpace
from wsseg.labels.values import Mark, Summary, WeakLabels
from wsseg.methods.registry import method_class
from wsseg.models.package import ModelPackage
from wsseg.server.security.request_log import nameless
from wsseg.server.studies.finished import FinishedMask
from wsseg.server.studies.studies import Studies

logger = logging.getLogger(__name__)

INFO = "wsseg"
"""The key of the mirror in MONAI Label's image information."""

AGAIN = 1.0
"""Seconds after which it is looked again what other servers and commands have labelled."""

STATES = {YES: 1, NO: 0, UNKNOWN: None}
"""How presence looks in JSON."""


@dataclass(frozen=True)
class Labelled:
    """How far a scan of the studies is labelled.

    Attributes:
        summary: None where no label was given.
        replaced: whether labels are kept for another scan that had this id, and none for this one.
    """

    summary: Summary | None = None
    replaced: bool = False


class Labels:
    """The store, for the scans of the studies alone.

    Every write is checked against the scan it is about, and then shown in MONAI
    Label's image information under ``wsseg``, which is a mirror: nothing reads
    it, and a failure to write it is no failure.

    Writes take ``seen``, the content of the scan that whoever gives a label has
    opened, "" where that is not known: what was meant for it is refused, and
    nothing written, once another scan has its name.

    Args:
        store: the truth.
        studies: the scans.
    """

    def __init__(self, store: LabelStore, studies: Studies) -> None:
        self.store = store
        self.studies = studies
        self._mirroring = threading.Lock()
        self._mirrored: dict[str, str | None] = {}
        self._not_fitting: set[str] = set()
        self._scans: tuple[float, int, frozenset[str]] = (-AGAIN, -1, frozenset())

    def identity(self, scan: str, default_axis: int = 2, seen: str = "") -> ScanIdentity:
        """A scan as the store knows it, once that has given it what it kept by another name.

        Raises:
            ConflictError: it is another one than the one that was seen.
            NotFoundError: no such scan.
            WssegError: it is damaged.
        """
        found = self.studies.identity(scan, default_axis)
        if seen not in ("", found.content):
            raise ConflictError(f"{scan}: another scan has this name now than the one that was opened, open it anew")
        former = self.store.adopt(found, lambda name: self._content(name, [found.content]) == found.content)
        if former == scan:
            logger.warning("labels that an earlier version kept by the name of a scan now belong to these studies")
        elif former is not None:
            logger.info("a scan was renamed, its labels with it")
        return found

    def read(self, scan: str, package: ModelPackage, revision: int | None = None) -> WeakLabels:
        """What is known of a scan for a model, see :meth:`LabelStore.read`.

        Raises:
            NotFoundError: no such scan.
        """
        return self.store.read(self.identity(scan, package.recipe.axis), package.labels, revision)

    def contents(self) -> dict[str, str]:
        """What the scans contain that labels were given for, by id.

        Only scans whose ids have labels are read for this; one that was renamed
        is known again once it was opened.
        """
        self._adopt_older()
        return self._contents(self.store.contents())

    def scans(self) -> frozenset[str]:
        """Ids of :meth:`contents`, for those who ask many times a second.

        What this server writes is seen at once, what others write or replace within ``AGAIN``.
        """
        looked, writes, found = self._scans
        now, written = time.monotonic(), self.store.writes
        if written != writes or now - looked > AGAIN:
            found = frozenset(self.contents())
            self._scans = now, written, found
        return found

    def labelled(self, labels: LabelSpace) -> dict[str, Labelled]:
        """How far each scan of the studies is labelled with these classes."""
        self._adopt_older()
        before, older = self.store.contents(), self.store.waiting()
        now, summaries = self._contents(before), self.store.summaries(labels)
        found = {}
        for scan in self.studies.names():
            content = now.get(scan)
            replaced = content is None and (scan in before or scan in older)
            found[scan] = Labelled(summaries.get((scan, content)) if content else None, replaced)
            if replaced or self._mirrored.get(scan, content) != content:
                self._mirror_once(scan, content)
        return found

    def replaced(self, scan: ScanIdentity) -> bool:
        """:attr:`Labelled.replaced` of one scan."""
        before = self.store.contents().get(scan.name, [])
        return scan.content not in before and (bool(before) or scan.name in self.store.waiting())

    def mark(self, scan: str, marks: Iterable[Mark], package: ModelPackage, annotator: str, seen: str = "") -> int:
        """:meth:`LabelStore.mark` with a model's classes, on the slices that it sees."""
        revision = self.store.mark(self.identity(scan, package.recipe.axis, seen), marks, package.labels, annotator)
        self._mirror(scan)
        return revision

    def scribble(self, scan: str, strokes: NDArray[Any], labels: LabelSpace, annotator: str) -> int:
        """:meth:`LabelStore.scribble`."""
        return self.store.scribble(self.identity(scan), strokes, labels, annotator)

    def draw(
        self,
        scan: str,
        drawings: Sequence[Drawing],
        removed: Iterable[str],
        package: ModelPackage,
        annotator: str,
        seen: str = "",
    ) -> int:
        """:meth:`Drawings.change` on the slices that a model sees, with its classes."""
        identity = self.identity(scan, package.recipe.axis, seen)
        return self.store.drawings.change(identity, drawings, removed, package.labels, annotator)

    def drawn(self, scan: str, package: ModelPackage, prompted: Sequence[Drawing] = ()) -> Rendered:
        """All that is drawn on a scan, as a model sees it, with more that is drawn over it for once."""
        identity = self.identity(scan, package.recipe.axis)
        check_drawings(identity, prompted, package.labels)
        known = self.store.read(identity, package.labels)
        return drawn_on(known, self.studies.grid(scan), package.labels, prompted)

    def erase(self, scan: str, index: int, package: ModelPackage, annotator: str, seen: str = "") -> int:
        """:meth:`LabelStore.erase` on a slice that a model sees."""
        return self.store.erase(self.identity(scan, package.recipe.axis, seen), index, package.labels, annotator)

    def describe(self, scan: str, text: str, annotator: str, seen: str = "") -> int:
        """:meth:`LabelStore.describe`."""
        revision = self.store.describe(self.identity(scan, seen=seen), text, annotator)
        self._mirror(scan)
        return revision

    def text_for(self, package: ModelPackage, scan: str, text: str = "") -> str:
        """The sentence that a model is given with a scan; "" for models that read none.

        Args:
            package: of the model.
            scan: "" for one that is not of the studies.
            text: given for this once, in place of the one that is known.
        """
        if TEXT not in method_class(package.recipe.method).prompts:
            return ""
        if text or not scan:
            return text
        try:
            return self.store.text(self.identity(scan)) or ""
        except UnavailableError as error:
            logger.warning("a scan is segmented without its sentence (%s)", nameless(error, scan))
            return ""

    def undo(self, revision: int, annotator: str, seen: str = "") -> tuple[int, list[str]]:
        """:meth:`LabelStore.undo`, and the scans that the write was about."""
        for scan in self.store.touched(revision) if seen else ():
            self.identity(scan, seen=seen)
        undone = self.store.undo(revision, annotator)
        touched = self.store.touched(undone)
        for scan in touched:
            self._mirror(scan)
        return undone, touched

    def complete(self, scan: str, mask: FinishedMask, classes: Collection[str], annotator: str) -> int | None:
        """Take over what a complete mask says: present where a class is drawn, unknown elsewhere.

        What was marked absent stays so where nothing is drawn.

        Args:
            scan: on whose grid the mask is.
            mask: as somebody finished it.
            classes: that are taken over.
            annotator: who.

        Returns:
            The revision, None where the mask says nothing new.
        """
        names = tuple(name for name in mask.values if name in classes)
        if not names:
            return None
        labels, identity = LabelSpace(names), self.identity(scan)
        slices = np.moveaxis(mask.voxels, identity.axis, 2)
        drawn = np.stack([(slices == mask.values[name]).any(axis=(0, 1)) for name in names])
        held = self.store.read(identity, labels).presence
        states = np.where(drawn, YES, np.where(held == YES, UNKNOWN, held))
        marks = [Mark(names[k], index, int(states[k, index])) for k, index in np.argwhere(states != held).tolist()]
        if not marks:
            return None
        revision = self.store.mark(identity, marks, labels, annotator)
        self._mirror(scan)
        return revision

    def _contents(self, before: Mapping[str, list[str]]) -> dict[str, str]:
        """Of the scans that contain what they did when they were labelled."""
        found = {scan: self._content(scan, before[scan]) for scan in self.studies.names() if scan in before}
        return {scan: content for scan, content in found.items() if content in before[scan]}

    def _content(self, scan: str, before: list[str]) -> str:
        """What a scan contains; "" where there is none of that id, or it is damaged.

        Args:
            scan: id.
            before: what scans of this id contained when they were labelled, the newest last.
        """
        file = self.studies.datastore.local(scan)
        try:
            if file is not None:
                return content_of(file)
        except WssegError:
            return ""
        # To be fetched again from an archive, whose ids are of one series for ever.
        return before[-1] if scan in self.studies.names() else ""

    def _adopt_older(self) -> None:
        """Labels from before there were projects; those that do not fit their scan wait on."""
        for scan in (self.store.waiting() - self._not_fitting) & set(self.studies.names()):
            self._not_fitting.add(scan)
            if self.studies.datastore.local(scan):
                try:
                    self.identity(scan)
                except WssegError as error:
                    logger.warning("labels of an earlier version wait for a scan (%s)", nameless(error, scan))

    def _mirror_once(self, scan: str, content: str | None) -> None:
        """Bring the mirror of a scan up to date that was replaced."""
        if scan not in self._mirrored or self._mirrored[scan] != content:
            self._mirrored[scan] = content
            self._mirror(scan)

    def _mirror(self, scan: str) -> None:
        """Show MONAI Label's clients what is known of a scan."""
        try:
            identity = self.identity(scan)
            names = self.store.classes(identity)
            shown: dict[str, Any] = {"presence": {}, "slice_axis": identity.axis, "text": self.store.text(identity)}
            if names:
                presence = self.store.read(identity, LabelSpace(tuple(names))).presence
                shown["presence"] = {name: states_json(row) for name, row in zip(names, presence, strict=True)}
            with self._mirroring:
                self.studies.datastore.update_image_info(scan, {INFO: shown})
        except Exception as error:  # whatever a datastore raises, the label itself is stored
            logger.warning(
                "labels are stored, but MONAI Label's copy of them is not up to date (%s)", nameless(error, scan)
            )


def states_json(row: NDArray[np.int8]) -> list[int | None]:
    """States of one class, 1, 0 or None for each slice."""
    return [STATES[state] for state in row.tolist()]
