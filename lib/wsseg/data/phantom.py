"""A synthetic head for demonstrations and tests, made from a seed; no patient is in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsseg.data.importers.release import save_presence
from wsseg.files import make_folder
from wsseg.images.formats.nifti import write_nifti
from wsseg.images.volume import Volume
from wsseg.labels.space import LabelSpace, presence_of_mask
from wsseg.labels.tables import ListedPresence

LABELS = LabelSpace(("tumor",))

SIZE = 256
"""Pixels along the sides of a slice on the usual grid, which has 24 slices of 1 x 1 x 5 mm."""

EXTENT = (256.0, 256.0, 120.0)
"""Millimetres that every grid covers: a smaller one shows the same head, coarser."""

BRAIN = 60.0
"""Grey value of the brain, in which all intensities below are given."""

SCALP, SKULL, FLUID, GREY, WHITE = 2.0, 0.2, 0.3, 1.12, 0.92

DEMO_SEED = 10

Field = NDArray[np.floating]


@dataclass(frozen=True)
class _Space:
    """Where each voxel lies in the head, in mm: x to the left, y to the back, z upwards.

    Attributes:
        x, y, z: (x, y, slice) as stored, each from the middle of the head.
        spacing: mm between voxels.
        rng: of everything that is sampled for this head.
    """

    x: Field
    y: Field
    z: Field
    spacing: Field
    rng: np.random.Generator

    @classmethod
    def draw(cls, rng: np.random.Generator, size: int) -> _Space:
        """A head somewhat turned and shifted in the scanner."""
        shape = (size, size, max(8, 24 * size // SIZE))
        spacing = np.array(EXTENT) / shape
        centre = np.array([128.0, 128.0, 42.0]) + rng.normal(0, 3, 3)
        ticks = [(np.arange(n) + 0.5) * step - c for n, step, c in zip(shape, spacing, centre, strict=True)]
        x, y, z = np.meshgrid(*ticks, indexing="ij")
        angle = rng.normal(0, 0.06)
        turned_x = x * np.cos(angle) - y * np.sin(angle)
        turned_y = x * np.sin(angle) + y * np.cos(angle)
        return cls(turned_x, turned_y, z, spacing, rng)

    def noise(self, scale: float) -> Field:
        """A random field of unit variance that varies over ``scale`` mm."""
        grain = self.rng.standard_normal(self.x.shape, np.float32)
        field = ndimage.gaussian_filter(grain, scale / self.spacing, truncate=3)
        return (field - field.mean()) / field.std()

    def ball(self, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Field:
        """Distance from a centre in radii, 1 on the ellipsoid's surface."""
        steps = zip((self.x, self.y, self.z), centre, radii, strict=True)
        return np.sqrt(sum(((axis - c) / r) ** 2 for axis, c, r in steps))


def make_phantom(seed: int, finding: bool = True, size: int = SIZE) -> tuple[Volume, NDArray[np.uint8]]:
    """A head as FLAIR shows it, and the mask of its lesion.

    Scalp, skull, brain with folds, ventricles and fissure, face below; a smooth
    bias and Rician noise. The lesion is irregular, 1.5 to 1.9 times as bright
    as the brain, and spans several slices.

    Args:
        seed: the same seed and size make the same voxels.
        finding: without it the head is healthy and the mask empty.
        size: pixels along the sides of a slice; 256 have 24 slices, 64 have 8.

    Returns:
        uint8 scan (x, y, slice), stored to the left, to the back and upwards,
        and the mask of the same shape, 1 in the lesion.
    """
    space = _Space.draw(np.random.default_rng(seed), size)
    image, brain = _healthy(space)
    lesion = _lesion(space, brain) if finding else np.zeros_like(image)
    glow = space.rng.uniform(1.5, 1.9) + 0.12 * space.noise(5.0)
    image = image + lesion * np.maximum(glow - image, 0)
    affine = np.diag([-space.spacing[0], -space.spacing[1], space.spacing[2], 1.0])
    return Volume(_acquire(space, image), affine), (lesion > 0.5).astype(np.uint8)


def write_demo_study(folder: Path) -> Path:
    """Write ``demo_flair.nii.gz``, always the same synthetic scan, and return its path."""
    scan, _ = make_phantom(DEMO_SEED)
    make_folder(folder)
    path = folder / "demo_flair.nii.gz"
    write_nifti(path, scan.voxels, scan.affine)
    return path


