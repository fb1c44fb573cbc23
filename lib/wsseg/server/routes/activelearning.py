"""The scan to label next, under ``/activelearning/``."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from monailabel.endpoints import activelearning

from wsseg.server.routes.dependencies import AsUser
from wsseg.server.routes.forms import JsonObject

router = APIRouter(prefix="/activelearning", tags=["ActiveLearning"])


@router.post("/{strategy}", summary="Choose the next sample")
def next_sample(strategy: str, user: AsUser, params: JsonObject | None = None) -> dict[str, Any]:
    """The scan to label next, ``{}`` where all are labelled; a model may take seconds to choose."""
    return activelearning.sample(strategy, {**(params or {}), "strategy": strategy}, user.username)
