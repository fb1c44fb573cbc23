from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from wsseg.data.augment import places
from wsseg.data.kinds.placed import band_of
from wsseg.data.kinds.registry import PRESENCE
from wsseg.data.slices import Batch, LabelledSlices
from wsseg.data.targets import Targets
from wsseg.methods.base import Prediction
from wsseg.methods.prompt import Pass, Prompt
from wsseg.methods.shared.sizes import FILLED
from wsseg.methods.union import Union, UnionSettings

SMALL = UnionSettings(widths=(16, 24), neighbours=0, crop=32, borders=1.0, rate=5e-3, batch=4)


def _method() -> Union:
    torch.manual_seed(0)
    return Union(SMALL, 2)


def _truth(seed: int) -> torch.Tensor:
    """A square of 1 beside one of 2, and a slice with neither."""
    truth = torch.zeros(4, 32, 32, dtype=torch.long)
    for index, at in enumerate(torch.randint(2, 8, (3,), generator=torch.Generator().manual_seed(seed)).tolist()):
        truth[index, at : at + 10, at : at + 8] = 1
        truth[index, at + 12 : at + 22, at + 10 : at + 20] = 2
    return truth


def _images(truth: torch.Tensor, seed: int) -> torch.Tensor:
    grey = torch.tensor([-0.9, 0.9, 0.1])[truth][:, None]
    return (grey + 0.1 * torch.randn(grey.shape, generator=torch.Generator().manual_seed(seed))).clamp(-1, 1)


def _presence(truth: torch.Tensor) -> torch.Tensor:
    return torch.stack([(truth == k).flatten(1).any(dim=1) for k in (1, 2)], dim=1).to(torch.int8)


def _strokes(truth: torch.Tensor) -> Targets:
    known = Targets.unknown(4, 2, (32, 32))
    pixels = known.pixels.clone()
    for index, plane in enumerate(truth):
        for k in (1, 2):
            for row in torch.nonzero((plane == k).any(dim=1))[3:5, 0].tolist():
                pixels[index, row][plane[row] == k] = k
        pixels[index, 0], pixels[index, :, 31] = 255, 255
    presence = _presence(truth)
    return replace(known, pixels=pixels, presence=presence, stroked=presence == 1)


def _boxes(truth: torch.Tensor) -> Targets:
    known = Targets.unknown(4, 2, (32, 32))
    boxes = known.boxes.clone()
    for index, plane in enumerate(truth):
        for k in (1, 2):
            if (plane == k).any():
                (top, left), (bottom, right) = torch.nonzero(plane == k).aminmax(dim=0)
                down, along = (torch.from_numpy(band_of(int(n) + 3)).int() for n in (bottom - top, right - left))
                window = boxes[index, k - 1, top - 1 : bottom + 2, left - 1 : right + 2]
                window[:] = (16 * down[:, None] + along).to(torch.uint8)
    return replace(known, boxes=boxes, presence=_presence(truth))


def _batch(targets: Targets, images: torch.Tensor, done: float) -> Batch:
    seen = torch.cat([images, places(torch.linspace(-1, 1, 4), images.shape[2:])], dim=1)
    return Batch(seen, targets, torch.zeros_like(images), torch.rand(4, 4), done)


@pytest.mark.parametrize(("kind", "least"), [(_strokes, 0.97), (_boxes, 0.93)])
def test_each_kind_teaches_whole_squares(kind: Callable[[torch.Tensor], Targets], least: float) -> None:
    method = _method()
    stage = method.stages()[0]
    optimizer = torch.optim.Adam(stage.module.parameters(), lr=5e-3)
    for step in range(80):
        truth = _truth(step)
        losses = method.losses(stage, _batch(kind(truth), _images(truth, step), step / 80))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    method.requires_grad_(False).eval()
    truth = _truth(1000)
    found = method.predict(_images(truth, 1000), Prompt(), Pass(2)).probabilities
    mask = torch.where(found.amax(dim=1) > 0.5, found.argmax(dim=1) + 1, 0)
    assert (mask == truth).float().mean() > least


