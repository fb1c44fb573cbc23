"""What the tasks share by which a viewer has one class segmented, with what people marked respected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from wsseg.errors import WssegError
from wsseg.models.package import ModelPackage
from wsseg.server.compute import Compute
from wsseg.server.studies.labels import Labels
from wsseg.server.tasks.request import InferRequest


class OneClassTask(InferTask):
    """A task of no model of its own, which segments with one that is named.

    Args:
        packages: models that may segment; the first one is the default.
        compute: shared by all tasks of a server.
        labels: where what people mark is kept.
        type: what viewers know such a task as.
        description: for people, a sentence without its full stop.
        config: further fields that viewers offer.
    """

    def __init__(
        self,
        packages: Sequence[ModelPackage],
        compute: Compute,
        labels: Labels,
        type: InferType,
        description: str,
        **config: Any,
    ) -> None:
        names = dict.fromkeys(name for package in packages for name in package.labels.names)
        super().__init__(
            type=type,
            labels={name: place + 1 for place, name in enumerate(names)},
            dimension=3,
            description=description,
            config={"segment_with": [package.name for package in packages], **config},
        )
        self._packages = {package.name: package for package in packages}
        self._compute = compute
        self._labels = labels

    def is_valid(self) -> bool:
        """Always: it is made only where there is a model."""
        return True

    def load(self) -> None:
        """Nothing: the weights are those of the other tasks."""

    def segments_with(self, asked: InferRequest) -> ModelPackage:
        """The model that is named, or the first one.

        Raises:
            WssegError: there is none of that name.
        """
        name = asked.segment_with or next(iter(self._packages))
        if name not in self._packages:
            raise WssegError(f'segment_with: "{name}" is unknown, use one of: {", ".join(self._packages)}')
        return self._packages[name]
