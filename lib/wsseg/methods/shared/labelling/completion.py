"""Completion: what somebody drew of a class on a slice becomes a mask of it, whatever the class is.

A network looks at a window around each stroke, point or box. It sees the picture, what
was drawn of the class, what was drawn of anything else, and the box: prompts as channels,
as in ScribblePrompt (Wong et al. 2024). It has learned from synthetic pictures of random
shapes alone (as in SynthSeg, Billot et al. 2023; `benchmarks/completion/train.py`), so
it knows no organ, only where within a shape people draw and that borders lie where pictures change.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from wsseg.data.slices import LabelledSlices
from wsseg.data.targets import Targets, first_said
from wsseg.labels.space import BACKGROUND, NO
from wsseg.methods.prompt import Pass
from wsseg.methods.shared.poses import POSES, Pose, posed, unposed
from wsseg.networks.residual_unet import ResidualUNet

log = logging.getLogger(__name__)

SIDE = 96
"""Pixels along a window, as the network sees it."""

LEAST_ROOM, MOST_ROOM = 10.0, 60.0
"""Pixels that a window shows beyond strokes, at least and at most."""

SURE = 0.85
"""Probability from which on a pixel is one of the class; below 1 - SURE it is none."""

LOOKS: Sequence[tuple[float, Pose]] = [(0.8, POSES[2]), (1.0, POSES[0]), (1.0, POSES[5]), (1.3, POSES[7])]
"""How far each window is opened, and the pose it is seen in: answers to several are right more often than one's."""

MOST_DOUBT = 0.7
"""Part of what may be a class, mean over classes, that is not sure to be; beyond it none of that kind is completed.

It goes with the weights of `completion` 0.2.0: necks by points and strokes, which it fails at, have 0.74 and more,
all else that was tried 0.65 at most.
"""

DRAWN_AS = ("boxes", "strokes", "points")
"""What is judged by itself: boxes tell far better than strokes how large a thing is."""

NEAR = 12
"""Pixels around a class within which others are taken for background: farther off may be another piece of it."""


def completion_network() -> ResidualUNet:
    """The network with random weights: it sees a picture, two kinds of strokes and a box, and answers with one mask."""
    return ResidualUNet(4, 1, (24, 48, 96, 128, 128))


