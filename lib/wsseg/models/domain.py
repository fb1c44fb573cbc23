"""The domain of a model: what its training scans looked like, as a part of its package. No more than I/O.

``models/domain.safetensors`` beside the weights, well below 1 MB. It holds means and
main directions of numbers that describe scans, no image and nobody's name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from wsseg.errors import WssegError
from wsseg.files import whole_file
from wsseg.labels.space import Strict

DOMAIN = Path("models/domain.safetensors")

Floats = NDArray[np.float64]

Range = tuple[float, float]
"""The least and the greatest of the training scans."""


class Extents(Strict):
    """The training scans in words' terms.

    Attributes:
        scans: how many.
        slices: of a scan.
        pixel_mm: between pixels of a slice; 0 of pictures, whose size is not known.
        step_mm: from slice to slice; 0 of pictures.
        side_mm: the longer side of a slice; of pictures in pixels.
    """

    scans: int
    slices: Range
    pixel_mm: Range
    step_mm: Range
    side_mm: Range


@dataclass(frozen=True)
class Cloud:
    """Where the training scans lie in one aspect: a normal distribution along its main directions, round in the rest.

    Attributes:
        mean, scale: (n,) of the numbers; what follows is of numbers less ``mean`` over ``scale``.
        directions: (k, n), orthonormal.
        spreads: (k,) standard deviations along them.
        rest: standard deviation in every other direction.
        usual: of the distances of training scans that were left out the median, and
            how far the farthest tenth begins from it.
    """

    mean: Floats
    scale: Floats
    directions: Floats
    spreads: Floats
    rest: Floats
    usual: Floats


@dataclass(frozen=True)
class Domain:
    """What the training scans looked like.

    Attributes:
        seen: in words' terms.
        clouds: by aspect.
        lopsided: (n,) mean of what changes its sign when a layout is turned.
        left_out: (scans,) how far each training scan lay from the others, ascending.
    """

    seen: Extents
    clouds: Mapping[str, Cloud]
    lopsided: Floats
    left_out: Floats


_PARTS = ("mean", "scale", "directions", "spreads", "rest", "usual")


def read_domain(folder: Path, aspects: Collection[str]) -> Domain | None:
    """The domain of a package; None of one that was trained without.

    Args:
        folder: of the package.
        aspects: that it must have.

    Raises:
        WssegError: the file is damaged.
    """
    path = folder / DOMAIN
    if not path.exists():
        return None
    try:
        with safe_open(path, "numpy") as file:
            seen = Extents.model_validate_json((file.metadata() or {}).get("seen", ""))
            values = {name: np.asarray(file.get_tensor(name), np.float64) for name in file.keys()}  # noqa: SIM118
        clouds = {name: Cloud(*(values[f"{name}.{part}"] for part in _PARTS)) for name in aspects}
        return Domain(seen, clouds, values["lopsided"], values["left_out"])
    except (SafetensorError, OSError, ValidationError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise WssegError(f"{path}: is damaged, `wsseg describe` writes it anew ({reason})") from error


def write_domain(folder: Path, domain: Domain) -> None:
    """Write the domain into a package that is there already; a reader finds the whole of it or none."""
    tensors = {f"{name}.{part}": getattr(cloud, part) for name, cloud in domain.clouds.items() for part in _PARTS}
    tensors |= {"lopsided": domain.lopsided, "left_out": domain.left_out}
    stored = {name: np.asarray(value, np.float32) for name, value in tensors.items()}
    with whole_file(folder / DOMAIN) as part:
        part.write_bytes(save(stored, {"seen": domain.seen.model_dump_json()}))
