from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from wsseg.data.kinds.registry import MASKS
from wsseg.data.preprocess import View
from wsseg.data.slices import Batch, load_slices
from wsseg.data.targets import Targets
from wsseg.diffusion.noise import slice_noise
from wsseg.errors import WssegError
from wsseg.labels.space import LabelSpace
from wsseg.methods.backbones.ddpm import DDPM, DDPMSettings
from wsseg.methods.prompt import Pass, Prompt
from wsseg.methods.registry import stored_weights
from wsseg.methods.shared.poses import POSES, Pose
from wsseg.methods.textdiff import TextDiff, TextDiffSettings
from wsseg.training.loop import train
from wsseg.training.settings import TrainSettings

WIDTHS = (32, 32, 32)
SIDE = 32


def _method(**changes: object) -> TextDiff:
    torch.manual_seed(0)
    small = {"widths": WIDTHS, "crop": SIDE, "shrink": 1, "width": 32, "hidden": (16, 16), "text_width": 16}
    return TextDiff(TextDiffSettings.model_validate(small | changes), 1)


def _batch(seed: int, texts: tuple[str, ...] = ("left", "right", "left", "right")) -> Batch:
    """Two like discs on a bright ground; only the one on the side that the sentence names is a nucleus."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.full((4, 3, SIDE, SIDE), 0.8)
    pixels = torch.full((4, SIDE, SIDE), 255, dtype=torch.uint8)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    for index, text in enumerate(texts):
        top = int(torch.randint(8, SIDE - 8, (1,), generator=generator))
        for side, left in (("left", 8), ("right", 24)):
            disc = (rows - top) ** 2 + (columns - left) ** 2 < 25
            images[index, :, disc] = torch.tensor([-0.6, -0.7, 0.0])[:, None]
            if text in (side, "both"):
                pixels[index, disc] = 1
    images = (images + 0.05 * torch.randn(images.shape, generator=generator)).clamp(-1, 1)
    noise = torch.randn(images.shape, generator=generator)
    return Batch(
        images,
        replace(Targets.unknown(len(pixels), 1, (SIDE, SIDE)), pixels=pixels, texts=texts),
        noise,
        torch.rand(4, 4, generator=generator),
        0.5,
    )


def _learn(method: TextDiff, texts: tuple[str, ...], steps: int, make: Callable[..., Batch] = _batch) -> None:
    stage = method.stages()[0]
    method.requires_grad_(False)
    stage.module.requires_grad_(True).train()
    optimizer = torch.optim.Adam(stage.module.parameters(), lr=3e-3)
    for step in range(steps):
        loss = torch.stack(list(method.losses(stage, make(step, texts)).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    method.requires_grad_(False).eval()


def _dice(method: TextDiff, batch: Batch, text: str) -> float:
    marked = method.predict(batch.images, Prompt(text=text), Pass(4)).probabilities[:, 0] > 0.5
    truth = batch.targets.pixels == 1
    return float(2 * (marked & truth).sum() / (marked.sum() + truth.sum()))


def test_masks_teach_the_head_and_never_the_diffusion_model() -> None:
    method = _method()
    before = {name: tensor.clone() for name, tensor in method.diffusion.state_dict().items()}
    _learn(method, ("both",) * 4, 40)
    assert _dice(method, _batch(1000, ("both",) * 4), "") > 0.8
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.diffusion.state_dict().items())


def test_text_and_head_are_not_fused(pictures: Path, tmp_path: Path) -> None:
    data = load_slices(pictures, LabelSpace(("nucleus",)), View(64, colour=True), (MASKS,))
    with pytest.raises(WssegError, match="--compile: stage head trains several networks"):
        train(_method(), data, TrainSettings(folder=tmp_path, steps=1, compile=True))


def test_the_sentence_decides_what_is_marked() -> None:
    """There is a disc on either side: only the words tell which of them is meant."""
    method = _method(text_dropout=0.0)
    _learn(method, ("left", "right", "left", "right"), 80, _sided)
    left = _sided(1000, ("left",) * 4)
    assert _dice(method, left, "left") > 0.7
    assert _dice(method, left, "right") < 0.3


def _sided(seed: int, texts: tuple[str, ...]) -> Batch:
    """The ground differs from side to side, as features do not know where they are."""
    batch = _batch(seed, texts)
    batch.images[:, 0, :, SIDE // 2 :] -= 0.5
    return batch


@pytest.mark.parametrize(("rows", "columns"), [(32, 32), (50, 81), (20, 33)])
def test_pictures_of_any_size_come_back_at_their_own(rows: int, columns: int) -> None:
    method = _method(shrink=2).requires_grad_(False).eval()
    told: list[float] = []
    found = method.predict(torch.zeros(1, 3, rows, columns), Prompt(), Pass(3, progress=told.append))
    assert found.probabilities.shape == (1, 1, rows, columns)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_windows_agree_however_many_are_computed_at_once() -> None:
    method = _method().requires_grad_(False).eval()
    images = torch.rand(1, 3, 70, 60, generator=torch.Generator().manual_seed(0)) * 2 - 1
    one, many = (method.predict(images, Prompt(), Pass(chunk)).probabilities for chunk in (1, 7))
    torch.testing.assert_close(one, many, atol=1e-5, rtol=1e-4)


def test_published_dice_is_of_logits_and_the_mended_one_of_probabilities() -> None:
    batch = _batch(0)
    for arithmetic in ("mended", "published"):
        method = _method(arithmetic=arithmetic, text_dropout=0.0).eval()
        logits = method._logits(batch.images, batch.noise, batch.targets.texts)
        scores = torch.softmax(logits, dim=1) if arithmetic == "mended" else logits
        truth = torch.stack([batch.targets.pixels != 1, batch.targets.pixels == 1], dim=1)
        both, squares = (scores * truth).sum((0, 2, 3)), (scores**2).sum((0, 2, 3)) + truth.sum((0, 2, 3))
        expected = 1.5 * (1 - 2 * both / squares).mean()
        torch.testing.assert_close(method.losses(method.stages()[0], batch)["dice"], expected, atol=1e-4, rtol=1e-4)


def test_the_head_predicts_at_the_resolution_it_learns_at() -> None:
    method = _method(shrink=2, crop=2 * SIDE, poses=1).requires_grad_(False).eval()
    picture = torch.rand(1, 3, 2 * SIDE, 2 * SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    noise = slice_noise(torch.zeros(1, 3, SIDE, SIDE), torch.zeros(1, dtype=torch.long), 0, 0, 0)
    logits = method._logits(picture, noise, ["left"])  # as training has them
    found = method.predict(picture, Prompt(text="left"), Pass(1)).probabilities
    torch.testing.assert_close(found, torch.softmax(logits, dim=1)[:, 1:], atol=1e-5, rtol=1e-4)


def test_borders_follow_the_pictures_own_pixels_once_it_has_learned() -> None:
    """Before, and where weights are of a package that had no such part, nothing is corrected."""
    method = _method(shrink=2, crop=2 * SIDE)
    stored = {name: weight for name, weight in method.state_dict().items() if ".sharpen." not in name}
    earlier = _method(shrink=2, crop=2 * SIDE)
    torch.nn.init.normal_(earlier.head.sharpen.stem[0][0].weight)
    earlier.load_state_dict(stored)
    picture = torch.rand(1, 3, 2 * SIDE, 2 * SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    shown = [each.eval().predict(picture, Prompt(), Pass(1)).probabilities for each in (method, earlier)]
    torch.testing.assert_close(shown[0], shown[1])
    with torch.no_grad():
        method.head.sharpen.correct.weight.normal_()
    found = method.predict(picture, Prompt(), Pass(1)).probabilities
    fine = found - functional.avg_pool2d(found, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert fine.abs().max() > 0.01
    with pytest.raises(RuntimeError, match="sharpen"):  # but one that is there in part is damaged
        earlier.load_state_dict(stored | {"head.sharpen.correct.bias": torch.zeros(2)})


def test_poses_are_averaged() -> None:
    method = _method()
    _learn(method, ("both",) * 4, 40)
    batch, maps = _batch(1000, ("both",) * 4), []
    for poses in (1, 8):
        method.settings = method.settings.model_copy(update={"poses": poses})
        maps.append(method.predict(batch.images, Prompt(), Pass(4)).probabilities)
        assert _dice(method, batch, "") > 0.8, "discs at different heights would not meet if they stayed turned"
    assert not torch.allclose(*maps, atol=1e-3)


def test_presence_that_is_known_is_kept() -> None:
    method = _method().requires_grad_(False).eval()
    found = method.predict(_batch(0).images, Prompt(torch.tensor([[0], [1], [-1], [0]])), Pass(4))
    assert found.presence[:2, 0].tolist() == [0, 1]


def test_the_features_come_from_the_diffusion_model_at_every_noise_level() -> None:
    method = _method(sigmas=(0.1, 0.4, 0.7)).requires_grad_(False).eval()
    images, noise = torch.rand(2, 3, SIDE, SIDE), torch.randn(2, 3, SIDE, SIDE)
    found = method.features(images, noise)
    assert [level.shape[1] for level in found] == [3 * width for width in reversed(WIDTHS)]
    step = torch.tensor([method.schedule.step_of(0.4)] * 2)
    alone = method.taps(method.schedule.add_noise(images, noise, step), step)
    for level, own in zip(found, alone, strict=True):
        torch.testing.assert_close(level[:, own.shape[1] : 2 * own.shape[1]], own, atol=1e-5, rtol=1e-4)


def test_a_square_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ValueError, match="crop must be a multiple of 8"):
        _method(crop=20, shrink=2)


@pytest.mark.parametrize("pose", POSES)
def test_each_pose_is_laid_back(pose: Pose, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that says how dark a pixel is says it at the pixel's own place, whatever the pose and the shape."""
    method = _method(crop=16).requires_grad_(False).eval()
    monkeypatch.setattr("wsseg.methods.textdiff.POSES", [pose])

    def darkness(images: Tensor, noise: Tensor, texts: object) -> Tensor:
        return torch.stack([images[:, 0], -images[:, 0]], dim=1)

    monkeypatch.setattr(method, "_logits", darkness)
    picture = torch.rand(1, 3, 40, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = method.predict(picture, Prompt(), Pass(2)).probabilities[0, 0]
    torch.testing.assert_close(found, torch.sigmoid(-2 * picture[0, 0]), atol=1e-5, rtol=1e-4)


def test_the_package_holds_backbone_words_and_head() -> None:
    assert {name.split(".")[0] for name in stored_weights(_method())} == {"diffusion", "text", "head"}


def test_settings_of_earlier_packages_are_read() -> None:
    """They have an empty field for the file of the published model; a file in it is refused, with what to do."""
    assert _method(adm="").settings.backbone == "ddpm"
    with pytest.raises(ValueError, match="`wsseg import adm FILE OUT`"):
        _method(adm="256x256_diffusion_uncond.pt")


def test_the_backbone_learns_to_denoise_and_refuses_to_segment() -> None:
    torch.manual_seed(0)
    method = DDPM(DDPMSettings(widths=WIDTHS, crop=SIDE, shrink=1), 1)
    stage = method.stages()[0]
    optimizer = torch.optim.Adam(stage.module.parameters(), lr=2e-3)
    first = float(method.losses(stage, _batch(0))["diffusion"])
    for step in range(25):
        loss = method.losses(stage, _batch(step))["diffusion"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(method.losses(stage, _batch(0))["diffusion"].detach()) < 0.6 * first
    with pytest.raises(WssegError, match="segments nothing"):
        method.predict(torch.zeros(1, 3, SIDE, SIDE), Prompt(), Pass(1))