@dataclass(frozen=True)
class Window:
    """A square of a slice, in its pixels.

    Attributes:
        row, column: its middle.
        half: of its side.
    """

    row: float
    column: float
    half: float

    @classmethod
    def around(cls, drawn: NDArray[np.bool_], others: NDArray[np.bool_], boxed: bool) -> Window:
        """Around a piece of what was drawn (rows, columns), half as far again as its median pixel is from others.

        A box tells how large a thing is: a fifth more on either side is enough.
        """
        rows, columns = np.nonzero(drawn)
        extent = float(max(np.ptp(rows), np.ptp(columns)) + 1)
        if boxed:
            room = max(3.0, 0.2 * extent)
        else:
            apart = ndimage.distance_transform_edt(~others)[drawn] if others.any() else extent
            room = float(np.clip(1.5 * np.median(apart), LEAST_ROOM, MOST_ROOM))
        return cls((rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2, extent / 2 + room)

    def opened(self, zoom: float) -> Window:
        """One that shows so many times as much."""
        return replace(self, half=zoom * self.half)


@dataclass(frozen=True)
class _Asked:
    """A piece of what was drawn of a class: the class's index, where it is looked for, its box if it has one."""

    k: int
    window: Window
    box: NDArray[np.bool_] | None


def complete(network: nn.Module, data: LabelledSlices, pass_: Pass) -> Tensor:
    """What people drew, and around it what that is surely part of, (slices, size, size) uint8 as pixel labels.

    Slices with masks or corrections, and those on which nothing was drawn, stay as they are. So do all
    of a kind of drawing of which, on average over classes, a part of more than :data:`MOST_DOUBT` is
    doubtful: as where an organ is three pixels wide, or looks like what is around it.
    """
    targets = data.targets
    made, drawn_as = targets.pixels.clone(), _drawn_as(targets)
    areas = torch.zeros(len(DRAWN_AS), 2, targets.presence.shape[1])
    for row, probability in completed(network, data, pass_):
        made[row] = first_said(made[row], sure_of(probability, targets.at(torch.tensor([row]))))
        sure = probability >= SURE
        areas[drawn_as[row]] += torch.stack([sure, (probability > 1 - SURE) & ~sure]).flatten(2).sum(dim=2)
    for kind, (name, own) in enumerate(zip(DRAWN_AS, areas, strict=True)):
        known = own[:, own.sum(dim=0) > 0]
        if not known.numel():
            continue
        doubt = float((known[1] / known.sum(dim=0)).mean())
        if doubt > MOST_DOUBT:
            made[drawn_as == kind] = targets.pixels[drawn_as == kind]
        log.info(
            "%s are %s: where what they mark ends is not to be seen of %.0f %% of it (%.0f %% at most)",
            name,
            "learned from as they were drawn" if doubt > MOST_DOUBT else "completed to masks",
            100 * doubt,
            100 * MOST_DOUBT,
        )
    return made


def _drawn_as(targets: Targets) -> Tensor:
    """Of each slice, which of :data:`DRAWN_AS` is on it, the first of them, (slices,)."""
    boxed, stroked = targets.boxed().any(dim=1), targets.stroked.any(dim=1)
    return torch.where(boxed, 0, torch.where(stroked, 1, 2))


@torch.no_grad()
def completed(network: nn.Module, data: LabelledSlices, pass_: Pass) -> Iterator[tuple[int, Tensor]]:
    """Of each slice that something was drawn on, its index and probabilities of the classes (classes, size, size)."""
    targets = data.targets
    drawn = torch.stack([targets.marked(k).flatten(1).any(dim=1) for k in range(targets.presence.shape[1])], dim=1)
    rows = torch.nonzero(drawn.any(dim=1) & ~targets.whole & ~targets.corrected)[:, 0]
    for number, row in enumerate(rows):
        image = data.images_at(row[None])[:, :1]  # of a CT the window of soft tissue
        yield int(row), _probabilities(network, image, targets.at(row[None]), pass_.chunk)
        pass_.progress((number + 1) / len(rows))


def look(images: Tensor, own: Tensor, others: Tensor, box: Tensor, windows: list[Window]) -> Tensor:
    """What the network sees through windows, (windows, 4, SIDE, SIDE).

    Args:
        images: (windows, 1, size, size), in any unit.
        own, others, box: (windows, size, size) bool.
    """
    picture = through(windows, images, padding="border")
    low, high = (torch.quantile(picture.flatten(1), part, dim=1)[:, None, None, None] for part in (0.02, 0.98))
    marks = torch.stack([own, others, box], dim=1).float()
    coarse = torch.tensor([window.half > 0.65 * SIDE for window in windows])[:, None, None, None]
    seen = through(windows, marks) > 0.4
    # Strokes are thin: from afar, or where one would be lost between two samples, they are seen a pixel wider.
    wider = through(windows, functional.max_pool2d(marks, 3, stride=1, padding=1)) > 0.4
    seen = torch.where(coarse | ~seen.flatten(2).any(dim=2)[:, :, None, None], wider, seen)
    return torch.cat([(picture - low) / (high - low + 1e-6) * 2 - 1, seen.float()], dim=1)


def through(windows: list[Window], planes: Tensor, padding: str = "zeros") -> Tensor:
    """Planes (windows, channels, size, size) as seen through windows, (windows, channels, SIDE, SIDE)."""
    grid = _grid(windows, planes.shape[-1], inward=True)
    return functional.grid_sample(planes, grid, padding_mode=padding, align_corners=False)


def _probabilities(network: nn.Module, image: Tensor, targets: Targets, chunk: int) -> Tensor:
    """Of the classes on one slice (classes, size, size), means over the looks, 0 where none was looked for."""
    pixels, size = targets.pixels[0], image.shape[-1]
    found, empty = torch.zeros(targets.presence.shape[1], size, size), torch.zeros(size, size, dtype=torch.bool)
    # A whole picture of background says no more than its rim.
    rim = functional.max_pool2d((pixels == 0)[None, None].float(), 5, stride=1, padding=2)[0, 0] > 0
    pieces = list(_asked(targets))
    for asked in (pieces[first : first + chunk] for first in range(0, len(pieces), chunk)):
        own = torch.stack([pixels == each.k + 1 for each in asked])
        others = (pixels > 0) & ~own & (rim | (pixels < BACKGROUND))
        box = torch.stack([empty if each.box is None else torch.from_numpy(each.box) for each in asked])
        looks = [_look(network, image, (own, others, box), asked, *how) for how in LOOKS]
        answers, seen = (torch.stack(part).sum(dim=0) for part in zip(*looks, strict=True))
        for each, probability in zip(asked, torch.where(seen > 0.5, answers / seen, 0), strict=True):
            inside = probability if each.box is None else probability * torch.from_numpy(each.box)
            found[each.k] = torch.maximum(found[each.k], inside)
    return found


def _look(
    network: nn.Module,
    image: Tensor,
    marks: tuple[Tensor, Tensor, Tensor],
    asked: Sequence[_Asked],
    zoom: float,
    pose: Pose,
) -> tuple[Tensor, Tensor]:
    """Probabilities (asked, size, size) by one look at a slice, and which of its pixels that look sees."""
    windows, size = [each.window.opened(zoom) for each in asked], image.shape[-1]
    views = posed(look(image.expand(len(asked), -1, -1, -1), *marks, windows), pose)
    seen = views.to(next(network.parameters()).device, memory_format=torch.channels_last)
    answer = unposed(torch.sigmoid(network(seen).float()).cpu(), pose)
    both = torch.cat([answer, torch.ones_like(answer)], dim=1)
    wide = functional.grid_sample(both, _grid(windows, size, inward=False), align_corners=False)
    return wide[:, 0], wide[:, 1]


def _asked(targets: Targets) -> Iterator[_Asked]:
    """What is to be completed on one slice: boxes, touching ones as one; of classes without any, strokes and points."""
    pixels = targets.pixels[0].numpy()
    for k, boxes in enumerate(targets.boxes[0].numpy() > 0):
        drawn = boxes if boxes.any() else pixels == k + 1
        others = (pixels > 0) & (pixels != k + 1)
        near = boxes if boxes.any() else ndimage.binary_dilation(drawn, np.ones((3, 3)), iterations=2)
        pieces, count = ndimage.label(near)
        for index in range(1, count + 1):
            piece = drawn & (pieces == index)
            yield _Asked(k, Window.around(piece, others, bool(boxes.any())), piece if boxes.any() else None)


def sure_of(probability: Tensor, targets: Targets) -> Tensor:
    """Pixel labels (size, size): a class where it alone is sure; background around it, if all there was drawn."""
    sure = probability >= SURE
    label = torch.where(sure.sum(dim=0) == 1, sure.to(torch.uint8).argmax(dim=0) + 1, 0)
    near = functional.max_pool2d(sure.any(dim=0)[None].float(), 2 * NEAR + 1, stride=1, padding=NEAR)[0] > 0
    told = all(bool(targets.marked(k).any()) or bool(no) for k, no in enumerate(targets.presence[0] == NO))
    around = near & (probability < 1 - SURE).all(dim=0) & told
    return torch.where(around, BACKGROUND, label).to(torch.uint8)


def _grid(windows: list[Window], size: int, inward: bool) -> Tensor:
    """Where windows' pixels lie in slices of some size, or the slices' pixels in windows; for ``grid_sample``."""
    turn = torch.zeros(len(windows), 2, 3)
    for place, window in zip(turn, windows, strict=True):
        zoom = 2 * window.half / size
        middle = torch.tensor([2 * window.column + 1, 2 * window.row + 1]) / size - 1
        place[0, 0] = place[1, 1] = zoom if inward else 1 / zoom
        place[:, 2] = middle if inward else -middle / zoom
    side = SIDE if inward else size
    return functional.affine_grid(turn, [len(windows), 1, side, side], align_corners=False)
