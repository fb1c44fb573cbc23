"""How far volumes and ejection fractions are off: of masks made at a click against those of the reference masks.

    python benchmarks/ejection.py --data DIR [--model pclmix-cardiac-cine]

DIR holds both frames of every patient, ``<patient>_frame01.nii.gz``, and their
``*_label`` masks. The fuller frame is end-diastole, told apart for the masks
made and for the references each by itself.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

from wsseg.evaluation.cases import Case, load_cases
from wsseg.inference.measure import ejections, volumes_ml
from wsseg.inference.segmenter import Segmenter


def main() -> None:
    """Print a table, one row for each cavity."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pclmix-cardiac-cine")
    parser.add_argument("--data", type=Path, required=True)
    asked = parser.parse_args()
    segmenter = Segmenter(asked.model)
    labels = segmenter.package.labels
    cavities = [name for name, label in segmenter.package.recipe.labels.items() if label.cavity]
    off: dict[str, list[tuple[float, float, float]]] = {name: [] for name in cavities}
    hearts = frames_by_patient(load_cases(asked.data, labels))
    for frames in track(list(hearts.values()), "segmenting", transient=True):
        found = [volumes_ml(segmenter(frame.scan).mask, labels) for frame in frames]
        known = [volumes_ml(frame.scan.like(frame.reference), labels) for frame in frames]
        made, true = ejections(found[0], found[1], cavities), ejections(known[0], known[1], cavities)
        for name in cavities:
            m, t = made[name], true[name]
            volumes = m.end_diastolic_ml - t.end_diastolic_ml, m.end_systolic_ml - t.end_systolic_ml
            off[name].append((*volumes, 100 * (m.fraction - t.fraction)))
    print(f"{len(hearts)} patients: mean error ± deviation over patients, and greatest\n")
    print("| cavity | end-diastole ml | end-systole ml | ejection fraction, points |\n|---|---|---|---|")
    for name, errors in off.items():
        print(f"| {name} | {' | '.join(_told(column) for column in zip(*errors, strict=True))} |")


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
