"""Packages of networks that segment nothing: written by those who train one, or imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wsseg.errors import WssegError
from wsseg.labels.space import TISSUE, Label
from wsseg.models.card import model_card
from wsseg.models.package import Metadata, ModelPackage, Recipe, read_package, write_package

if TYPE_CHECKING:
    from torch import Tensor

LICENCE = "MIT, as OpenAI published it with guided-diffusion"

NOTHING = {"none": Label(color=(128, 128, 128), category=TISSUE, type=TISSUE)}
"""The one class that a package must name; a backbone marks none."""


def import_adm(checkpoint: Path, out: Path) -> ModelPackage:
    """Write the published diffusion model of natural images as a package, its weights in half precision.

    Args:
        checkpoint: ``256x256_diffusion_uncond.pt`` of OpenAI's guided-diffusion.
        out: the package's folder; must not exist.

    Raises:
        WssegError: not that checkpoint, or the folder exists or cannot be written.
    """
    from wsseg.diffusion.adm import load_adm  # loading diffusers takes seconds, which new models need not wait for

    if out.exists():
        raise WssegError(f"{out}: exists already, name a new folder")
    network = load_adm(checkpoint)
    recipe = Recipe(
        format=2,
        method="adm",
        settings={"width": network.width},
        labels=NOTHING,
        size=256,
        colour=True,
        modality="colour pictures",
        licence=LICENCE,
    )
    weights = {f"diffusion.{name}": tensor for name, tensor in network.state_dict().items()}
    write_backbone(
        out,
        recipe,
        weights,
        version="1.0.0",
        change=f"imported from {checkpoint.name}",
        description="ADM (Dhariwal and Nichol 2021): what natural images look like. It segments nothing itself.",
        authors="OpenAI",
    )
    return read_package(out)


def write_backbone(
    out: Path,
    recipe: Recipe,
    weights: dict[str, Tensor],
    *,
    description: str,
    version: str = "0.1.0",
    change: str = "first release",
    authors: str = "The wsseg authors",
) -> None:
    """Write a package of a network that segments nothing, its licence what the recipe says; ``out`` must not exist."""
    metadata = Metadata(
        version=version, changelog={version: change}, description=description, authors=authors, wsseg=recipe
    )
    write_package(out, metadata, weights, model_card(out.name, metadata), f"{recipe.licence}\n")
