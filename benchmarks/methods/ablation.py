"""Settings of a heat-map method against each other on validation cases, presence given: thresholded maps, no regions.

Every row is one set of settings. The last row, "brightness alone", needs no model: it is what a rule without
learning reaches. "left out" is Dice with a threshold calibrated on the other patients, "best" with the best
threshold of every single slice, which no method can know. What regions make of a map tells `wsseg evaluate`.

    python benchmarks/methods/ablation.py cdm-glioma-flair --data DIR [--seeds 2] [--only NAME]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from common import brightness_of, calibrate, heat_of, otsu_dice, spread
from rich.progress import track

from wsseg.evaluation.cases import load_cases
from wsseg.methods.registry import load_method
from wsseg.models.shelf import find_package

PLAIN: dict[str, Any] = {"sigmas": (0.7,), "draws": 2, "tau": 0.0, "trajectory": 0, "guidance": 0.0}
"""One level, present minus absent, one step."""

PAPER: dict[str, Any] = {"tau": 0.95, "trajectory": 10, "draws": 1, "blur": (0.0, 0.0)}

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "cdm": {
        "as shipped": {},
        "as shipped, no smoothing": {"blur": (0.0, 0.0)},
        "as shipped, one draw per level": {"draws": 1},
        "sigma 0.5": {**PLAIN, "sigmas": (0.5,)},
        "sigma 0.6": {**PLAIN, "sigmas": (0.6,)},
        "sigma 0.7": PLAIN,
        "sigma 0.8": {**PLAIN, "sigmas": (0.8,)},
        "sigma 0.9": {**PLAIN, "sigmas": (0.9,)},
        "sigma 0.7, tau 0.95": {**PLAIN, "tau": 0.95},
        "sigma 0.7, exact derivative": {**PLAIN, "tau": "exact"},
        "sigma 0.7, tau 0.95, ten steps": {**PLAIN, "tau": 0.95, "trajectory": 10},
        "sigma 0.7, tau 0.95, ten steps, guidance 1 (CG-CDM)": {
            **PLAIN,
            "tau": 0.95,
            "trajectory": 10,
            "guidance": 1.0,
        },
        "sigma 0.7, tau 0.95, ten steps, guidance 10 (CG-CDM)": {
            **PLAIN,
            "tau": 0.95,
            "trajectory": 10,
            "guidance": 10.0,
        },
        "the paper's settings, sigma 0.32": {**PAPER, "sigmas": (0.32,)},
        "the paper's settings, sigma 0.71": {**PAPER, "sigmas": (0.71,)},
    },
    "cam": {
        "as shipped": {},
        "as shipped, no smoothing": {"blur": (0.0, 0.0)},
        "layer 2": {"layer": "layer2"},
        "layer 3": {"layer": "layer3"},
        "layer 4": {"layer": "layer4"},
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", default="", help="part of a row's name")
    arguments = parser.parse_args()
    package = find_package(arguments.model)
    method = load_method(package)
    cases, shipped = load_cases(arguments.data, package.labels), method.settings
    print("| settings | rim mm | Otsu | left out | best | threshold |\n|---|---|---|---|---|---|")
    for name, changes in VARIANTS[package.recipe.method].items():
        if arguments.only not in name:
            continue
        method.settings = shipped.model_copy(update=changes)
        per_seed = [
            [heat_of(method, package, case, seed) for case in cases]
            for seed in track(range(arguments.seeds), name, transient=True)
        ]
        for rim in dict.fromkeys((package.recipe.rim_mm, 0.0)):
            otsu = [otsu_dice(heats, rim) for heats in per_seed]
            fits = [calibrate(heats, rim) for heats in per_seed]
            row = [spread(otsu), spread([f.left_out for f in fits]), spread([f.best_per_slice for f in fits])]
            print(f"| {name} | {rim:g} | {' | '.join(row)} | {np.mean([f.threshold for f in fits]):.4f} |", flush=True)
    if arguments.only in "brightness alone":
        heats = [brightness_of(package, case) for case in cases]
        for rim in dict.fromkeys((package.recipe.rim_mm, 0.0)):
            fit = calibrate(heats, rim)
            row = [f"{value:.3f}" for value in (otsu_dice(heats, rim), fit.left_out, fit.best_per_slice)]
            print(f"| brightness alone | {rim:g} | {' | '.join(row)} | {fit.threshold:.4f} |")


if __name__ == "__main__":
    main()
