"""Does the healthy counterfactual of a diffusion model show where a finding is, better than its derivative?

    python benchmarks/quality/counterfactual.py cdm-glioma-flair --data lgg/val --picture FILE.png

Each positive slice is noised by DDIM's inversion under "present" and denoised under
"absent", with guidance from one to the other (Sanchez et al. 2022, arXiv 2207.12268): what the slice would look
like without the finding. The map is how far the slice is from that, in either
direction, smoothed. Per patient: area under the ROC curve over tissue, and Dice of the map
at the threshold that suits the patient's mask best, which flatters all maps alike.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsseg.data.preprocess import View, prepare
from wsseg.diffusion.derivative import Contrast
from wsseg.evaluation.cases import load_cases
from wsseg.evaluation.metrics import dice_of
from wsseg.methods.cdm import CDM
from wsseg.methods.prompt import Pass
from wsseg.methods.registry import load_method
from wsseg.methods.shared.heat import blur
from wsseg.methods.shared.presence import smaller
from wsseg.models.shelf import find_package

FIRST = 0.16
"""Noise level that inversion begins with, the least that the model has learned."""

BLUR = 2.5
"""Of maps, in pixels; that of CDM's own."""

CHUNK = 32


@dataclass(frozen=True)
class Patient:
    """The positive slices (n, 1, size, size) of one, their masks and derivative maps (n, size, size)."""

    slices: Tensor
    mask: Tensor
    derivative: Tensor


def patients(method: CDM, name: str, data: Path) -> list[Patient]:
    """All of a folder."""
    package, found = find_package(name), []
    for case in load_cases(data, package.labels, package.recipe.axis):
        stack = prepare(case.scan, View.of(package.recipe))
        mask = stack.labels_to_network(np.ascontiguousarray(stack.grid.cut(case.reference))).float()
        rows = torch.nonzero(mask.flatten(1).any(dim=1))[:, 0]
        seen = smaller(stack.images, method.settings.diffusion_size)
        small = smaller(mask[rows][:, None], method.settings.diffusion_size)[:, 0] > 0.5
        found.append(Patient(seen[rows], small, method.derivative_map(stack.images, rows, Pass(CHUNK))[:, 0]))
    return found


def healthy(method: CDM, slices: Tensor, sigma: float, steps: int, guidance: float) -> Tensor:
    """Slices (n, 1, size, size) as they would look without the finding."""
    schedule = method.schedule
    asked = Contrast(method.diffusion, schedule, method.diffusion.row(1, slices), method.diffusion.row(0, slices))
    levels = torch.linspace(schedule.step_of(FIRST), schedule.step_of(sigma), steps + 1).round().long()

    def at(step: Tensor) -> Tensor:
        return step.expand(len(slices))

    def clean_of(noisy: Tensor, step: Tensor, condition: Tensor) -> Tensor:
        return asked.clean(noisy, at(step), condition.expand(len(noisy), -1))

    alpha, spread = schedule.at(at(levels[0]))
    velocity = method.diffusion(slices, at(levels[0]), asked.present.expand(len(slices), -1)).float()
    noisy = schedule.add_noise(slices, alpha * velocity + spread * slices, at(levels[0]))
    for before, after in pairwise(levels):
        clean = clean_of(noisy, before, asked.present)
        noisy = schedule.add_noise(clean, schedule.noise_of(noisy, clean, at(before)), at(after))
    for index in range(steps, -1, -1):
        present, absent = (clean_of(noisy, levels[index], condition) for condition in (asked.present, asked.absent))
        clean = (present + guidance * (absent - present)).clamp(-1.2, 1.2)
        if index:
            noise = schedule.noise_of(noisy, clean, at(levels[index]))
            noisy = schedule.add_noise(clean, noise, at(levels[index - 1]))
    return clean


def area(patient: Patient, found: Tensor) -> float:
    """Under the ROC curve, over tissue."""
    tissue = patient.slices[:, 0] > -0.95
    value, truth = found[tissue], patient.mask[tissue]
    rank = value.argsort().argsort().float()
    inside = int(truth.sum())
    return float((rank[truth].mean() - (inside - 1) / 2) / (len(value) - inside))


def best_dice(patient: Patient, found: Tensor) -> float:
    """At the threshold that suits the mask best."""
    thresholds = torch.quantile(found.flatten(), torch.linspace(0.8, 0.995, 30))
    return max(dice_of((found > threshold).numpy(), patient.mask.numpy()) for threshold in thresholds)


def row(name: str, all_of: list[Patient], maps: list[Tensor]) -> str:
    """Means over patients, and over the worst four."""
    pairs = list(zip(all_of, maps, strict=True))
    cells = []
    for score in (area, best_dice):
        values: NDArray[np.float64] = np.sort([score(patient, found) for patient, found in pairs])
        cells += [f"{values.mean():.3f}", f"{values[:4].mean():.3f}"]
    return f"| {name} | {' | '.join(cells)} |"


def draw(file: Path, all_of: list[Patient], without: list[Tensor], maps: list[Tensor]) -> None:
    """One slice of each patient, what it would be without the finding, and both maps."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(4, len(all_of), figsize=(2 * len(all_of), 8))
    for column, patient in enumerate(all_of):
        middle = len(patient.slices) // 2
        shown = (patient.slices[:, 0], without[column][:, 0], maps[column], patient.derivative)
        for index, planes in enumerate(shown):
            grey = index < 2
            most = 1.0 if grey else float(planes[middle].abs().max())
            colors = "gray" if grey else "coolwarm"
            axes[index, column].imshow(planes[middle].T, cmap=colors, vmin=-most, vmax=most)
            axes[index, column].axis("off")
            if index != 1:
                axes[index, column].contour(patient.mask[middle].T, [0.5], colors="lime", linewidths=0.8)
    figure.tight_layout()
    figure.savefig(file, dpi=45)


@torch.inference_mode()
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--sigma", type=float, default=0.8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--guidance", type=float, default=2.0)
    asked = parser.parse_args()
    torch.set_flush_denormal(True)
    method = load_method(find_package(asked.model))
    if not isinstance(method, CDM):
        raise SystemExit(f"{asked.model}: is no CDM")
    all_of = patients(method, asked.model, asked.data)
    print("| map | area | worst four | best Dice | worst four |\n|---|---|---|---|---|")
    print(row("derivative", all_of, [patient.derivative for patient in all_of]), flush=True)
    without = [healthy(method, patient.slices, asked.sigma, asked.steps, asked.guidance) for patient in all_of]
    apart = [patient.slices - changed for patient, changed in zip(all_of, without, strict=True)]
    name = f"counterfactual, noise {asked.sigma}, {asked.steps} steps, guidance {asked.guidance}"
    print(row(name, all_of, [blur(each[:, 0].abs(), BLUR, 0.0) for each in apart]))
    if asked.picture:
        draw(asked.picture, all_of, without, [each[:, 0] for each in apart])


if __name__ == "__main__":
    main()
