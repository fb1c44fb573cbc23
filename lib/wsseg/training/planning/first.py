"""What is chosen when a model is trained for the first time."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from wsseg.data.kinds.registry import Kinds
from wsseg.models.package import ModelPackage
from wsseg.training.checkpoint import CHECKPOINT
from wsseg.training.planning.plan import PLAN, Plan, plan_for
from wsseg.training.settings import TrainSettings

log = logging.getLogger(__name__)


def planned(package: ModelPackage, data: Path, use: Kinds, settings: TrainSettings) -> ModelPackage:
    """The package with the way it sees scans chosen from the data, where it is not yet; reasons are logged.

    What was chosen stays with an interrupted run, however labels change meanwhile.
    """
    recipe, file = package.recipe, settings.folder / PLAN
    if recipe.planned:
        return package
    if not settings.fresh and file.exists() and (settings.folder / CHECKPOINT).exists():
        plan = Plan.read(file)
        log.info("an interrupted training goes on; it sees scans as was chosen when it began:")
    else:
        plan = plan_for(data, package.labels, recipe.modality, use)
        plan.write(file)
    for reason in plan.reasons:
        log.info(reason)
    return replace(package, metadata=package.metadata.model_copy(update={"wsseg": plan.applied(recipe)}))
