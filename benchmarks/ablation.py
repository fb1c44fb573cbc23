"""Settings of a heat-map method against each other on validation cases, presence given.

Every row is one set of settings. "left out" is Dice with a threshold calibrated
on the other patients, "best" with the best threshold of every single slice,
which no method can know.

    python benchmarks/ablation.py cdm-glioma-flair --data DIR [--seeds 2] [--only NAME]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from common import calibrate, heat_of, otsu_dice
from rich.progress import track

from wsseg.evaluate import load_cases
from wsseg.methods.registry import load_method
from wsseg.package import find_package

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "cdm": {
        "as shipped": {},
        "one level, sigma 0.6": {"sigmas": (0.6,), "draws": 4},
        "one level, sigma 0.7": {"sigmas": (0.7,), "draws": 4},
        "one level, sigma 0.8": {"sigmas": (0.8,), "draws": 4},
        "one level, sigma 0.9": {"sigmas": (0.9,), "draws": 4},
        "sigma 0.7, tau 0.95": {"sigmas": (0.7,), "draws": 4, "tau": 0.95},
        "sigma 0.7, exact derivative": {"sigmas": (0.7,), "draws": 4, "tau": "exact"},
        "sigma 0.7, ten DDIM steps, tau 0.95": {"sigmas": (0.7,), "draws": 4, "tau": 0.95, "trajectory": 10},
        "published: sigma 0.32, ten steps, tau 0.95, one draw": {
            "sigmas": (0.32,),
            "draws": 1,
            "tau": 0.95,
            "trajectory": 10,
        },
        "CG-CDM: sigma 0.7, ten steps, guidance 1": {
            "sigmas": (0.7,),
            "draws": 1,
            "tau": 0.95,
            "trajectory": 10,
            "guidance": 1.0,
        },
        "CG-CDM: sigma 0.7, ten steps, guidance 10": {
            "sigmas": (0.7,),
            "draws": 1,
            "tau": 0.95,
            "trajectory": 10,
            "guidance": 10.0,
        },
        "as shipped, one draw": {"draws": 1},
        "as shipped, no smoothing": {"blur": (0.0, 0.0)},
    },
    "cam": {
        "as shipped": {},
        "layer 2": {"layer": "layer2"},
        "layer 3": {"layer": "layer3"},
        "layer 4": {"layer": "layer4"},
        "no smoothing": {"blur": (0.0, 0.0)},
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", default="", help="part of a row's name")
    arguments = parser.parse_args()
    package = find_package(Path(arguments.model) if Path(arguments.model).is_dir() else arguments.model)
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
            row = [_mean(otsu), _mean([f.left_out for f in fits]), _mean([f.best_per_slice for f in fits])]
            print(f"| {name} | {rim:g} | {' | '.join(row)} | {np.mean([f.threshold for f in fits]):.4f} |", flush=True)


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values):.3f}"


if __name__ == "__main__":
    main()
