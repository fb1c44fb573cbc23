"""Training in the words of MONAI Label, which Slicer, OHIF and MITK understand."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from wsseg.server.jobs.job_folder import JobFolder
from wsseg.training.progress import Phase, TrainingProgress

_STATES = {Phase.DONE: "DONE", Phase.FAILED: "ERROR", Phase.CANCELLED: "STOPPED"}
"""How a job ended; RUNNING else."""


def train_stats(progress: TrainingProgress) -> dict[str, Any]:
    """What viewers draw their bar from.

    ``total_time`` is there only when training has ended, ``best_metric`` (in
    [0, 1], higher is better) only when there was a score.
    """
    # Slicer divides by the total, which is not known at first.
    stats = {"epoch": progress.step, "total_epochs": max(progress.steps, 1), "stage": progress.stage}
    if progress.scores:
        stats["best_metric"] = max(score for _, score in progress.scores)
    if progress.phase.ended:
        stats["total_time"] = str(timedelta(seconds=int(progress.seconds)))
    return stats


def stats_by_model(progress: TrainingProgress, models: Collection[str]) -> dict[str, dict[str, Any]]:
    """:func:`train_stats` of the model that was trained last, first, as viewers show the first; {} of the others."""
    others = {name: dict[str, Any]() for name in models if name != progress.model}
    if progress.model is None or progress.model not in models:
        return others
    return {progress.model: train_stats(progress), **others}


def train_task(job: JobFolder) -> dict[str, Any]:
    """A job, as its list of tasks has it."""
    plan, progress = job.plan(), job.progress()
    task = {
        "id": job.id,
        "status": _STATES.get(progress.phase, "RUNNING"),
        "request": {"model": progress.model, "steps": plan.steps if plan else None, "parts": progress.parts},
        "start_ts": time_of(job.started),
        "details": [progress.message],  # Slicer takes the last one, whether it needs it or not
    }
    if progress.phase.ended:
        task |= {"end_ts": time_of(job.updated), "result": progress.message}
    return task


def time_of(moment: datetime) -> str:
    """A moment on this machine's clock."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
