from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from conftest import SMALL_CDM
from wsseg.data.slices import Batch
from wsseg.data.targets import Targets
from wsseg.methods.cdm import CDM, CDMSettings
from wsseg.methods.prompt import Pass, Prompt


def _method(classes: int = 1, **changes: object) -> CDM:
    torch.manual_seed(0)
    method = CDM(SMALL_CDM.model_copy(update=changes), classes)
    for parameter in method.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return method.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def _batch(images: Tensor, presence: Tensor) -> Batch:
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(images.shape, generator=generator)
    return Batch(
        images,
        replace(Targets.unknown(len(images), presence.shape[1], images.shape[2:]), presence=presence),
        noise,
        torch.rand(len(images), 4, generator=generator),
    )


def test_result_does_not_depend_on_how_slices_are_batched(images: Tensor) -> None:
    method = _method()
    whole = method.predict(images, Prompt(torch.ones(6, 1)), Pass(6))
    parts = method.predict(images, Prompt(torch.ones(6, 1)), Pass(4))
    assert whole.probabilities.max() > 0.5
    torch.testing.assert_close(whole.probabilities, parts.probabilities, atol=1e-4, rtol=1e-3)


def test_seed_changes_the_noise_and_nothing_else(images: Tensor) -> None:
    method, given = _method(regions=False), torch.ones(6, 1)
    first, again, other = (method.predict(images, Prompt(given), Pass(6, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first.probabilities, again.probabilities)
    assert not torch.equal(first.probabilities, other.probabilities)


def test_given_presence_rules_and_unknown_is_decided(images: Tensor) -> None:
    method = _method()
    given = torch.tensor([[1], [0], [-1], [1], [0], [1]])
    found = method.predict(images, Prompt(given), Pass(6))
    free = method.predict(images, Prompt(), Pass(6))
    assert found.presence[:, 0].tolist()[:2] == [1.0, 0.0]
    assert found.presence[2, 0] == free.presence[2, 0]
    assert not found.probabilities[[1, 4]].any()
    assert found.probabilities[[0, 3, 5]].flatten(1).any(dim=1).all()


def test_every_class_has_its_own_condition(images: Tensor) -> None:
    method = _method(classes=2)
    found = method.predict(images, Prompt(torch.ones(6, 2)), Pass(6))
    assert found.probabilities.shape == (6, 2, 32, 32)
    assert not torch.equal(found.probabilities[:, 0], found.probabilities[:, 1])


@pytest.mark.parametrize("changes", [{"tau": 0.95}, {"tau": "exact"}, {"tau": 0.95, "trajectory": 3, "guidance": 1.0}])
def test_variants_of_the_paper_run(images: Tensor, changes: dict) -> None:
    found = _method(**changes).predict(images, Prompt(torch.ones(6, 1)), Pass(6))
    assert torch.isfinite(found.probabilities).all()
    assert found.probabilities.max() > 0.5


def test_calibrated_threshold_is_where_probability_is_one_half(images: Tensor) -> None:
    threshold = 4e-4
    method = _method(threshold=threshold, regions=False)
    maps = method.derivative_map(images, torch.arange(6), Pass(6))
    found = method.predict(images, Prompt(torch.ones(6, 1)), Pass(6))
    assert 0 < (maps > threshold).float().mean() < 0.5
    assert torch.equal(found.probabilities > 0.5, maps > threshold)


def test_condition_rows_follow_the_labels(images: Tensor) -> None:
    method = _method(classes=2)
    presence = torch.tensor([[1, -1], [0, -1], [-1, 1], [-1, 0], [-1, -1], [-1, -1]])
    rows = method._training_rows(_batch(images, presence))
    assert rows.tolist()[:4] == [1, 0, 3, 2]
    assert rows.tolist()[4:] == [4, 4]


def test_condition_dropout_drops_the_stated_part() -> None:
    method = _method(condition_dropout=0.25)
    presence = torch.ones(2000, 1, dtype=torch.int8)
    rows = method._training_rows(_batch(torch.zeros(2000, 1, 2, 2), presence))
    assert (rows == 2).float().mean().item() == pytest.approx(0.25, abs=0.04)


def test_each_stage_trains_its_own_network_only(images: Tensor) -> None:
    torch.manual_seed(0)
    method = CDM(CDMSettings(**SMALL_CDM.model_dump()), 1)
    batch = _batch(images, torch.tensor([[1], [0]] * 3))
    for stage in method.stages():
        method.zero_grad()
        sum(method.losses(stage, batch).values()).backward()
        touched = {name.split(".")[0] for name, p in method.named_parameters() if p.grad is not None and p.grad.any()}
        assert touched == {stage.name}


def test_unknown_presence_has_no_classifier_loss(images: Tensor) -> None:
    method = _method()
    stage = method.stages()[0]
    assert method.losses(stage, _batch(images, torch.full((6, 1), -1)))["presence"] == 0
