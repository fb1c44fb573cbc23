"""The train task: a model as MONAI Label's clients train it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from wsseg.errors import WssegError
from wsseg.models.package import ModelPackage
from wsseg.models.shelf import find_package
from wsseg.server.jobs.job_folder import STEPS
from wsseg.server.jobs.jobs import Jobs, chain

STATES = {"done": "DONE", "failed": "ERROR", "cancelled": "STOPPED"}
"""How a job ended, in the words of MONAI Label."""


class TrainingTask(TrainTask):
    """One model, as viewers offer it for training.

    Args:
        package: trained or not.
        jobs: of the server.
    """

    def __init__(self, package: ModelPackage, jobs: Jobs) -> None:
        super().__init__(package.metadata.description)
        self._name = package.name
        self._jobs = jobs

    def config(self) -> dict[str, Any]:
        """The rows of Slicer's table of options."""
        package = find_package(self._name)
        steps = {"steps": STEPS} if package.trained else {}
        try:
            several = len(chain(package)) > 1
        except WssegError:  # of a parent, which whoever trains is told
            several = True
        return {**steps, "parents": True} if several else steps

    def stats(self) -> dict[str, Any]:
        """What viewers draw their bar from; empty where the last job was not of this model.

        ``total_time`` is there only when training has ended, ``best_metric`` (in
        [0, 1], higher is better) only when there was a score.
        """
        status = self._jobs.status()
        if status["model"] != self._name:
            return {}
        # Slicer divides by the total, which is not known at first.
        stats = {"epoch": status["step"], "total_epochs": max(status["total"], 1), "stage": status["stage"]}
        if status["scores"]:
            stats["best_metric"] = max(score for _, score in status["scores"])
        if status["state"] in STATES:
            stats["total_time"] = str(timedelta(seconds=int(status["seconds"])))
        return stats

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train and wait for the end.

        Raises:
            WssegError: it cannot be started, or failed.
        """
        self._jobs.start(self._name, request)
        status = self._jobs.wait()
        if status["state"] == "failed":
            raise WssegError(status["message"])
        return status
