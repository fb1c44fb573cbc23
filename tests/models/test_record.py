"""What a package records of its training and of its figures, and how format 1 did it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import REPOSITORY, MakePackage
from wsseg.errors import WssegError
from wsseg.methods.registry import create_method, method_class
from wsseg.models.package import METADATA, ModelPackage, read_package
from wsseg.models.record import Figure, LabelQuality, Metric, StageRecord, TakenPart, TrainingRecord
from wsseg.networks.residual_unet import ResidualUNet
from wsseg.networks.shared_unet import SharedUNet

SUM = "9529f3db1add98cb18d1fc78f4ea9ccd2003823180ffd197ce9f4f2d06b5f588"

TRAINED: dict[str, Any] = {
    "scans": 64,
    "slices": 1797,
    "positive slices": 653,
    "slices with scribbles": 40,
    "seed": 3,
    "started from": "0.1.0, which had 2400 steps from random weights",
    "stage self-training 1": "400 steps of 16 slices, learning rate 0.0005",
    "wall time": "1 day, 2:15:32",
    "hardware": "CPU, 2 cores",
    "held-back score": 0.7,
    "held-back score before": 0.8,
    "frozen diffusion": f"diffusion of cdm-glioma-flair 0.1.0+20260131.235959, sha256 {SUM}",
    "labels of tumor": "precision 0.919, recall 0.652",
    "job": "20260131-235959-1",
}
"""As format 1 wrote it."""

RECORD = TrainingRecord(
    scans=64,
    slices=1797,
    labelled={"scribbles": 40},
    positive=653,
    seed=3,
    origin="0.1.0, which had 2400 steps from random weights",
    stages={"self-training 1": StageRecord(steps=400, batch=16, rate=0.0005)},
    seconds=((24 + 2) * 60 + 15) * 60 + 32,
    hardware="CPU, 2 cores",
    score=0.7,
    before=0.8,
    frozen={
        "diffusion": TakenPart(
            package="cdm-glioma-flair", version="0.1.0+20260131.235959", part="diffusion", sha256=SUM
        )
    },
    pixel_labels={"tumor": LabelQuality(precision=0.919, recall=0.652)},
    job="20260131-235959-1",
)


def as_format_1(package: ModelPackage, trained: Any, figures: Any = ()) -> ModelPackage:
    """A package's metadata as an earlier wsseg would have written it, read back."""
    path = package.folder / METADATA
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["wsseg"]["training"]
    content["wsseg"] |= {"format": 1, "trained": trained, "figures": figures}
    path.write_text(json.dumps(content), encoding="utf-8")
    return read_package(package.folder)


def test_a_training_that_format_1_recorded_is_read_in_full(make_package: MakePackage) -> None:
    package = make_package()
    assert as_format_1(package, TRAINED, []).recipe.training == RECORD
    assert json.loads((package.folder / METADATA).read_text("utf-8"))["wsseg"]["format"] == 1, "the file stays as it is"
    told = RECORD.lines()
    assert {key: told[key] for key in TRAINED if key != "job"} == {
        key: str(value) for key, value in TRAINED.items() if key != "job"
    }, "the card says what it said"


def test_settings_whose_part_regions_have_taken_are_passed_over(make_package: MakePackage) -> None:
    package = make_package()
    content = json.loads((package.folder / METADATA).read_text("utf-8"))
    content["wsseg"]["settings"] |= {"hyperintense": True}
    content["wsseg"]["settings"].pop("diffusion_size", None)
    (package.folder / METADATA).write_text(json.dumps(content), encoding="utf-8")
    settings = read_package(package.folder).recipe.settings
    assert "hyperintense" not in settings
    assert settings["diffusion_size"] == package.recipe.size, "networks go on to see what they were trained on"


