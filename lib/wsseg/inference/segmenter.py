"""A scan and a package to a mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate.utils import find_executable_batch_size
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from wsseg.data.preprocess import Stack, View, prepare
from wsseg.errors import WssegError
from wsseg.images.formats import write_mask
from wsseg.images.scan import check_scan, read_scan
from wsseg.images.volume import SliceGrid, Volume
from wsseg.inference.active import Look
from wsseg.inference.measure import volumes_ml
from wsseg.inference.refine import guided_filter
from wsseg.labels.space import LabelSpace, Presence
from wsseg.methods.base import Prediction
from wsseg.methods.prompt import Pass, Progress, Prompt
from wsseg.methods.registry import load_method
from wsseg.methods.shared.presence import ImageLabelMethod
from wsseg.models.package import DEFAULT_MODEL, ModelPackage, Recipe, find_package

_CPU_BYTES = 1 << 28
"""What activations may take on a CPU: little enough for its caches; with 1 GiB, 128 pixels take 1.5 times as long."""

_BYTES_PER_PIXEL = 2500
"""Activations of one slice and one branch per pixel of the network's input.

CDM's needs 1,700 (measured by torch.profiler); the rest is for wider networks.
"""


@dataclass(frozen=True)
class Segmentation:
    """The result for one scan.

    Attributes:
        mask: uint8 on the scan's own grid; 0 background, 1..N the classes.
        labels: the classes' names in order.
        presence: (classes, slices) float32, probability that a slice shows the
            class; slices as stored, along axis ``grid.stored_axis``.
        uncertainty: uint8 on the scan's own grid, percent; 100 where the model
            cannot decide, 0 where it has no doubt: 1 - |2 p - 1|, p of the most
            probable class times that of the slice showing it. 0 on slices that
            are decided to show none: their doubt is in ``presence``.
        confidence: expected Dice of the mask, in [0, 1], mean over classes: what
            it would be if the model's probabilities were right. Low is a scan
            worth looking at.
        grid: how the scan was cut into slices.
    """

    mask: Volume
    labels: LabelSpace
    presence: NDArray[np.float32]
    uncertainty: Volume
    confidence: float
    grid: SliceGrid

    def facts(self) -> dict[str, Any]:
        """What is known about the result beside its voxels, ready for JSON."""
        rows = zip(self.labels.names, self.presence, strict=True)
        return {
            "label_names": self.labels.values(),
            "presence": {name: [round(float(p), 4) for p in row] for name, row in rows},
            "slice_axis": self.grid.stored_axis,
            "confidence": round(self.confidence, 4),
            **self._sizes(),
        }

    def _sizes(self) -> dict[str, Any]:
        """How much there is of each class, and of doubt; of pictures, whose pixels have no known size, the part."""
        if self.mask.picture:
            parts = {name: np.mean(self.mask.voxels == value) for name, value in self.labels.values().items()}
            return {"area_percent": {name: round(100 * float(part), 3) for name, part in parts.items()}}
        return {
            "millilitres": {name: round(ml, 3) for name, ml in volumes_ml(self.mask, self.labels).items()},
            "uncertain_ml": [round(float(u), 3) for u in self._uncertain_ml()],
        }

    def _uncertain_ml(self) -> NDArray[np.floating]:
        """Millilitres of doubt on every slice as stored: the uncertainty summed over its voxels."""
        voxel = abs(float(np.linalg.det(self.mask.affine[:3, :3]))) / 1000
        others = tuple(axis for axis in range(3) if axis != self.grid.stored_axis)
        return self.uncertainty.voxels.sum(axis=others, dtype=np.float64) / 100 * voxel


class Segmenter:
    """A model loaded on a device, ready for any number of scans.

    Safe to call from several threads.

    Args:
        model: a name as ``wsseg models`` lists it, or a package's folder.
        device: "cpu", "cuda", "cuda:1"; by default a GPU where there is one.

    Raises:
        WssegError: unknown model, damaged package, no such device.

    Example:
        >>> segmenter = Segmenter("cldf-glioma-flair")
        >>> result = segmenter(read_scan(Path("flair.nii.gz")))
        >>> write_mask(Path("mask.nii.gz"), result.mask)
    """

    def __init__(self, model: str | Path = DEFAULT_MODEL, device: str | None = None) -> None:
        self.package: ModelPackage = find_package(model)
        self.device = pick_device(device)
        # Convolutions are faster in channels-last, on CPUs and on tensor cores.
        self._method = load_method(self.package).to(self.device).to(memory_format=torch.channels_last)

    def __call__(
        self,
        scan: Volume,
        presence: Presence | None = None,
        seed: int = 0,
        progress: Callable[[float], None] = lambda part: None,
        text: str = "",
    ) -> Segmentation:
        """Segment one scan.

        Args:
            scan: 3-D, any orientation, spacing and real type; or a colour
                picture, for models that read those.
            presence: (classes, slices) of 1, 0, -1 (unknown), slices as stored
                along the axis that they run along; without it the model decides
                which slices show a class.
            seed: of the noise drawn, for methods that draw some.
            progress: told the finished part, in [0, 1].
            text: a sentence on the scan, for models that read one.

        Raises:
            WssegError: the scan or a prompt is none that the model can use.
        """
        check_scan(scan, "scan")
        recipe = self.package.recipe
        stack = prepare(scan, View.of(recipe))
        prompt = Prompt(None if presence is None else self._given(stack, presence), text)
        for kind in prompt.kinds():
            if kind not in self._method.prompts:
                raise WssegError(f"{kind.name}: the model {self.package.name} does not read {kind.name}")
        predicted = self._predict(stack, prompt, seed, progress)
        maps = _refined(stack, stack.to_native(predicted.probabilities.cpu()), recipe)
        best = maps.max(axis=1)
        mask: NDArray[np.uint8] = stack.grid.join(np.where(best > 0.5, maps.argmax(axis=1) + 1, 0).astype(np.uint8))
        if recipe.largest_component:
            mask = largest_components(mask)
        presence_probability = predicted.presence.float().cpu().numpy()
        certain = (maps * presence_probability[:, :, None, None]).max(axis=1)
        doubt: NDArray[np.uint8] = stack.grid.join(np.round(100 * (1 - np.abs(2 * certain - 1))).astype(np.uint8))
        return Segmentation(
            scan.like(mask),
            self.package.labels,
            _stored(stack, predicted.presence),
            scan.like(doubt),
            expected_dice(maps, stack.grid.cut(mask), presence_probability),
            stack.grid,
        )

    def look(self, scan: Volume, mask: bool = False) -> Look:
        """What active learning needs to know of a scan, slices as stored; as features the mean slice in 8 x 8 pixels.

        Where a method classifies slices and no mask is asked for, none is made:
        a fraction of a second.

        Args:
            scan: as for a call.
            mask: also tell what part of each slice is marked.
        """
        check_scan(scan, "scan")
        stack = prepare(scan, View.of(self.package.recipe))
        features = functional.adaptive_avg_pool2d(stack.images.mean(dim=0), 8).flatten().numpy()
        areas = None
        if mask or not isinstance(self._method, ImageLabelMethod):
            predicted = self._predict(stack, Prompt(), 0, lambda part: None)
            presence = predicted.presence
            areas = _stored(stack, (predicted.probabilities > 0.5).float().mean(dim=(2, 3)))
        else:
            images = stack.images.to(self.device)
            with torch.no_grad():
                presence = self._method.presence_probability(images, self._chunk(images))
        return Look(_stored(stack, presence), features, areas)

    def _given(self, stack: Stack, presence: Presence) -> torch.Tensor:
        expected = (len(self.package.labels), stack.images.shape[0])
        if presence.shape != expected:
            raise WssegError(f"presence: has shape {presence.shape}, expected {expected} (classes, slices)")
        return stack.order_presence(presence)

    def _predict(self, stack: Stack, prompt: Prompt, seed: int, progress: Progress) -> Prediction:
        images = stack.images.to(self.device)

        def predict(chunk: int) -> Prediction:
            # float32 on every device: bf16 would move a mask's border by rounding alone.
            with torch.no_grad():
                return self._method.predict(images, prompt, Pass(chunk, seed, progress))

        chunk = self._chunk(images)
        if self.device.type == "cpu":
            return predict(chunk)
        return _with_less_memory(predict, chunk)

    def _chunk(self, images: torch.Tensor) -> int:
        """Slices per pass, or tiles of a picture."""
        recipe = self.package.recipe
        fitting = slices_per_pass(self.device, recipe.size)
        return fitting if recipe.colour else min(len(images), fitting)


def _stored(stack: Stack, values: torch.Tensor) -> NDArray[np.float32]:
    """From (slices, classes) as cut to (classes, slices) as stored."""
    found: NDArray[np.float32] = values.float().cpu().numpy().T
    return found[:, ::-1] if stack.grid.reversed else found


def _with_less_memory(predict: Callable[[int], Prediction], chunk: int) -> Prediction:
    """Halve the number of slices per pass for as long as the GPU's memory runs out."""
    sizes = [chunk >> halvings for halvings in range(chunk.bit_length())]
    trying = iter(sizes[1:])
    fitting = find_executable_batch_size(predict, chunk, reduce_batch_size_fn=lambda: next(trying, 0))
    try:
        return cast(Prediction, fitting())
    except RuntimeError as error:
        if "No executable batch size" not in str(error):
            raise
        raise WssegError("the GPU has too little free memory for a single slice, use the CPU") from error


