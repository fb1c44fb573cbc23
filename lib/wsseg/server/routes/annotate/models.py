"""Models that scans can be labelled for, and their versions."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from wsseg.data.kinds.registry import PRESENCE, TEXT
from wsseg.errors import naming
from wsseg.files import home
from wsseg.methods.registry import METHODS, method_class
from wsseg.models.shelf import publish, versions
from wsseg.server.routes.annotate import API
from wsseg.server.routes.dependencies import ADMIN, USER, App

router = APIRouter(prefix=f"{API}/models")


@router.get("", dependencies=[USER], summary="Models that scans can be labelled for")
def models(app: App) -> list[dict[str, Any]]:
    """Every model, trained or not."""
    return [
        {
            "name": package.name,
            "version": package.metadata.version,
            "method": package.recipe.method,
            "trained": package.trained,
            "trainable": package.recipe.method in METHODS,
            "learns_from": [kind.name for kind in method_class(package.recipe.method).learns_from],
            "marks_slices": PRESENCE in method_class(package.recipe.method).learns_from,
            "reads_text": TEXT in method_class(package.recipe.method).prompts,
            "labels": [{"name": name, "color": list(look.color)} for name, look in package.recipe.labels.items()],
        }
        for package in app.packages()
    ]


@router.get("/{model}/versions", dependencies=[USER], summary="Versions of a model")
def history(app: App, model: str) -> list[dict[str, Any]]:
    """The newest first."""
    app.require(model)
    return [asdict(each) | {"time": each.time.isoformat() if each.time else None} for each in versions(model)]


@router.post("/{model}/versions/{version}/publish", dependencies=[ADMIN], summary="Use another version")
def roll_back(app: App, model: str, version: str) -> list[dict[str, Any]]:
    """Make a version the one that is used from the next scan on."""
    app.require(model)
    folder = home() / "models"
    with naming(folder / model, model):
        publish(folder, model, version)
    app.renew_models()
    return history(app, model)