def test_sizes_are_bounded_by_strokes_but_not_by_corrections() -> None:
    method, truth = _method(), _truth(0)
    stage, strokes = method.stages()[0], _strokes(truth)
    corrected = replace(strokes, corrected=torch.ones(4, dtype=torch.bool))
    with torch.no_grad():
        method.network.answer.weight.zero_()
        method.network.favour(1, -20.0)  # nothing is the first class
        found = [
            float(method.losses(stage, _batch(each, _images(truth, 0), 1.0))["size"]) for each in (strokes, corrected)
        ]
    assert found[0] > 1
    assert found[1] == 0


def test_presence_that_is_known_is_kept() -> None:
    truth = _truth(0)
    found = _method().eval().predict(_images(truth, 0), Prompt(presence=torch.zeros(4, 2, dtype=torch.int8)), Pass(4))
    assert found.presence.max() == 0


def test_slices_that_are_drawn_as_a_whole_teach_their_overlap() -> None:
    truth, method = _truth(0), _method()
    images, mask = _images(truth, 0), torch.where(truth == 0, 255, truth).to(torch.uint8)
    whole = replace(Targets.unknown(4, 2, (32, 32)), pixels=mask, whole=torch.ones(4, dtype=torch.bool))
    (stage,) = method.stages()
    assert method.losses(stage, _batch(whole, images, 0.5))["overlap"] > 0.1
    strokes = replace(_strokes(truth), presence=torch.full((4, 2), -1))
    assert method.losses(stage, _batch(strokes, images, 0.5))["overlap"] == 0


def _said(pixels: torch.Tensor, presence: torch.Tensor, images: torch.Tensor) -> LabelledSlices:
    """A scan of whose slices presence alone is said."""
    known = replace(Targets.unknown(len(images), 1, (32, 32)), pixels=pixels, presence=presence.to(torch.int8))
    case = torch.zeros(len(images), dtype=torch.long)
    return LabelledSlices(images, known, False, ("a",), case, (PRESENCE,))