def segment(
    scan: Volume,
    model: str | Path = DEFAULT_MODEL,
    presence: Presence | None = None,
    device: str | None = None,
    text: str = "",
) -> Segmentation:
    """Segment one scan; keep a :class:`Segmenter` for more than one."""
    return Segmenter(model, device)(scan, presence, text=text)


def segment_file(scan: Path, mask: Path, model: str | Path = DEFAULT_MODEL) -> None:
    """Segment a file into a file, on the scan's own grid."""
    found = segment(read_scan(scan), model)
    write_mask(mask, found.mask, len(found.labels))


def pick_device(name: str | None) -> torch.device:
    """The named device, or a GPU where there is one, else the CPU."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise WssegError(f'device "{name}" is unknown, use cpu, cuda or cuda:N') from error
    if device.type not in ("cpu", "cuda"):
        raise WssegError(f'device "{name}" is not supported, use cpu, cuda or cuda:N')
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise WssegError(f'device "{name}" is not there, this machine has {torch.cuda.device_count()} GPUs')
    return device


def slices_per_pass(device: torch.device, size: int) -> int:
    """How many slices of ``size`` pixels to compute at once: half of a GPU's free memory, 256 MiB on a CPU."""
    budget = _CPU_BYTES if device.type == "cpu" else torch.cuda.mem_get_info(device)[0] // 2
    return int(max(1, budget // (2 * _BYTES_PER_PIXEL * size * size)))


def largest_components(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Keep the largest connected piece of each class."""
    kept = np.zeros_like(mask)
    for value in np.unique(mask[mask > 0]):
        pieces, count = ndimage.label(mask == value)
        sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
        kept[pieces == 1 + int(sizes.argmax())] = value
    return kept


def expected_dice(maps: NDArray[np.float32], mask: NDArray[np.uint8], presence: NDArray[np.float32]) -> float:
    """Dice of a mask if the probabilities were right, 2 sum_{mask} p / (|mask| + sum p), mean over classes.

    A class that is marked nowhere counts as sure as it is absent.

    Args:
        maps: (slices, classes, rows, columns), probabilities where the slice shows the class.
        mask: (slices, rows, columns).
        presence: (slices, classes), probability that the slice does.
    """
    expected = []
    for k in range(maps.shape[1]):
        probability, marked = maps[:, k] * presence[:, k, None, None], mask == k + 1
        if marked.any():
            expected.append(2 * probability[marked].sum() / (marked.sum() + probability.sum()))
        else:
            expected.append(1 - presence[:, k].max())
    return float(np.mean(expected))


def _refined(stack: Stack, maps: NDArray[np.float32], recipe: Recipe) -> NDArray[np.float32]:
    """Probabilities (slices, classes, rows, columns) at native edges; with a rim, 0 in it and in air."""
    if recipe.edge_mm:
        down, right = (max(1, round(recipe.edge_mm / step)) for step in stack.spacing)
        guide = (stack.native + 1) / 2
        planes = [guided_filter(maps[:, k], guide, (down, right)) for k in range(maps.shape[1])]
        maps = np.stack(planes, axis=1)
    return np.where((stack.depth_mm() > recipe.rim_mm)[:, None], maps, 0) if recipe.rim_mm else maps