def test_a_pclmix_model_of_before_keeps_its_network(make_package: MakePackage) -> None:
    """There was one, which had no name, and what a package did not say was otherwise."""
    package = make_package("pclmix")
    content = json.loads((package.folder / METADATA).read_text("utf-8"))
    content["wsseg"]["settings"] = {"crop": 192}
    (package.folder / METADATA).write_text(json.dumps(content), encoding="utf-8")
    method = create_method(read_package(package.folder))
    assert isinstance(method.network, SharedUNet)
    assert (method.network.channels, method.settings.steps) == ((24, 48, 96, 160, 256), 3000)
    assert isinstance(create_method(package).network, ResidualUNet)
    content["wsseg"]["settings"]["encoder"] = "/data/encoder.safetensors"
    (package.folder / METADATA).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(WssegError, match=r"settings\.encoder: is gone, `parents\.network` names a model"):
        read_package(package.folder)


def test_a_package_of_format_1_that_was_not_trained_is_read(make_package: MakePackage) -> None:
    assert as_format_1(make_package(), {}, []).recipe.training is None


@pytest.mark.parametrize(
    ("what", "metric", "over", "given"),
    [
        (
            "Dice, positive slices, mean per patient, presence given",
            "dice",
            "positive slices, mean per patient",
            "presence",
        ),
        ("HD95 mm, left ventricle, nothing given", "hd95", "left ventricle", "nothing"),
        ("IoU, whole tiles, text given", "iou", "whole tiles", "text"),
        ("AUC, presence per slice, nothing given", "auc", "presence per slice", "nothing"),
        (
            "confidence against Dice of whole volumes, rank correlation, nothing given",
            "confidence",
            "whole volumes",
            "nothing",
        ),
    ],
)
def test_figures_of_format_1_are_read_into_fields(
    make_package: MakePackage, what: str, metric: str, over: str, given: str
) -> None:
    told = {"what": what, "value": 0.5, "spread": 0.1, "seeds": 3}
    (found,) = as_format_1(make_package(), {}, [told]).recipe.figures
    assert found.model_dump(mode="json") == {
        "metric": metric, "over": over, "given": given, "value": 0.5, "spread": 0.1, "seeds": 3
    }  # fmt: skip


@pytest.mark.parametrize(
    ("trained", "figures", "sentence"),
    [
        ({"colour": "red"}, [], 'format 1 had no "colour"'),
        (TRAINED | {"wall time": "long"}, [], '"long" is no sentence that format 1 had'),
        (TRAINED | {"frozen cam": "from somewhere"}, [], "from somewhere"),
        (TRAINED | {"slices with scribbles": "some"}, [], r"training\.labelled\.scribbles"),
        ({"scans": 5}, [], r"training\.slices"),
        ("yesterday", [], "trained: an object is expected"),
        ({}, [{"what": "very good"}], "very good"),
        ({}, ["very good"], "figures: an object is expected"),
        ({}, 3, "figures: a list is expected"),
    ],
)
def test_what_format_1_never_wrote_is_refused_in_one_sentence(
    make_package: MakePackage, trained: Any, figures: Any, sentence: str
) -> None:
    package = make_package()
    with pytest.raises(WssegError, match=sentence) as caught:
        as_format_1(package, trained, figures)
    assert f"{caught.value}".startswith(f"{package.folder / METADATA}: wsseg")


@pytest.mark.parametrize("folder", sorted((REPOSITORY / "model").iterdir()), ids=lambda folder: folder.name)
def test_what_ships_says_where_its_frozen_parts_came_from(folder: Path) -> None:
    """What it holds is what ships; what it only learned with may have been an earlier version of that."""
    recipe = read_package(folder).recipe
    assert recipe.training is not None
    for name, part in recipe.training.frozen.items():
        assert part.package == recipe.parents[name].package
        parent = read_package(REPOSITORY / "model" / part.package)
        assert part.version in parent.metadata.changelog
        if name not in method_class(recipe.method).training_only or part.version == parent.metadata.version:
            assert part.sha256 == parent.checksum()


def test_titles_tell_metric_unit_protocol_and_what_was_given() -> None:
    figure = Figure(metric=Metric.HD95, over="whole volumes", given="nothing", value=4.0, spread=0.0, seeds=1)
    assert figure.title == "HD95 mm, whole volumes, nothing given"
    assert len({metric.title for metric in Metric}) == len(Metric)
