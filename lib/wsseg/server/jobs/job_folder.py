"""The files of one training job, shared by the server and the training process.

::

    <home>/jobs/LOCK                       held while a job runs
                <time>-<model>/job.json     what is to be done; there once the labels are complete
                               status.json  how far it is; the training process writes it while it lives
                               finish       there once it is to end with the best weights so far
                               data/        the labels as they were when the job was asked for
                               run/<part>/  checkpoint and curves
                               train.log
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from wsseg.files import make_folder, whole_file
from wsseg.training.progress import Phase, TrainingProgress

STEPS = 200
"""Of each stage, where a model has weights to start from."""

_PLAN = "job.json"
_STATUS = "status.json"
_FINISH = "finish"


@dataclass(frozen=True)
class Plan:
    """What a job does.

    Attributes:
        model: that was asked for.
        steps: of each stage by model, in the order of training, ``model`` last;
            None for the method's own.
        save_every: seconds between checkpoints; a kill loses at most so much.
    """

    model: str
    steps: dict[str, int | None]
    save_every: float = 120.0


class JobFolder:
    """One job's folder.

    Args:
        folder: need not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "train.log"

    @classmethod
    def create(cls, jobs: Path, plan: Plan) -> JobFolder:
        """A new folder with a name that sorts by time."""
        now = datetime.now(UTC)
        job = cls(jobs / f"{now:%Y%m%d-%H%M%S-%f}-{plan.model}")
        make_folder(job.data)
        message = "the labels are collected"
        job.tell(TrainingProgress(phase=Phase.PREPARING, model=plan.model, parts=tuple(plan.steps), message=message))
        return job

    @property
    def id(self) -> str:
        """Its name."""
        return self.folder.name

    @property
    def started(self) -> datetime:
        """When it was asked for."""
        stamp = "-".join(self.id.split("-")[:3])
        return datetime.strptime(stamp, "%Y%m%d-%H%M%S-%f").replace(tzinfo=UTC)

    @property
    def updated(self) -> datetime:
        """When it last told something."""
        return datetime.fromtimestamp((self.folder / _STATUS).stat().st_mtime, UTC)

    def run(self, part: str) -> Path:
        """Where one part's checkpoint is."""
        return self.folder / "run" / part

    def plan(self) -> Plan | None:
        """What is to be done; None where the server was killed before the labels were complete."""
        try:
            return Plan(**json.loads((self.folder / _PLAN).read_bytes()))
        except (OSError, ValueError):
            return None

    def write_plan(self, plan: Plan) -> None:
        """Make this a job that is carried out, whatever happens to the server."""
        with whole_file(self.folder / _PLAN) as part:
            part.write_text(json.dumps(asdict(plan)), encoding="utf-8")

    def progress(self) -> TrainingProgress:
        """How far it is."""
        status = self.folder / _STATUS
        try:
            stat = status.stat()
            return _progress(status, stat.st_ino, stat.st_mtime_ns, stat.st_size)
        except (OSError, ValidationError):  # a power failure may leave a file empty
            return TrainingProgress(phase=Phase.PREPARING)

    def tell(self, progress: TrainingProgress) -> None:
        """Replace what is told of it as a whole."""
        with whole_file(self.folder / _STATUS) as part:
            part.write_text(progress.model_dump_json(), encoding="utf-8")

    def finish(self) -> None:
        """Ask for its end with the best weights so far, which a trainer that is started again is asked for too."""
        (self.folder / _FINISH).touch()

    def is_to_finish(self) -> bool:
        """Whether that was asked for."""
        return (self.folder / _FINISH).exists()

    def tidy(self) -> None:
        """Remove what a job that has ended needs no more: copies of scans, checkpoints."""
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.rmtree(self.folder / "run", ignore_errors=True)

    def remove(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)


@lru_cache(maxsize=16)
def _progress(status: Path, inode: int, time: int, size: int) -> TrainingProgress:
    """Read once, as the file is replaced by another where there is something to be told."""
    return TrainingProgress.model_validate_json(status.read_bytes())


def newest_job(jobs: Path) -> JobFolder | None:
    """The last of :func:`all_jobs`, without a look at the others."""
    try:
        folders = sorted(jobs.iterdir(), reverse=True)
    except FileNotFoundError:
        return None
    return next((JobFolder(folder) for folder in folders if (folder / _STATUS).exists()), None)


def all_jobs(jobs: Path) -> list[JobFolder]:
    """The jobs of a work directory, oldest first."""
    return [JobFolder(path.parent) for path in sorted(jobs.glob(f"*/{_STATUS}"))]
