from __future__ import annotations

from dataclasses import replace
from threading import Thread

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from conftest import SMALL_CLDF, MakePackage
from wsseg.data.kinds.registry import PRESENCE
from wsseg.data.slices import Batch, LabelledSlices
from wsseg.data.targets import Targets
from wsseg.methods.base import Prediction
from wsseg.methods.cldf import CLDF, CLDFSettings
from wsseg.methods.prompt import Pass, Prompt
from wsseg.methods.registry import load_method
from wsseg.methods.shared.presence import ImageLabelMethod


def _method(classes: int = 1, **changes: object) -> CLDF:
    method = CLDF(SMALL_CLDF.model_copy(update=changes), classes)
    torch.manual_seed(0)
    for parameter in method.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return method.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def _data(images: Tensor, presence: Tensor) -> LabelledSlices:
    shape = (len(images), *images.shape[2:])
    pixels, case = torch.zeros(shape, dtype=torch.uint8), torch.zeros(len(images), dtype=torch.long)
    targets = replace(Targets.unknown(len(images), 1, shape[1:]), presence=presence, pixels=pixels)
    return LabelledSlices(images, targets, False, ("one",), case, (PRESENCE,))


def _batch(images: Tensor) -> Batch:
    generator = torch.Generator().manual_seed(2)
    pixels = torch.zeros(6, 32, 32, dtype=torch.uint8)
    pixels[:3, :8, :8], pixels[:, 16:] = 1, 255
    noise = torch.randn(images.shape, generator=generator)
    targets = replace(Targets.unknown(6, 1, (0, 0)), presence=torch.tensor([[1], [0]] * 3), pixels=pixels)
    return Batch(images, targets, noise, torch.rand(6, 4, generator=generator))


