"""The train task: a model as MONAI Label's clients train it."""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from wsseg.errors import WssegError
from wsseg.models.package import ModelPackage
from wsseg.server.jobs.jobs import Jobs
from wsseg.server.jobs.request import chain, usual_steps
from wsseg.training.progress import Phase


class TrainingTask(TrainTask):
    """One model, as viewers offer it for training.

    Args:
        package: trained or not.
        jobs: of the server.
    """

    def __init__(self, package: ModelPackage, jobs: Jobs) -> None:
        super().__init__(package.metadata.description)
        self._package = package
        self._jobs = jobs

    def config(self) -> dict[str, Any]:
        """The rows of Slicer's table of options."""
        usual = usual_steps(self._package)
        steps = {} if usual is None else {"steps": usual}
        try:
            several = len(chain(self._package)) > 1
        except WssegError:  # of a parent, which whoever trains is told
            several = True
        return {**steps, "parents": True} if several else steps

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train and wait for the end.

        Raises:
            WssegError: it cannot be started, or failed.
        """
        self._jobs.start(self._package.name, request)
        progress = self._jobs.wait()
        if progress.phase is Phase.FAILED:
            raise WssegError(progress.message)
        return progress.model_dump(mode="json")