def test_presence_alone_teaches_masks_by_seeds() -> None:
    """What is on a slice is found by what its pixels have and those of other slices have not."""
    truth = torch.zeros(8, 32, 32, dtype=torch.long)
    truth[3:6, 8:18, 6:16] = 1
    images = (0.1 * torch.randn(8, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.7 * truth)[:, None]
    shown = (truth == 1).flatten(1).any(dim=1)
    data = _said(torch.zeros(8, 32, 32, dtype=torch.uint8), shown[:, None], images)
    torch.manual_seed(0)
    method = Union(SMALL.model_copy(update={"seeded": True}), 1)
    evidence, labels = method.stages()
    optimizer = torch.optim.AdamW(evidence.module.parameters(), lr=1e-2)
    for step in range(40):
        sum(method.losses(evidence, data.batch(0, step, range(8), method.variety)).values()).backward()
        optimizer.step()
        optimizer.zero_grad()
    method.eval()
    with torch.no_grad():
        seeds = method.pixel_labels(labels, data, Pass(8)) == 1
    assert seeds[shown].any()
    assert (seeds & (truth > 0)).sum() / seeds.sum() > 0.8, "a seed lies on what only positive slices have"
    assert not seeds[~shown].any()


def test_presence_alone_is_told_from_the_labels_whatever_the_model_was_planned_for() -> None:
    """As with `wsseg train --use presence` of a model that was made for strokes."""
    images, none = torch.randn(2, 1, 32, 32), torch.zeros(2, 32, 32, dtype=torch.uint8)
    presence, drawn = torch.tensor([[1], [0]]), none.clone()
    drawn[0, 4:8] = 1
    method = Union(SMALL, 1)
    method.meet(_said(drawn, presence, images))
    assert [stage.name for stage in method.stages()] == ["labels"]
    method.meet(_said(none, presence, images))
    assert [stage.name for stage in method.stages()] == ["evidence", "labels"]
    assert method.settings.seeded
    assert Union(method.settings, 1).state_dict().keys() == method.state_dict().keys()


def test_people_are_believed_before_seeds() -> None:
    drawn = torch.zeros(2, 32, 32, dtype=torch.uint8)
    drawn[0, 4:8] = 1
    data = _said(drawn, torch.tensor([[1], [0]]), torch.randn(2, 1, 32, 32))
    method = Union(SMALL.model_copy(update={"seeded": True}), 1).eval()
    with torch.no_grad():
        pixels = method.pixel_labels(method.stages()[1], data, Pass(8))
    assert (pixels[0, 4:8] == 1).all()
    assert (pixels[1] == 255).all(), "background is what is said to be free of the class"
    unseeded = Union(SMALL, 1)
    assert torch.equal(unseeded.pixel_labels(unseeded.stages()[0], data, Pass(8)), drawn)


def test_only_the_network_that_is_trained_measures_its_statistics_anew() -> None:
    method = Union(SMALL.model_copy(update={"seeded": True}), 1).eval()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method.network.train()
    method.recalibrate(_batch(_strokes(_truth(0)), _images(_truth(0), 0), 0.5) for _ in range(2))
    changed = {
        name.split(".")[0] for name, value in method.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {"network"}


class _Shown(nn.Module):
    """Answers with what the images hold: how much likelier than background the first of two classes is."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)  # what measures its statistics looks at all that it is shown
        self.raised: dict[int, float] = {}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        shown = images[:, :1]
        return torch.cat([torch.zeros_like(shown), shown, torch.full_like(shown, -9.0)], dim=1)

    def favour(self, output: int, by: float) -> None:
        self.raised[output] = by


def _raised(pixels: torch.Tensor, margins: torch.Tensor, presence: int = -1) -> float:
    """What is added to the first of two classes, told from four slices, of the last of which presence is said."""
    method = _method()
    shown = method.network = _Shown()  # type: ignore[assignment]
    unknown = Targets.unknown(4, 2, (32, 32))
    said = unknown.presence.clone()
    said[3, 0] = presence
    method.recalibrate([_batch(replace(unknown, pixels=pixels, presence=said), margins[:, None], 1.0)])
    return shown.raised[1]


@pytest.mark.parametrize(
    ("drawn", "mistaken", "raised"),
    [
        (30, 0, 0.6),  # half of them are marked then
        (30, 6, 0.6),  # with less than three of ten that are something else
        (30, 8, 0.5),
        (30, 300, 0.5),
        (19, 0, 0.0),  # too few to tell
    ],
)
@pytest.mark.parametrize("what", ["background", "another class", "absent"])
def test_a_faint_class_is_made_likelier_as_far_as_other_things_allow(
    drawn: int, mistaken: int, raised: float, what: str
) -> None:
    pixels, margins = torch.zeros(4, 32, 32, dtype=torch.uint8), torch.full((4, 32, 32), -9.0)
    pixels[0].view(-1)[:drawn], margins[0].view(-1)[:drawn] = 1, torch.linspace(-1.2, -0.02, drawn)
    margins[3].view(-1)[:mistaken] = -0.5
    pixels[2, 0] = 255
    if what != "absent":
        pixels[3].view(-1)[:mistaken] = 255 if what == "background" else 2
    assert _raised(pixels, margins, 0 if what == "absent" else -1) == pytest.approx(raised, abs=0.06)


def test_what_may_be_a_faint_class_where_nobody_drew_is_no_mistake() -> None:
    pixels, margins = torch.zeros(4, 32, 32, dtype=torch.uint8), torch.full((4, 32, 32), -0.5)
    pixels[0, 0], margins[0, 0] = 1, -1.0
    pixels[2, 0], margins[2, 0] = 255, -9.0
    assert _raised(pixels, margins) == pytest.approx(1.0)
    pixels[2, 0] = 0
    assert _raised(pixels, margins) == 0, "nothing is known to be something else"


def test_a_class_that_is_marked_is_left_as_it_is() -> None:
    pixels, margins = torch.zeros(4, 32, 32, dtype=torch.uint8), torch.full((4, 32, 32), -9.0)
    pixels[0, 0], margins[0, 0] = 1, 1.0
    pixels[2] = 255
    assert _raised(pixels, margins) == 0


def test_what_is_drawn_on_a_scan_needs_no_seed() -> None:
    drawn = torch.zeros(8, 32, 32, dtype=torch.uint8)
    drawn[4, 10] = 1
    images = 0.05 * torch.randn(8, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    images[3:6, :, 8:18, 6:16] -= 0.7
    method = Union(SMALL.model_copy(update={"seeded": True}), 1).eval()
    with torch.no_grad():
        pixels = method.pixel_labels(method.stages()[1], _said(drawn, torch.ones(8, 1), images), Pass(8))
    assert torch.equal(pixels, drawn)


def test_at_the_end_masks_of_whole_slices_are_made_as_large_as_boxes_tell() -> None:
    """Of the first of two classes; of the other nothing is told."""
    method = _method()
    shown = method.network = _Shown()  # type: ignore[assignment]
    boxes = torch.zeros(4, 2, 32, 32, dtype=torch.uint8)
    boxes[1, 0, 4:26, 3:29] = torch.from_numpy(band_of(22)[:, None] * 16 + band_of(26)[None])
    targets = replace(Targets.unknown(4, 2, (32, 32)), boxes=boxes)
    margins = torch.linspace(-1, 1, 1024).view(1, 1, 32, 32).expand(4, 1, 32, 32)
    data = LabelledSlices(margins, targets, False, ("a", "b"), torch.tensor([0, 0, 1, 1]))
    method.fit_thresholds(data, Pass(4))
    told = FILLED[1] * np.pi / 4 * 20 * 24 * 0.9
    assert told < 512, "half of the pixels are marked"
    assert shown.raised[1] == pytest.approx(2 * told / 1024 - 1, abs=0.06)
    assert shown.raised[2] == 0.0


@pytest.mark.parametrize("scans", [1, 2, 3])
def test_few_boxed_scans_say_nothing_of_a_class_that_is_drawn_on_others(
    scans: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def predict(method: Union, images: torch.Tensor, *_: object) -> Prediction:
        looked.append(len(images))
        return Prediction(torch.full((len(images), 2, 32, 32), 0.6), torch.ones(len(images), 2))

    monkeypatch.setattr(Union, "predict", predict)
    strokes = _strokes(_truth(0))
    boxes = torch.zeros(4, 2, 32, 32, dtype=torch.uint8)
    boxes[1, :, 4:26, 3:29] = torch.from_numpy(band_of(22)[:, None] * 16 + band_of(26)[None])
    boxed = replace(Targets.unknown(4, 2, (32, 32)), boxes=boxes)
    targets, cases = Targets.together([strokes, *[boxed] * scans]), torch.arange(1 + scans).repeat_interleave(4)
    data = LabelledSlices(torch.zeros(len(cases), 1, 32, 32), targets, False, tuple("abcd"[: 1 + scans]), cases)
    _method().fit_thresholds(data, Pass(4))
    assert looked == ([4] * scans if scans >= 3 else [])


def test_where_nothing_tells_sizes_no_scan_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Union, "predict", lambda *_: pytest.fail("looked at"))
    data = LabelledSlices(
        torch.zeros(4, 1, 32, 32), _strokes(_truth(0)), False, ("a",), torch.zeros(4, dtype=torch.long)
    )
    method = _method()
    before = method.network.answer.bias.clone()
    method.fit_thresholds(data, Pass(4))
    assert torch.equal(method.network.answer.bias, before)
