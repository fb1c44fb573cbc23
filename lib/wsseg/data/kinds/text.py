"""Sentences as a kind of label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from wsseg.data.kinds.base import CutScan, ListedKind
from wsseg.data.sentences.entailed import constrained
from wsseg.data.sentences.lexicon import Lexicon
from wsseg.data.sentences.report import understand
from wsseg.data.targets import Targets
from wsseg.images.volume import Volume
from wsseg.labels.space import LabelSpace
from wsseg.labels.tables import TEXT_FILE, read_texts


class TextKind(ListedKind[str]):
    """A sentence on a scan: as it stands, for methods that read it, and what is understood of it, for all."""

    name, words, sought = "text", "a sentence", False
    table = TEXT_FILE

    def _read(self, path: Path, labels: LabelSpace) -> dict[str, str]:
        return read_texts(path)

    def stored(self, given: str, grid: Volume, labels: LabelSpace) -> Targets:
        return replace(Targets.unknown(1, len(labels), (0, 0)), texts=(given,))

    def targets(self, given: str, scan: CutScan, labels: LabelSpace, source: Path) -> Targets:
        unknown = scan.unknown(labels)
        known = replace(unknown, texts=(given,) * len(unknown.texts))
        if scan.volume.colour:  # seen in squares, turned any way
            return known
        return constrained(known, understand(given, Lexicon(labels)), scan)

    def bears(self, targets: Targets) -> Tensor:
        return torch.tensor([bool(text) for text in targets.texts])

    def lacking(self, targets: Iterable[Targets], labels: LabelSpace) -> list[str]:
        told = any(any(each.texts) for each in targets)
        return ["sentences tell where a class is not, never where it is" if told else "no scan has a sentence"]

    def reading(self, targets: Targets, labels: LabelSpace) -> str:
        reports = [understand(text, Lexicon(labels)) for text in dict.fromkeys(targets.texts)]
        understood = {sentence for report in reports for sentence, _ in report.understood}
        not_understood = list(dict.fromkeys(sentence for report in reports for sentence in report.not_understood))
        if not understood and not not_understood:
            return ""
        first = f', not "{not_understood[0]}"' if not_understood else ""
        return f"{len(understood)} of {len(understood) + len(not_understood)} different sentences are understood{first}"
