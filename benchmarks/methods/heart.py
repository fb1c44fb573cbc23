"""How good masks of hearts are, by group of disease, and how far off volumes and ejection fractions.

    python benchmarks/methods/heart.py --data DIR [--model pclmix-cardiac-cine]

DIR holds both frames of every patient as ACDC names them,
``patient<number>_frame01.nii.gz``, and their ``*_label`` masks. ACDC is sorted
by disease, so the number tells the group. The fuller frame is end-diastole,
told apart for the masks made and for the references each by itself. The
interval of the mean Dice is of 95 %, patients drawn anew with their scans.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import interval
from rich.progress import track

from wsseg.evaluation.cases import Case, load_cases
from wsseg.evaluation.metrics import VolumeScore, score_volume
from wsseg.inference.measure import ejections, leading_cavities, phases, volumes_ml
from wsseg.inference.segmenter import Segmenter

GROUPS = ("dilated", "hypertrophic", "infarct", "healthy", "abnormal right ventricle")
"""Of ACDC's patients 1 to 20, 21 to 40, and so on."""


@dataclass(frozen=True)
class Heart:
    """What one patient's two frames came to.

    Attributes:
        scores: of every class of both frames.
        volumes: of the masks and of the references, each end-diastole and end-systole, ml by class.
    """

    patient: str
    scores: list[VolumeScore]
    volumes: tuple[tuple[dict[str, float], dict[str, float]], tuple[dict[str, float], dict[str, float]]]

    @property
    def dice(self) -> float:
        """Mean over classes and frames."""
        return float(np.mean([score.dice for score in self.scores]))

    @property
    def group(self) -> str:
        """By the patient's number."""
        return GROUPS[(int(re.sub(r"\D", "", self.patient)) - 1) // 20 % len(GROUPS)]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pclmix-cardiac-cine")
    parser.add_argument("--data", type=Path, required=True)
    asked = parser.parse_args()
    segmenter = Segmenter(asked.model)
    labels = segmenter.package.labels
    cavities = [name for name, label in segmenter.package.recipe.labels.items() if label.cavity]
    patients = frames_by_patient(load_cases(asked.data, labels))
    hearts = [
        _measured(segmenter, patient, frames)
        for patient, frames in track(list(patients.items()), "segmenting", transient=True)
    ]
    print(_by_group(hearts, labels.names))
    print(_volumes(hearts, labels.names, cavities))


def _measured(segmenter: Segmenter, patient: str, frames: Sequence[Case]) -> Heart:
    leading = leading_cavities(segmenter.package.recipe)
    labels, scores, made = segmenter.package.labels, [], []
    for frame in frames:
        started = time.perf_counter()
        result = segmenter(frame.scan)
        scores += score_volume(frame, result, 0, time.perf_counter() - started)
        made.append(volumes_ml(result.mask, labels))
    true = [volumes_ml(frame.scan.like(frame.reference), labels) for frame in frames]
    return Heart(patient, scores, (_in_order(made, leading), _in_order(true, leading)))


def _in_order(volumes: Sequence[dict[str, float]], leading: list[str]) -> tuple[dict[str, float], dict[str, float]]:
    """End-diastole first."""
    full, empty = phases(volumes, leading)
    return volumes[full], volumes[empty]


def _by_group(hearts: Sequence[Heart], names: Sequence[str]) -> str:
    lines = [f"| group | patients | {' | '.join(names)} | Dice | HD95 mm | scans with a class below 0.5 | s a scan |"]
    lines.append("|---" * (len(names) + 6) + "|")
    for group in ("all", *GROUPS):
        own = [heart for heart in hearts if group in ("all", heart.group)]
        scores = [score for heart in own for score in heart.scores]
        if not own:
            continue
        classes = [f"{np.mean([score.dice for score in scores if score.label == name]):.3f}" for name in names]
        low, high = interval([heart.dice for heart in own])
        dice = f"{np.mean([heart.dice for heart in own]):.3f} ({low:.3f} to {high:.3f})"
        poor = len({score.case for score in scores if score.dice < 0.5})
        told = [f"{np.mean([score.hd95_mm for score in scores]):.1f}", str(poor)]
        told.append(f"{np.mean([score.seconds for score in scores]):.1f}")
        lines.append(f"| {group} | {len(own)} | {' | '.join(classes)} | {dice} | {' | '.join(told)} |")
    return "\n".join(lines) + "\n"


def _volumes(hearts: Sequence[Heart], names: Sequence[str], cavities: list[str]) -> str:
    lines = ["| class | end-diastole, median bias % | end-systole, median bias % | ejection fraction, points |"]
    lines.append("|---" * 4 + "|")
    for name in names:
        pairs = [
            (made[phase][name], true[phase][name])
            for heart in hearts
            for phase in (0, 1)
            for made, true in [heart.volumes]
        ]
        biases = [f"{np.median([100 * (m / t - 1) for m, t in pairs[phase::2]]):+.0f}" for phase in (0, 1)]
        points = (
            [
                100 * (ejections(*made, cavities)[name].fraction - ejections(*true, cavities)[name].fraction)
                for made, true in (heart.volumes for heart in hearts)
            ]
            if name in cavities
            else []
        )
        lines.append(f"| {name} | {' | '.join(biases)} | {_told(points) if points else ''} |")
    return "\n".join(lines) + "\n\nOf ejection fractions the mean error ± deviation over patients, and the greatest."


def frames_by_patient(cases: Sequence[Case]) -> dict[str, list[Case]]:
    """Both frames of every patient who has two."""
    patients: dict[str, list[Case]] = {}
    for case in cases:
        patients.setdefault(re.sub(r"_frame\d+$", "", case.name), []).append(case)
    return {name: frames for name, frames in patients.items() if len(frames) == 2}


def _told(errors: Sequence[float]) -> str:
    return f"{np.mean(errors):+.1f} ± {np.std(errors):.1f}, {max(errors, key=abs):+.1f}"


if __name__ == "__main__":
    main()
