"""The MONAI Label app: every trained package, ready to be run from a viewer."""

from __future__ import annotations

import atexit
import gc
import logging
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask

from wsseg.archive.overview import Overview
from wsseg.errors import NotFoundError, UnavailableError, WssegError, naming
from wsseg.images.scan import SEG
from wsseg.labels.database.engine import open_database, open_store
from wsseg.labels.project import is_archive, project_of
from wsseg.models.package import WEIGHTS, ModelPackage
from wsseg.models.shelf import find_package, package_names, publications
from wsseg.server.compute import Compute
from wsseg.server.interrupt import when_interrupted
from wsseg.server.jobs.batch import Batch
from wsseg.server.jobs.jobs import Jobs
from wsseg.server.node.settings import NodeSettings
from wsseg.server.node.station import open_node
from wsseg.server.sessions import WholeSessions
from wsseg.server.studies.labels import Labels
from wsseg.server.studies.snapshot import write_snapshot
from wsseg.server.studies.studies import Studies, open_studies
from wsseg.server.tasks.infer import SegmentTask
from wsseg.server.tasks.offered import sound_packages, trained_packages
from wsseg.server.tasks.points import NAME as POINTS
from wsseg.server.tasks.points import PointsTask
from wsseg.server.tasks.request import InferReply, InferRequest, Source
from wsseg.server.tasks.scribbles import NAME as SCRIBBLES
from wsseg.server.tasks.scribbles import ScribblesTask
from wsseg.server.tasks.strategies import strategies
from wsseg.server.tasks.train import TrainingTask
from wsseg.server.viewers.monailabel import stats_by_model

logger = logging.getLogger(__name__)

Task = SegmentTask | PointsTask | ScribblesTask
"""What viewers ask for by a name in the list of models."""


