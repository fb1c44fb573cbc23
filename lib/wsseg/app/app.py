"""The MONAI Label app: every trained package, ready to be run from a viewer."""

from __future__ import annotations

import atexit
import gc
import logging
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.tasks.activelearning.first import First
from monailabel.tasks.activelearning.random import Random

from wsseg.app.compute import Compute
from wsseg.app.infer import SegmentTask
from wsseg.app.interrupt import when_interrupted
from wsseg.app.models import offered_packages
from wsseg.app.replies import naming
from wsseg.app.request import is_plain
from wsseg.errors import NotFoundError, WssegError
from wsseg.scan import SEG
from wsseg.volume import case_name

logger = logging.getLogger(__name__)

_UID = re.compile(r"[0-9.]{1,64}")


class WssegApp(MONAILabelApp):
    """Models learned from weak labels.

    MONAI Label finds this class by its direct base and calls it with these
    three keywords, once in the server and once in every job it starts, so
    nothing is loaded here.

    Args:
        app_dir: folder that MONAI Label keeps its logs in.
        studies: folder of scans, or a DICOMweb URL.
        conf: ``models`` restricts what is offered, names separated by commas.

    Raises:
        WssegError: a model named in ``conf`` is unknown or not trained.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self._compute = Compute()
        super().__init__(
            app_dir,
            studies,
            conf,
            name="wsseg",
            description="Segmentation learned from labels that cost seconds",
        )

    def init_infers(self) -> dict[str, SegmentTask]:
        """One task per trained package."""
        names = [name.strip() for name in self.conf.get("models", "").split(",") if name.strip()]
        tasks = {package.name: SegmentTask(package, self._compute) for package in offered_packages(names)}
        logger.info("offered: %s", ", ".join(tasks) or "no model, none is trained")
        return tasks

    def init_strategies(self) -> dict[str, Strategy]:
        """MONAI Label's own two that need no model."""
        return {"random": Random(), "first": First()}

    def on_init_complete(self) -> None:
        """In a server, read the weights while the first client connects."""
        super().on_init_complete()
        when_interrupted(self._compute.stop)
        for task in self._infers.values():
            task.load()
        # All that was imported stays; a collection that walks it would stop every thread for a second.
        gc.collect()
        gc.freeze()
        atexit.register(gc.unfreeze)

    def infer(self, request: Mapping[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Segment one image, and store the mask if ``save_label`` asks for it.

        Unlike MONAI Label's own, this opens only images of the studies and
        files that were uploaded, never any path of the server.

        Raises:
            WssegError: see :meth:`SegmentTask.__call__`; errors name the image.
            NotFoundError: no such model or image.
        """
        store = datastore or self.datastore()
        task = self.task(request.get("model"))
        image = str(request.get("image") or "")
        tag = str(request.get("label_tag") or DefaultLabelTag.ORIGINAL.value)
        if not is_plain(tag):
            raise WssegError(f'label_tag "{tag}": must be the name of a folder, not a path')
        known = self.image_path(image, store)
        path = known or self._uploaded(image)
        if request.get("result_extension") == SEG:
            path = _series_of(path)
        with naming(path, Path(image).name):
            file, params = task({**request, "image": str(path)})
        label = file
        if known and request.get("save_label") in (True, "true"):
            try:
                label = store.save_label(image, file, tag, {"model": request["model"], "params": params})
            except OSError as error:
                Path(file).unlink()
                raise WssegError(f"{image}: its mask cannot be stored ({error.strerror})") from error
        return {"label": label, "tag": tag, "file": file, "params": params}

    def batch_infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """MONAI Label's own, which divides by the number of GPUs unless told that there is none."""
        several = request.get("multi_gpu", True) and torch.cuda.is_available()
        return super().batch_infer({**request, "multi_gpu": several}, datastore)

    def tasks(self, job: str) -> Mapping[str, Any]:
        """What MONAI Label can run as a job: "batch/infer", "train" or "scoring"."""
        return {"batch/infer": self._infers, "train": self._trainers, "scoring": self._scoring_methods}[job]

    def task(self, model: str | None) -> SegmentTask:
        """The infer task of a model."""
        if model not in self._infers:
            raise NotFoundError(f'model "{model}" is unknown, offered are: {", ".join(self._infers) or "none"}')
        return self._infers[model]

    def image_path(self, image: str, store: Datastore | None = None) -> Path | None:
        """Where an image of the studies is, None if there is none of that id."""
        store = store or self.datastore()
        if isinstance(store, DICOMWebDatastore) and not _UID.fullmatch(image):
            return None
        try:
            path = store.get_image_uri(image)
        except IndexError:  # MONAI Label takes the first of the series that an archive found
            return None
        return Path(path) if path else None

    def _uploaded(self, image: str) -> Path:
        path = Path(image).resolve()
        homes = [Path(tempfile.gettempdir())]
        if self.sessions():
            homes.append(Path(self.sessions().store_path))
        if not image or not any(path.is_relative_to(home.resolve()) for home in homes):
            raise NotFoundError(f'image "{image}" is unknown')
        return path


def _series_of(path: Path) -> Path:
    """The DICOM series that a DICOMweb store keeps beside the NIfTI file it made of it."""
    folder = path.parent / case_name(path)
    return folder if folder.is_dir() else path