@pytest.mark.parametrize("readout", ["prototypes", "clusters"])
def test_result_does_not_depend_on_how_slices_are_batched(images: Tensor, readout: str) -> None:
    method = _method(readout=readout)
    whole = method.predict(images, Prompt(torch.ones(6, 1)), Pass(6))
    parts = method.predict(images, Prompt(torch.ones(6, 1)), Pass(4))
    assert 0 < whole.probabilities.max() <= 1
    assert whole.probabilities.std() > 0
    torch.testing.assert_close(whole.probabilities, parts.probabilities, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("told", [False, True])
def test_a_region_is_averaged_with_a_mask_that_it_agrees_with(
    images: Tensor, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two classes one region lies half on the decoder's mask, the other beside it."""
    own, region = torch.zeros(6, 2, 32, 32), torch.zeros(6, 2, 32, 32)
    own[:, :, 4:12, :16], region[:, 0, 4:12, 2:16], region[:, 1, 20:28] = 0.8, 1.0, 1.0
    shown = torch.ones(6, 2)
    monkeypatch.setattr(ImageLabelMethod, "predict", lambda *given: Prediction(own, shown))
    monkeypatch.setattr("wsseg.methods.cldf.by_regions", lambda *given: region)
    given = Prompt(torch.ones(6, 2, dtype=torch.int8)) if told else Prompt()
    found = _method(2, slice_blur=0.0).predict(images, given, Pass(6))
    torch.testing.assert_close(found.probabilities[:, 0], (own + region)[:, 0] / 2)
    torch.testing.assert_close(found.probabilities[:, 1], (region if told else own)[:, 1])


def test_threads_take_their_own_features(images: Tensor) -> None:
    method, found = _method(), {}
    alone = {index: method.features(images[index : index + 1], _noise()) for index in range(4)}

    def take(index: int) -> None:
        for _ in range(10):
            found[index] = method.features(images[index : index + 1], _noise())

    threads = [Thread(target=take, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, levels in alone.items():
        for one, other in zip(levels, found[index], strict=True):
            torch.testing.assert_close(one, other)


def _noise() -> Tensor:
    return torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(1))


def test_features_are_the_levels_at_every_noise_level(images: Tensor) -> None:
    shapes = [tuple(level.shape) for level in _method().features(images[:2], _noise().expand(2, -1, -1, -1))]
    assert shapes == [(2, 64, 4, 4), (2, 64, 8, 8), (2, 64, 16, 16)]
    two = _method(sigmas=(0.2, 0.5)).features(images[:2], _noise().expand(2, -1, -1, -1))
    one = _method(sigmas=(0.5,)).features(images[:2], _noise().expand(2, -1, -1, -1))
    for both, alone in zip(two, one, strict=True):
        torch.testing.assert_close(both.chunk(2, dim=1)[1], alone, atol=1e-5, rtol=1e-4)


def test_only_the_decoder_is_trained(images: Tensor) -> None:
    method = _method()
    for stage in method.stages():
        stage.module.requires_grad_(True)
        sum(method.losses(stage, _batch(images)).values()).backward()
        touched = {name.split(".")[0] for name, p in method.named_parameters() if p.grad is not None and p.grad.any()}
        assert touched == {"decoder"}
        method.zero_grad()


def test_what_people_drew_stands_above_seeds(images: Tensor) -> None:
    method, data = _method(), _data(images, torch.tensor([[1], [1], [0], [0], [-1], [1]]))
    first, second = method.stages()
    for stage in (first, second):
        made = method.pixel_labels(stage, data, Pass(4))
        assert (made[2:4] == 255).all(), "a slice without the finding is background"
        assert not made[4].any(), "an unknown slice says nothing"
        drawn = data.targets.pixels.clone()
        drawn[0, :4], drawn[2, 0, 0] = 1, 1
        kept = method.pixel_labels(stage, data.with_pixels(drawn), Pass(4))
        assert (kept[0, :4] == 1).all()
        assert kept[2, 0, 0] == 1
        assert torch.equal(kept[5], made[5])
    seeds = method.pixel_labels(first, data, Pass(4))
    assert (seeds[:2] == 1).flatten(1).any(dim=1).all()


def test_maps_can_be_chosen(images: Tensor) -> None:
    data = _data(images, torch.ones(6, 1, dtype=torch.int8))
    labels = {}
    for maps in (("derivative",), ("gradient",), ("cam",)):
        method = _method(maps=maps)
        labels[maps] = method.pixel_labels(method.stages()[0], data, Pass(6))
        assert (labels[maps] == 1).any()
    assert len({made.numpy().tobytes() for made in labels.values()}) > 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"widths": (32, 32, 32), "levels": (0, 3)}, "3 decoder levels"),
        ({"levels": (2, 1)}, "must ascend"),
        ({"maps": ("cam", "cam")}, "one is named twice"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        CLDFSettings(**changes)


def test_a_class_that_is_absent_takes_no_probability(images: Tensor) -> None:
    method, slices = _method(classes=2), torch.arange(6)
    shown = torch.tensor([[True, True]] * 6), torch.tensor([[True, False]] * 6)
    both, alone = (method.locate(images, slices, each, Pass(6)) for each in shown)
    assert not alone[:, 1].any()
    assert (alone[:, 0] > both[:, 0]).all()
    assert not method.predict(images, Prompt(shown[1].to(torch.int8)), Pass(6)).probabilities[:, 1].any()


def test_nothing_labelled_costs_nothing_and_does_not_fail(images: Tensor) -> None:
    method, batch = _method(), _batch(images)
    batch.targets.pixels.zero_()
    for stage in method.stages():
        stage.module.requires_grad_(True)
        total = sum(method.losses(stage, batch).values())
        total.backward()
        assert float(total) < 1e-6


def test_predicting_does_without_what_only_training_needs(make_package: MakePackage, images: Tensor) -> None:
    package = make_package("cldf")
    whole, part = load_method(package, training=True), load_method(package)
    assert any(name.startswith("cam.") for name in whole.state_dict())
    assert not any(name.startswith("cam.") for name in part.state_dict())
    found = [method.predict(images, Prompt(), Pass(4)) for method in (whole, part)]
    assert torch.equal(found[0].probabilities, found[1].probabilities)
    assert torch.equal(found[0].presence, found[1].presence)
