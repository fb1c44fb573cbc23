from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from conftest import SMALL_PCLMIX
from wsseg.data.slices import Batch, LabelledSlices
from wsseg.data.targets import Targets
from wsseg.losses.mix import Mix
from wsseg.methods.pclmix import DEEP, PCLMix, PCLMixSettings
from wsseg.methods.prompt import Pass, Prompt
from wsseg.methods.registry import stored_weights


def _method(**changes: object) -> PCLMix:
    torch.manual_seed(0)
    return PCLMix(SMALL_PCLMIX.model_copy(update={"neighbours": 0} | changes), 2)


def _batch(seed: int = 1) -> Batch:
    """A bright square (1) in a grey one (2) on black (255), with strokes in each."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.full((4, 1, 32, 32), -1.0)
    pixels = torch.zeros(4, 32, 32, dtype=torch.uint8)
    truth = _truth(seed)
    for index, at in enumerate(_places(seed)):
        images[index, 0][truth[index] == 2] = 0.0
        images[index, 0][truth[index] == 1] = 0.9
        pixels[index, at + 3, at + 2 : at + 18] = 2
        pixels[index, at + 4 : at + 16, at + 3] = 2
        pixels[index, at + 10, at + 7 : at + 13] = 1
        pixels[index, :, at - 2] = 255
        pixels[index, at + 21] = 255
    noise = torch.randn(images.shape, generator=generator)
    images = (images + 0.1 * noise).clamp(-1, 1)
    presence = torch.full((4, 2), -1)
    targets = replace(Targets.unknown(4, 2, (0, 0)), presence=presence, pixels=pixels)
    return Batch(images, targets, noise, torch.rand(4, 4, generator=generator), 0.5)


def _places(seed: int) -> list[int]:
    return torch.randint(2, 10, (4,), generator=torch.Generator().manual_seed(seed)).tolist()


def _truth(seed: int) -> torch.Tensor:
    truth = torch.zeros(4, 32, 32, dtype=torch.long)
    for index, at in enumerate(_places(seed)):
        truth[index, at : at + 20, at : at + 20] = 2
        truth[index, at + 6 : at + 14, at + 6 : at + 14] = 1
    return truth


@pytest.mark.parametrize("network", ["residual", "plain"])
def test_a_few_strokes_teach_whole_squares(network: str) -> None:
    method = _method(network=network)
    stage = method.stages()[0]
    optimizer = torch.optim.Adam(stage.module.parameters(), lr=5e-3)
    for step in range(120):
        loss = torch.stack(list(method.losses(stage, _batch(step)).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    method.requires_grad_(False).eval()
    found = method.predict(_batch(1000).images, Prompt(), Pass(4))
    mask = torch.where(found.probabilities.amax(1) > 0.5, found.probabilities.argmax(1) + 1, 0)
    assert (mask == _truth(1000)).float().mean() > 0.9
    assert found.presence.min() > 0.5


def test_each_part_of_the_loss_can_be_left_out() -> None:
    """The rows of the ablation."""
    mixed = {"pseudo-labels", "auxiliary"}
    expected = {
        (False, 0.0, 0.0, 0.0): set(),
        (True, 0.0, 0.0, 0.0): mixed,
        (True, 0.15, 0.0, 0.0): mixed | {"contrast"},
        (True, 0.15, 1.0, 0.0): mixed | {"contrast", "consistency"},
        (False, 0.0, 0.0, 1.0): {"borders"},
        (True, 0.15, 1.0, 1.0): mixed | {"contrast", "consistency", "borders"},
    }
    for (mix, contrast, consistency, borders), names in expected.items():
        method = _method(mix=mix, contrast=contrast, consistency=consistency, borders=borders)
        losses = method.losses(method.stages()[0], _batch())
        assert set(losses) == names | {"scribbles", "absence"}
        torch.stack(list(losses.values())).sum().backward()
        unused = [name for name, p in method.stages()[0].module.named_parameters() if p.grad is None]
        assert unused == []


def test_a_class_is_denied_on_slices_that_are_known_to_lack_it() -> None:
    method, batch = _method(mix=False, contrast=0.0, consistency=0.0, borders=0.0), _batch()
    stage = method.stages()[0]
    assert method.losses(stage, batch)["absence"].item() == 0
    presence = batch.targets.presence.clone()
    presence[2, 0] = 0
    told = replace(batch, targets=replace(batch.targets, presence=presence))
    denied = -torch.log1p(-torch.softmax(method.network(batch.images), dim=1)[2, 1]).mean()
    torch.testing.assert_close(method.losses(stage, told)["absence"], denied, atol=1e-4, rtol=1e-3)


def test_no_label_takes_part_in_pseudo_labels() -> None:
    """Pixels that nobody labelled change nothing in partial cross-entropy."""
    method = _method(mix=False, contrast=0.0, consistency=0.0, borders=0.0)
    batch = _batch()
    loss = method.losses(method.stages()[0], batch)["scribbles"]
    unlabelled = batch.targets.pixels == 0
    logits = method.network(batch.images)
    moved = torch.where(unlabelled[:, None], logits + 5 * torch.randn_like(logits), logits)
    target = torch.where(batch.targets.pixels == 255, 0, batch.targets.pixels).long()
    each = torch.nn.functional.cross_entropy(moved, target, reduction="none")
    torch.testing.assert_close(loss, each[~unlabelled].mean(), atol=1e-4, rtol=1e-4)


def test_pseudo_labels_are_mixed_as_the_slices_are() -> None:
    """From the first decoder where the mixture shows the first slice, from the second where it shows the other."""
    method, batch = _method(soft=False).eval(), _batch()
    mix = Mix.draw(batch.uniform, 32, 32)
    levels = method.network.encode(batch.images)
    ours, theirs = method.network.decode(levels), method.auxiliary(levels[DEEP])
    pseudo = mix(torch.softmax(ours, 1), torch.softmax(theirs, 1)).argmax(dim=1)
    assert not pseudo.equal(mix(torch.softmax(theirs, 1), torch.softmax(ours, 1)).argmax(dim=1)), "tells nothing"
    mixed = method.network(mix(batch.images, batch.images))
    expected = math.exp(-5 * 0.5**2) * torch.nn.functional.cross_entropy(mixed, pseudo)
    found = method.losses(method.stages()[0], batch)["pseudo-labels"]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_teacher_labels_what_nobody_did() -> None:
    """What its decoders say in some mixture, never where there is a stroke, mixed as the slices are."""
    method, batch = _method().eval(), _batch()
    known = batch.targets.known_pixels()[1]
    mix = Mix.draw(batch.uniform, 32, 32)
    levels = method.network.encode(batch.images)
    ours, theirs = method.network.decode(levels), method.auxiliary(levels[DEEP])
    labels, where = method._labels(batch, mix, known, ours, theirs)
    one, other = (mix(p, p) for p in (torch.softmax(ours, 1), torch.softmax(theirs, 1)))
    # The first step is the student's own; every label lies between what the two decoders say.
    assert (labels >= torch.minimum(one, other) - 1e-5).all()
    assert (labels <= torch.maximum(one, other) + 1e-5).all()
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(4, 32, 32))
    assert not (where & mix(known, known)).any()
    assert where.any()
    assert not labels.requires_grad


def test_the_teacher_follows_slowly_and_is_never_trained() -> None:
    method = _method()
    stage = method.stages()[0]
    trained = {id(parameter) for parameter in stage.module.parameters()}
    assert method.teacher is not None
    assert not any(id(parameter) in trained for parameter in method.teacher.parameters())
    method.losses(stage, _batch())
    for _ in range(30):
        method.teacher.follow(method.network)
    with torch.no_grad():
        for parameter in method.network.parameters():
            parameter.add_(1.0)
    before = method.teacher.module.answer.weight.clone()
    moved = method.teacher.follow(method.network).answer.weight - before
    assert 0 < moved.mean() < 0.3


def test_a_step_is_the_same_again_whatever_was_drawn_meanwhile() -> None:
    """Drop-path draws from the batch, so that a resumed training is the same."""
    found = []
    for seed in (1, 2):
        method = _method(drop_path=0.5)
        torch.manual_seed(seed)
        found.append(torch.stack(list(method.losses(method.stages()[0], _batch()).values())).sum())
    torch.testing.assert_close(found[0], found[1])


def test_drop_path_leaves_blocks_out() -> None:
    whole, dropped = _method(drop_path=0.0), _method(drop_path=0.9)
    losses = [method.losses(method.stages()[0], _batch())["auxiliary"] for method in (whole, dropped)]
    assert not torch.allclose(*losses)


def test_averaged_weights_get_statistics_of_their_own() -> None:
    """As training saw them: what normalisation measured with other weights would be of those."""
    method, batch = _method(), _batch()
    with torch.no_grad():
        for parameter in method.network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
        as_measured = method.network.train()(batch.images)
        apart = [method.network.eval()(batch.images)]
        method.recalibrate([batch] * 3)
        apart.append(method.network(batch.images))
    stale, settled = ((found - as_measured).abs().mean() for found in apart)
    assert settled < 0.3 * stale, "the deepest statistics are of four values, whose variance is counted otherwise"


def test_parts_that_cannot_work_alone_are_refused() -> None:
    for settings in ({"mix": False}, {"mix": True, "auxiliary": 0.0}):
        with pytest.raises(ValueError, match="need"):
            PCLMixSettings.model_validate(settings)


def test_the_second_decoder_is_not_shipped_and_not_needed() -> None:
    method = _method().requires_grad_(False).eval()
    assert {name.split(".")[0] for name in stored_weights(method)} == {"network"}
    before = method.predict(_batch().images, Prompt(), Pass(4)).probabilities
    for part in (method.auxiliary, method.embed):
        for parameter in part.parameters():
            parameter.zero_()
    assert torch.equal(before, method.predict(_batch().images, Prompt(), Pass(4)).probabilities)


def test_what_the_windows_know_of_positions_is_trained_and_saved() -> None:
    """The published Swin keeps position embeddings where neither happens."""
    method = _method()
    names = [name for name, _ in method.auxiliary.named_parameters() if "relative_position_bias_table" in name]
    assert len(names) == 6
    assert all(f"auxiliary.{name}" in method.state_dict() for name in names)
    method.losses(method.stages()[0], _batch())["auxiliary"].backward()
    tables = [p for name, p in method.auxiliary.named_parameters() if name in names]
    assert any(table.grad is not None and table.grad.abs().sum() > 0 for table in tables)


def test_result_does_not_depend_on_how_slices_are_batched() -> None:
    method = _method().requires_grad_(False).eval()
    images = torch.rand(5, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = method.predict(images, Prompt(), Pass(5)).probabilities
    assert whole.shape == (5, 2, 64, 64)
    assert whole.std() > 0
    torch.testing.assert_close(whole, method.predict(images, Prompt(), Pass(2)).probabilities)


def test_held_back_strokes_and_steady_volumes_make_the_score(monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch, truth = _method(), _batch(), _truth(1)
    held = LabelledSlices(batch.images.half(), batch.targets, False, ("a", "b"), torch.tensor([0, 0, 1, 1]))
    right, thin = (functional.one_hot(mask, 3).movedim(3, 1).float() for mask in (truth, truth * (truth == 2)))

    def seen(*looks: torch.Tensor) -> float:
        scans = iter(torch.stack([look[rows] for look in looks]) for rows in (slice(0, 2), slice(2, 4)))
        monkeypatch.setattr(PCLMix, "_looks", lambda self, images, pass_: next(scans))
        return method.score(held, 8)

    assert seen(right, right) == 1.0
    assert 0.2 < seen(thin, thin) < 0.7, "one class of two is found"
    assert seen(right, right, thin) < 0.9, "volumes differ from pose to pose"


def test_defaults_are_valid() -> None:
    assert PCLMixSettings().crop % 16 == 0


def test_slices_are_seen_with_their_neighbours_from_either_end() -> None:
    method = _method(neighbours=1, turned=False).requires_grad_(False).eval()
    images = _batch().images
    found = method.predict(images, Prompt(), Pass(4)).probabilities
    other = images.clone()
    other[3] = -1.0
    changed = (method.predict(other, Prompt(), Pass(4)).probabilities - found).abs().amax(dim=(1, 2, 3))
    assert (changed[2:] > 1e-4).all()
    assert changed[0] < 1e-6


def test_it_trains_on_squares_with_neighbours() -> None:
    variety = _method(neighbours=1).variety
    assert (variety.crop, variety.neighbours, variety.stain, variety.turned) == (32, 1, 0.0, True)
