"""A scan and a package to a mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsseg.data.preprocess import Stack, View, prepare
from wsseg.errors import WssegError
from wsseg.images.formats.table import write_mask
from wsseg.images.pieces import likely_pieces
from wsseg.images.scan import check_scan, read_scan
from wsseg.images.volume import Volume
from wsseg.inference.active import ScanSummary, scan_features
from wsseg.inference.constraints import Constraints
from wsseg.inference.device import mixed_precision, pick_device, slices_per_pass, with_less_memory
from wsseg.inference.presence import clear_denied, extend_shown, keep_shown, presence_of, unmarked, without_denied
from wsseg.inference.quality.dice import predicted_dice, signs_of
from wsseg.inference.quality.doubt import calibrated_doubt
from wsseg.inference.quality.fits import ASPECTS, Fits, judge
from wsseg.inference.quality.headers import check_made
from wsseg.inference.quality.look import look_at
from wsseg.inference.refine import guided_filter
from wsseg.inference.result import Segmentation
from wsseg.inference.summary import Summary
from wsseg.labels.drawn.render import Rendered
from wsseg.labels.space import NO, UNKNOWN, YES, Presence
from wsseg.methods.base import Prediction
from wsseg.methods.prompt import Pass, Progress, Prompt
from wsseg.methods.registry import load_method
from wsseg.methods.shared.masks import UNLIKELY, mask_of
from wsseg.methods.shared.presence import ImageLabelMethod
from wsseg.models import DEFAULT_MODEL
from wsseg.models.calibration import read_calibration
from wsseg.models.domain import read_domain
from wsseg.models.package import ModelPackage, Recipe
from wsseg.models.shelf import find_package
from wsseg.networks.folding import fold

EVERYWHERE = (slice(None), slice(None))
"""All rows and columns."""


@dataclass(frozen=True)
class Seen:
    """A scan as a network answered to it, before anything that is drawn on it is respected.

    Attributes:
        grid: of the scan, without its voxels.
        stack: as cut.
        predicted: the answer.
        fits: whether it is of the kind that the model was trained on; None where
            that is not known.
        presence: (slices, classes) as it was given, slices as cut; None where nothing was.
    """

    grid: Volume
    stack: Stack
    predicted: Prediction
    fits: Fits | None
    presence: Tensor | None


class Segmenter:
    """A model loaded on a device, ready for any number of scans.

    Safe to call from several threads.

    Args:
        model: a name as ``wsseg models`` lists it, or a package's folder.
        device: "cpu", "cuda", "cuda:1"; by default a GPU where there is one.
        calibrated: heed the package's calibration; without it Dice is not
            predicted, and doubt is what the model's probabilities say.

    Raises:
        WssegError: unknown model, damaged package, no such device.

    Example:
        >>> segmenter = Segmenter("cldf-glioma-flair")
        >>> result = segmenter(read_scan(Path("flair.nii.gz")))
        >>> write_mask(Path("mask.nii.gz"), result.mask)
    """

    def __init__(self, model: str | Path = DEFAULT_MODEL, device: str | None = None, calibrated: bool = True) -> None:
        self.package: ModelPackage = find_package(model)
        self.device = pick_device(device)
        self._method = load_method(self.package)
        self.draws_noise = self._method.draws_noise
        fold(self._method)
        # Convolutions are faster in channels-last, on CPUs and on tensor cores.
        self._method.to(self.device).to(memory_format=torch.channels_last)
        self._domain = read_domain(self.package.folder, ASPECTS)
        self._calibration = read_calibration(self.package.folder) if calibrated else None
        self._doubt = None if self._calibration is None else calibrated_doubt(self._calibration)

    def __call__(
        self,
        scan: Volume,
        presence: Presence | None = None,
        seed: int = 0,
        progress: Callable[[float], None] = lambda part: None,
        text: str = "",
        drawn: Rendered | None = None,
        refuse: bool = False,
        force: bool = False,
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
            drawn: strokes, points, boxes and corrections on the scan, which the
                mask respects, whatever the method.
            refuse: raise instead of segmenting a scan that is not of the kind
                that the model was trained on.
            force: segment a scan whose DICOM header names another modality or
                part of the body than the model reads.

        Raises:
            WssegError: the scan or a prompt is none that the model can use.
        """
        return self.decide(self.see(scan, presence, seed, progress, text, refuse, force), drawn)

    def see(
        self,
        scan: Volume,
        presence: Presence | None = None,
        seed: int = 0,
        progress: Progress = lambda part: None,
        text: str = "",
        refuse: bool = False,
        force: bool = False,
    ) -> Seen:
        """The part of a call that takes long, the same whatever is drawn; raises the same."""
        if scan.made and not force:
            check_made(scan.made, self.package)
        check_scan(scan, "scan")
        recipe = self.package.recipe
        stack = prepare(scan, View.of(recipe))
        fits = self._fits(scan, stack)
        if refuse and fits and fits.doubtful:
            raise WssegError(f"scan: does not fit {self.package.name}, {fits}")
        given = None if presence is None else self._given(stack, presence)
        prompt = Prompt(given, text, fits.p if fits else 1.0)
        for kind in prompt.kinds():
            if kind not in self._method.prompts:
                raise WssegError(f"{kind.name}: the model {self.package.name} does not read {kind.name}")
        empty = Volume(np.broadcast_to(np.uint8(0), scan.voxels.shape), scan.affine, scan.nifti)
        return Seen(empty, stack, self._predict(stack, prompt, seed, progress), fits, prompt.presence)

    def decide(self, seen: Seen, drawn: Rendered | None = None, marked: Presence | None = None) -> Segmentation:
        """A mask from a network's answer and what people said.

        Args:
            seen: the answer.
            drawn: as for a call.
            marked: presence, as for a call, in place of what the network was given.
                What the result says of presence is the network's own then, of the
                pieces that are kept.
        """
        recipe, predicted, scan = self.package.recipe, seen.predicted, seen.grid
        given = seen.presence if marked is None else self._given(seen.stack, marked)
        presence = np.full(predicted.presence.shape, UNKNOWN, np.int8) if given is None else given.numpy()
        constraints = Constraints.of(drawn, seen.stack) if drawn and not drawn.empty and not scan.colour else None
        probabilities = predicted.probabilities.float().cpu()
        # What is drawn may lie anywhere, and filters look around: else only what may be a class, of a large CT a part.
        anywhere = constraints is not None or scan.colour or recipe.edge_mm > 0 or recipe.rim_mm > 0
        near = EVERYWHERE if anywhere else seen.stack.extent(probabilities, UNLIKELY)
        stack = seen.stack.cropped(*near)
        maps = _refined(stack, stack.to_native(probabilities), recipe)
        if constraints:
            maps = constraints.weigh(maps, stack, scan.spacing[stack.grid.stored_axis])
        estimated = predicted.presence.float().cpu().numpy()
        found, shown, maps = self._marked(maps, estimated, constraints, presence)
        certain = np.zeros(found.shape, np.float32)
        for k in range(maps.shape[1]):  # class by class: all of a large CT at once are gigabytes
            np.maximum(certain, maps[:, k] * estimated[:, k, None, None], out=certain)
        np.abs(2 * certain - 1, out=certain)
        doubt = np.round(100 * (1 - certain)).astype(np.uint8)
        if self._doubt is not None:
            doubt = self._doubt[doubt]
        signs = signs_of(maps, found, estimated, scan.voxel_ml, seen.fits.p if seen.fits else 1.0)
        foreign = predicted.negative or (seen.fits is not None and seen.fits.doubtful)
        return Segmentation(
            scan.like(_joined(seen.stack, near, found)),
            self.package.labels,
            _stored(stack, torch.from_numpy(shown)),
            scan.like(_joined(seen.stack, near, doubt)),
            predicted_dice(signs, self.package.labels.names, self._calibration, foreign),
            signs,
            stack.grid,
            unmarked(found, presence)[:: -1 if stack.grid.reversed else 1].T,
            seen.fits,
            predicted.negative,
        )

    def _marked(
        self,
        maps: NDArray[np.float32],
        estimated: NDArray[np.float32],
        constraints: Constraints | None,
        presence: NDArray[np.int8],
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        """The mask (slices, rows, columns), presence as it has it (slices, classes), and probabilities that may be."""
        recipe, allowed = self.package.recipe, without_denied(maps, presence)
        everything = found = mask_of(torch.from_numpy(maps)).numpy()
        if recipe.largest_component:
            values = self.package.labels.values()
            inside = {values[inner]: values[outer] for inner, outer in recipe.inside.items()}
            found = likely_pieces(everything, allowed, inside)
            if constraints:
                found = constraints.keep(everything, found)
            found = keep_shown(everything, found, presence)
        shown = presence_of(estimated, allowed, everything, found)
        found = extend_shown(found, allowed, presence, constraints.certain if constraints else None)
        found = clear_denied(found, presence)
        if constraints:
            found = constraints.fix(found)
        return found, shown, allowed

    def fits(self, scan: Volume) -> Fits | None:
        """Whether a scan is of the kind that the model was trained on; None where its package does not say.

        Nothing is segmented: a fraction of a second.

        Args:
            scan: as for a call.
        """
        check_scan(scan, "scan")
        return self._fits(scan, prepare(scan, View.of(self.package.recipe)))

    def _fits(self, scan: Volume, stack: Stack) -> Fits | None:
        if self._domain is None:
            return None
        look = look_at(scan, stack, self._method)
        return judge(self._domain, look, scan, stack.grid, self.package.recipe.modality)

    def summarize(self, scan: Volume, mask: bool = False) -> ScanSummary:
        """What active learning needs to know of a scan, slices as stored.

        Where a method classifies slices and no mask is asked for, none is made:
        a fraction of a second.

        Args:
            scan: as for a call.
            mask: also tell what part of each slice is marked.
        """
        if mask or not isinstance(self._method, ImageLabelMethod):
            seen = self.see(scan)
            stack, predicted = seen.stack, seen.predicted
            areas = _stored(stack, (predicted.probabilities > 0.5).float().mean(dim=(2, 3)))
            certainty = Summary.of(self.decide(seen)).certainty
            presence = _stored(stack, predicted.presence)
            return ScanSummary(presence, scan_features(stack.images), areas, seen.fits, certainty)
        check_scan(scan, "scan")
        stack = prepare(scan, View.of(self.package.recipe))
        images, fits = stack.images.to(self.device), self._fits(scan, stack)
        prompt = Prompt(fits=fits.p if fits else 1.0)
        with torch.no_grad(), mixed_precision(self.device):
            known = self._method.in_known_contrast(images, prompt, self._chunk(images))
        return ScanSummary(_stored(stack, known.presence), scan_features(stack.images), fits=fits)

    def _given(self, stack: Stack, presence: Presence) -> Tensor:
        expected = (len(self.package.labels), stack.images.shape[0])
        if presence.shape != expected:
            raise WssegError(f"presence: has shape {presence.shape}, expected {expected} (classes, slices)")
        if not np.isin(presence, (YES, NO, UNKNOWN)).all():
            raise WssegError("presence: holds other values than 1, 0 and -1 (unknown)")
        return stack.ordered(presence)

    def _predict(self, stack: Stack, prompt: Prompt, seed: int, progress: Progress) -> Prediction:
        images = stack.images.to(self.device)

        def predict(chunk: int) -> Prediction:
            with torch.no_grad(), mixed_precision(self.device):
                return self._method.predict(images, prompt, Pass(chunk, seed, progress))

        chunk = self._chunk(images)
        if self.device.type == "cpu":
            return predict(chunk)
        return with_less_memory(predict, chunk)

    def _chunk(self, images: Tensor) -> int:
        """Slices per pass, or tiles of a picture."""
        recipe = self.package.recipe
        fitting = slices_per_pass(self.device, recipe.size, self._method.pixel_bytes)
        return fitting if recipe.colour else min(len(images), fitting)


def _stored(stack: Stack, values: Tensor) -> NDArray[np.float32]:
    """From (slices, classes) as cut to (classes, slices) as stored."""
    found: NDArray[np.float32] = values.float().cpu().numpy().T
    return found[:, ::-1] if stack.grid.reversed else found


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


def _refined(stack: Stack, maps: NDArray[np.float32], recipe: Recipe) -> NDArray[np.float32]:
    """Probabilities (slices, classes, rows, columns) at native edges; 0 in air, and in a rim where there is one."""
    if recipe.edge_mm:
        down, right = (max(1, round(recipe.edge_mm / step)) for step in stack.spacing)
        guide = (stack.native + 1) / 2
        planes = [guided_filter(maps[:, k], guide, (down, right)) for k in range(maps.shape[1])]
        maps = np.stack(planes, axis=1)
    if recipe.rim_mm:
        shown = np.flatnonzero(maps.any(axis=(1, 2, 3)))
        maps[shown] *= (stack.depth_mm(shown) > recipe.rim_mm)[:, None]
        return maps
    return np.multiply(maps, ~stack.air[:, None], out=maps)


def _joined(stack: Stack, near: tuple[slice, slice], found: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What was found in a part of the slices (slices, rows, columns), on the scan's own grid; 0 around it."""
    slices = np.zeros(stack.tissue.shape, np.uint8)
    slices[(slice(None), *near)] = found
    return stack.grid.join(slices)