class WssegApp(MONAILabelApp):
    """Models learned from weak labels.

    MONAI Label finds this class by its direct base and calls it with these
    three keywords, once in the server and once in every job it starts, so
    nothing is loaded here.

    Args:
        app_dir: folder that MONAI Label keeps its logs in.
        studies: folder of scans, or a DICOMweb URL.
        conf: ``models`` restricts what is offered, names separated by commas.

    Attributes:
        compute: loaded models.
        jobs: of training.
        batch: inference on many scans.
        archives: what campaigns over archives have come to.
        weak_labels: of the studies; ``labels`` is MONAI Label's own list of class names.

    Raises:
        WssegError: the labels cannot be opened.
    """

    weak_labels: Labels
    archives: Overview

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.compute = Compute()
        self.jobs = Jobs(lambda folder, package: write_snapshot(self.weak_labels, folder, package))
        self.batch = Batch(self.segment)
        self._renewing = threading.RLock()
        self._published = publications()
        self._offered: dict[str, Any] | None = None
        super().__init__(
            app_dir,
            studies,
            conf,
            name="wsseg",
            description="Segmentation learned from labels that cost seconds",
        )

    def init_datastore(self) -> Datastore:
        """The studies, and the weak labels of them."""
        datastore = open_studies(self.studies, self.packages)
        self.weak_labels = Labels(open_store(project_of(self.studies)), Studies(datastore))
        self.archives = Overview(open_database())
        return datastore

    def init_infers(self) -> dict[str, Task]:
        """One task per trained package, one that takes scribbles, and one that takes points."""
        drawable = sorted(self.packages(), key=lambda package: not package.trained)
        packages = trained_packages(drawable)
        tasks = {package.name: SegmentTask(package, self.compute, self.weak_labels) for package in packages}
        logger.info("offered: %s", ", ".join(tasks) or "no model, none is trained")
        if not drawable:
            return {}
        drawn = {SCRIBBLES: ScribblesTask(drawable, self.compute, self.weak_labels)}
        grey = [package for package in packages if not package.recipe.colour]
        points = {POINTS: PointsTask(grey, self.compute, self.weak_labels)} if grey else {}
        return {**tasks, **drawn, **points}

    def init_trainers(self) -> dict[str, TrainTask]:
        """One task per model, trained or not."""
        return {package.name: TrainingTask(package, self.jobs) for package in self.packages()}

    def _load_sessions(self, load: bool = False) -> WholeSessions | None:
        """Ours, where MONAI Label makes its own."""
        if not load:
            return None
        return WholeSessions(settings.MONAI_LABEL_SESSION_PATH, settings.MONAI_LABEL_SESSION_EXPIRY)

    def renew_models(self) -> None:
        """Offer models that were trained since the server started, and tell viewers the versions in use."""
        with self._renewing:
            published = publications()  # first, so that what is published meanwhile is seen the next time
            self._infers = self.init_infers()
            self._trainers = self.init_trainers()
            self._offered = None
            self._published = published

    def _keep_up(self) -> None:
        """Offer what was trained, made or rolled back meanwhile, here or by a command."""
        if publications() != self._published:
            self.renew_models()

    def info(self) -> dict[str, Any]:
        """MONAI Label's own fields, not to be changed.

        What is offered is described once for each publication, since viewers
        ask many times a second. Every scan with a label counts as completed, as
        Slicer offers training only where one is.
        """
        self._keep_up()
        with self._renewing:
            offered = self._offered = self._offered or super().info()
        stats = stats_by_model(self.jobs.progress(), offered["trainers"])
        return {**offered, "train_stats": stats, "datastore": self._counts()}

    def _counts(self) -> dict[str, Any]:
        """How many scans there are, how many of them are labelled, and masks by tag."""
        store = self.datastore()
        found = store.status()
        unlabelled = set(store.get_unlabeled_images()) - self._labelled()
        return {**found, "completed": found["total"] - len(unlabelled)}

    def _labelled(self) -> frozenset[str]:
        """Scans with a label; none while the database is down, since viewers can segment without it."""
        try:
            return self.weak_labels.scans()
        except UnavailableError as error:
            logger.warning("%s", error)
            return frozenset()

    def chosen_models(self) -> list[str]:
        """Names in ``conf``, none where every model is to be offered."""
        return [name.strip() for name in self.conf.get("models", "").split(",") if name.strip()]

    def packages(self) -> list[ModelPackage]:
        """Models that scans can be labelled for, trained or not, as they are now."""
        return sound_packages(self.chosen_models())

    def package(self, model: str) -> ModelPackage:
        """One of :meth:`packages`.

        Raises:
            NotFoundError: there is none of that name.
        """
        self.require(model)
        return find_package(model)

    def require(self, model: str) -> None:
        """That there is a model, which may be damaged.

        Raises:
            NotFoundError: there is none of that name.
        """
        known = self.chosen_models() or package_names()
        if model not in known:
            raise NotFoundError(f'model "{model}" is unknown, offered are: {", ".join(known)}')

    def init_strategies(self) -> dict[str, Strategy]:
        """Ways to choose the scan to label next, the recommended one first."""
        archives = self.archives if is_archive(self.studies) else None
        return strategies(self.compute, self.weak_labels, self.packages, archives)

    def on_init_complete(self) -> None:
        """In a server, read the weights while the first client connects."""
        super().on_init_complete()
        when_interrupted(self.compute.stop)
        self.jobs.resume()
        when_interrupted(self.jobs.pause)
        when_interrupted(self.batch.stop)
        listening = open_node(NodeSettings(), self.compute)
        if listening is not None:
            when_interrupted(listening.stop)
        for task in self._infers.values():
            task.load()
        # All that was imported stays; a collection that walks it would stop every thread for a second.
        gc.collect()
        gc.freeze()
        atexit.register(gc.unfreeze)

    def infer(self, request: Mapping[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """:meth:`segment` in the words of MONAI Label, whose hook this is."""
        reply = self.segment(InferRequest.parse(request), datastore)
        return {**reply.facts(), "file": str(reply.file)}

    def segment(self, asked: InferRequest, datastore: Datastore | None = None) -> InferReply:
        """Segment one image, and store the mask if that is asked for.

        Unlike MONAI Label's own, this opens only images of the studies and
        files that were uploaded, never any path of the server.

        Raises:
            WssegError: see :meth:`SegmentTask.__call__`; errors name the image.
            NotFoundError: no such model or image.
        """
        store = datastore or self.datastore()
        task = self.task(asked.model)
        source = self._source(asked, store)
        if asked.strokes:
            self._uploaded(str(asked.strokes.file))
        if source.scan and not asked.force:
            Studies(store).check_made(source.scan, task.segments_with(asked))
        with naming(source.path, Path(asked.image).name):
            file, params = task(asked, source)
        label = str(file)
        if source.scan and asked.save_label:
            try:
                label = store.save_label(source.scan, label, asked.label_tag, {"model": asked.model, "params": params})
            except WssegError:
                file.unlink()
                raise
        return InferReply(file, label, asked.label_tag, params)

    def _source(self, asked: InferRequest, store: Datastore) -> Source:
        known = self.image_path(asked.image, store)
        if known is None:
            return Source(self._uploaded(asked.image), "")
        came = store.source(asked.image)
        series = came if came and came.is_dir() else None
        return Source(series if series and asked.extension == SEG else known, asked.image)

    def batch_infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """MONAI Label's own, which divides by the number of GPUs unless told that there is none."""
        several = request.get("multi_gpu", True) and torch.cuda.is_available()
        # What stands in option rows is of one scan, never of all.
        return super().batch_infer({**request, "multi_gpu": several, "save_as_label": False}, datastore)

    def model_file(self, model: str, validate: bool = True) -> str:
        """The weights in use, for those who ask for the file or its sum.

        Raises:
            NotFoundError: no such model.
        """
        return str(self.package(model).folder / WEIGHTS)

    def tasks(self, job: str) -> Mapping[str, Any]:
        """What MONAI Label can run as a job: "batch/infer", "train" or "scoring"."""
        self._keep_up()
        return {"batch/infer": self._infers, "train": self._trainers, "scoring": self._scoring_methods}[job]

    def task(self, model: str | None) -> Task:
        """The infer task of a model."""
        if model not in self._infers:
            self._keep_up()
        if model not in self._infers:
            raise NotFoundError(f'model "{model}" is unknown, offered are: {", ".join(self._infers) or "none"}')
        return self._infers[model]

    def image_path(self, image: str, store: Datastore | None = None) -> Path | None:
        """Where an image of the studies is, None if there is none of that id."""
        return Studies(store or self.datastore()).find(image)

    def _uploaded(self, image: str) -> Path:
        path = Path(image).resolve()
        homes = [Path(tempfile.gettempdir())]
        if self.sessions():
            homes.append(Path(self.sessions().store_path))
        if not image or not any(path.is_relative_to(home.resolve()) for home in homes):
            raise NotFoundError(f'image "{image}" is unknown')
        return path