def write_phantom_data(folder: Path, cases: int, seed: int, size: int = SIZE) -> None:
    """Write a data set: ``phantom_000.nii.gz`` on, their ``_label`` files and ``image_labels.csv``.

    Every fourth head is healthy.
    """
    make_folder(folder)
    presence: dict[str, ListedPresence] = {}
    for index in range(cases):
        case = f"phantom_{index:03d}"
        scan, mask = make_phantom(seed + index, finding=index % 4 != 3, size=size)
        write_nifti(folder / f"{case}.nii.gz", scan.voxels, scan.affine)
        write_nifti(folder / f"{case}_label.nii.gz", mask, scan.affine)
        presence[case] = ListedPresence(presence_of_mask(mask, len(LABELS)))
    save_presence(folder, presence, LABELS)


def _healthy(space: _Space) -> tuple[Field, Field]:
    """Intensity of a head without finding in parts of the brain's, and where the brain is."""
    rng = space.rng
    stretch = rng.uniform(0.96, 1.04, 3)
    radius = space.ball((0, 0, 0), (77 * stretch[0], 97 * stretch[1], 92 * stretch[2]))
    depth = (1 - radius) * 85 + 0.8 * space.noise(12.0)  # mm under the skin, nearly
    skull, brain = 6.0 + space.noise(20.0), 12.5 + 0.7 * space.noise(15.0)
    image = np.zeros_like(depth)
    image[depth > 0] = SCALP
    image[depth > skull] = SKULL
    image[depth > brain - 1.5] = FLUID
    inside = depth > brain
    image[inside] = _brain(space, depth - brain)[inside]
    below = inside & (space.z < _base(space.y + 4 * space.noise(8.0)))
    face = 0.65 + 0.35 * space.noise(3.0)
    image[below] = np.clip(face, 0.05, 1.5)[below]
    return image, (inside & ~below).astype(float)


def _base(y: Field) -> Field:
    """Height of the skull's base in mm: high over the face, low under the cerebellum."""
    return -12.0 - 34.0 / (1 + np.exp(-(y + 15.0) / 6.0))


def _brain(space: _Space, depth: Field) -> Field:
    """Grey and white matter, folds, fissure and ventricles; ``depth`` in mm under the brain's surface."""
    fold = np.abs(space.noise(4.5)) + np.maximum(depth - 12, 0) / 25
    image = WHITE + (GREY - WHITE) * np.exp(-((np.minimum(fold / 0.5, depth / 4)) ** 2))
    image = image + 0.02 * space.noise(2.0)
    fluid = np.exp(-((fold / 0.1) ** 2)) * 0.7
    midline = np.abs(space.x + 1.5 * space.noise(20.0))
    fluid = np.maximum(fluid, np.exp(-((midline / 1.2) ** 2)) * (space.ball((0, 0, 8), (30, 42, 24)) > 1) * 0.8)
    for side in (-1, 1):
        bent = side * (9 + 0.006 * (space.y + 8) ** 2)
        horn = np.sqrt(((space.x - bent) / 4.5) ** 2 + ((space.y - 2) / 32) ** 2 + ((space.z - 16) / 13) ** 2)
        fluid = np.maximum(fluid, 1 / (1 + np.exp((horn - 1) * 12)))
    return image + (FLUID - image) * fluid


def _lesion(space: _Space, brain: Field) -> Field:
    """An irregular blob in one hemisphere, 1 inside and 0 outside with a soft rim."""
    rng = space.rng
    side = rng.choice([-1.0, 1.0])
    centre = (side * rng.uniform(26, 40), rng.uniform(-35, 40), rng.uniform(8, 32))
    radii = rng.uniform(15, 25, 3)
    edge = space.ball(centre, (radii[0], radii[1], radii[2])) + 0.26 * space.noise(7.0) + 0.12 * space.noise(3.0)
    return brain / (1 + np.exp((edge - 1) * 9))


def _acquire(space: _Space, image: Field) -> NDArray[np.uint8]:
    """What a scanner makes of it: blurred in plane, shaded, noisy, 8-bit."""
    blur = (*(0.7 / space.spacing[:2]), 0)
    shade = np.exp(0.08 * space.noise(70.0))
    signal = ndimage.gaussian_filter(image, blur) * shade
    real, imaginary = space.rng.normal(0, 0.035, (2, *image.shape))
    return np.clip(np.hypot(signal + real, imaginary) * BRAIN + 0.5, 0, 255).astype(np.uint8)
