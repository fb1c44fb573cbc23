"""What nnU-Net v2 (Isensee et al. 2021) makes of the same strokes in the same minutes on the same processor.

    pip install nnunetv2
    python benchmarks/peers/nnunet.py TASK --run DIR [--minutes 20] [--threads 2] [--configuration 2d]

A task is a folder with `train` (scans, `<scan>_scribble` and the table of presence,
which names the classes) and `val` (scans with masks), as for
`benchmarks/methods/union.py`. Its strokes become nnU-Net's labels, what nobody drew on
its *ignore* label, which is how it learns from strokes (Gotkowski et al. 2024). It plans,
prepares and augments as it does by default and trains on all scans; what is not its
default is the length: the rate falls to zero over the minutes asked for instead of a
thousand epochs of 250 steps. Planning and preparing do not count. Printed are Dice of
whole volumes on val, mean over classes, and how many steps there were time for.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from rich.progress import Progress

from wsseg.evaluation.metrics import dice_of
from wsseg.images.folder import drawn_beside, reference_of, scan_files
from wsseg.labels.space import BACKGROUND, LabelSpace
from wsseg.labels.tables import PRESENCE_FILE, classes_in

NUMBER = "001"
"""Of the only data set."""

FALL = 0.9
"""Exponent by which nnU-Net's rate falls."""


@dataclass(frozen=True)
class Home:
    """nnU-Net's three folders, which it looks for in the environment.

    Attributes:
        folder: that they lie in.
    """

    folder: Path

    def __post_init__(self) -> None:
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
            os.environ[name] = str(self.folder / name)

    @property
    def raw(self) -> Path:
        """The data set as nnU-Net wants to find it."""
        return self.folder / "nnUNet_raw" / f"Dataset{NUMBER}_task"

    @property
    def prepared(self) -> Path:
        """The data set as nnU-Net prepares it, with its plans."""
        return self.folder / "nnUNet_preprocessed" / f"Dataset{NUMBER}_task"


def write_raw(home: Home, train: Path, labels: LabelSpace, modality: str) -> None:
    """A data set of a folder's scans, with strokes as labels and the rest to be ignored."""
    for folder in ("imagesTr", "labelsTr"):
        (home.raw / folder).mkdir(parents=True, exist_ok=True)
    ignored = len(labels) + 1
    for case, file in scan_files(train).items():
        given = drawn_beside(train, case, "scribble")
        if given is None:
            continue
        nibabel.save(nibabel.load(file), home.raw / "imagesTr" / f"{case}_0000.nii.gz")
        drawn = nibabel.load(given)
        voxels = np.asanyarray(drawn.dataobj)
        mapped = np.where(voxels == BACKGROUND, 0, np.where(voxels == 0, ignored, voxels)).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(mapped, drawn.affine), home.raw / "labelsTr" / f"{case}.nii.gz")
    names = {"background": 0, **{name: k + 1 for k, name in enumerate(labels.names)}, "ignore": ignored}
    described = {
        "channel_names": {"0": modality},
        "labels": names,
        "numTraining": len(list((home.raw / "labelsTr").iterdir())),
        "file_ending": ".nii.gz",
    }
    (home.raw / "dataset.json").write_text(json.dumps(described), encoding="utf-8")


def trained(home: Home, configuration: str, seconds: float) -> tuple[nnUNetTrainer, int]:
    """A network trained on all scans for some seconds, and how many steps it took."""
    plans, described = (
        json.loads((home.prepared / name).read_text("utf-8")) for name in ("nnUNetPlans.json", "dataset.json")
    )
    trainer = nnUNetTrainer(plans | {"continue_training": False}, configuration, "all", described, torch.device("cpu"))
    trainer.initialize()
    trainer.on_train_start()
    trainer.network.train()
    began, steps = time.monotonic(), 0
    with Progress() as bar:
        task = bar.add_task("nnU-Net", total=1.0)
        while (done := (time.monotonic() - began) / seconds) < 1:
            for group in trainer.optimizer.param_groups:
                group["lr"] = trainer.initial_lr * (1 - done) ** FALL
            trainer.train_step(next(trainer.dataloader_train))
            steps += 1
            bar.update(task, completed=done)
    return trainer, steps


def scored(trainer: nnUNetTrainer, home: Home, val: Path, labels: LabelSpace) -> np.ndarray:
    """Dice (scans, classes) of whole volumes."""
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    trainer.set_deep_supervision_enabled(False)
    predictor.manual_initialization(
        trainer.network.eval(),
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    found = []
    for case, file in scan_files(val).items():
        answer = home.folder / f"{case}.nii.gz"
        predictor.predict_from_files_sequential([[str(file)]], [str(answer)], save_probabilities=False)
        mask, truth = (np.asanyarray(nibabel.load(path).dataobj) for path in (answer, reference_of(file)))
        found.append([dice_of(mask == value, truth == value) for value in labels.values().values()])
    return np.array(found)


def main() -> None:
    """Print one row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--modality", default="MR", help="CT is treated by its own rule")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--configuration", default="2d")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.run.exists() and any(asked.run.iterdir()):
        parser.error(f"{asked.run}: is not empty, nnU-Net would take up what lies there")
    home, labels = Home(asked.run), classes_in(asked.task / "train" / PRESENCE_FILE)
    write_raw(home, asked.task / "train", labels, asked.modality)
    prepare = ["nnUNetv2_plan_and_preprocess", "-d", NUMBER, "-c", asked.configuration, "-np", "1", "-npfp", "1"]
    subprocess.run(prepare, check=True)
    os.environ.update(nnUNet_n_proc_DA="0")  # samples are made in this process, which has all the processor
    trainer, steps = trained(home, asked.configuration, 60 * asked.minutes)
    dice = scored(trainer, home, asked.task / "val", labels)
    batch, patch = trainer.batch_size, trainer.configuration_manager.patch_size
    classes = ", ".join(f"{value:.3f}" for value in dice.mean(axis=0))
    print(
        f"{asked.task.name}, {asked.minutes:g} minutes, {steps} steps of {batch} patches of {patch}:"
        f" Dice {dice.mean():.3f} ({classes}); scans {', '.join(f'{value:.2f}' for value in dice.mean(axis=1))}"
    )


if __name__ == "__main__":
    main()
