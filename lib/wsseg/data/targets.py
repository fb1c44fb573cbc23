"""What labels of any kind say of slices, on the network's grid: the form in which a method learns from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.nn import functional

from wsseg.labels.space import BACKGROUND, UNKNOWN, YES


@dataclass(frozen=True)
class Targets:
    """What is known of some slices, however it was told; unknown where nothing was.

    A new field is carried through all of the below by itself: tensors of three
    axes or more are maps that move with the image, others do not. A map that says
    nothing of any slice takes no memory: it is one zero, expanded.

    Attributes:
        presence: (slices, classes) int8 of 1 yes, 0 no, -1 unknown.
        pixels: (slices, size, size) uint8; 0 not labelled, 1..N the classes,
            255 background. A slice with a complete mask has no 0.
        implied: (slices, size, size) uint8; 255 where nobody drew but background follows from what is drawn, else 0.
        boxes: (slices, classes, size, size) uint8; 0 outside the boxes of a class, else
            16 times the row band and the column band, so that the box is known in
            whatever way the map is moved; each is 1 and BANDS at the outermost voxels, which
            are there because boxes are loose, and 2 to BANDS - 1 evenly in between.
        whole: (slices,) bool, where every pixel is labelled: there is a complete mask.
        stroked: (slices, classes) bool, where a class is drawn by strokes, which reach through most of it.
        about: (slices, classes) float32, roughly the area of a class in the network's pixels, where a point on it
            tells it; 0 unknown.
        corrected: (slices,) bool, where somebody said that a mask was wrong, which says nothing of the rest of it.
        side: (slices, classes) uint8, the only side of the patient that a class may be on, as in ``half``; 0 unknown.
        half: (slices, size, size) uint8; 1 surely the patient's left, 2 right, 0 near the middle or not known.
        texts: the sentence on each slice's scan, "" where there is none.
    """

    presence: Tensor
    pixels: Tensor
    implied: Tensor
    boxes: Tensor
    whole: Tensor
    stroked: Tensor
    about: Tensor
    corrected: Tensor
    side: Tensor
    half: Tensor
    texts: tuple[str, ...]

    @classmethod
    def unknown(cls, slices: int, classes: int, size: Sequence[int]) -> Targets:
        """Nothing known of so many slices of that size (rows, columns)."""
        return Targets(
            presence=torch.full((slices, classes), UNKNOWN, dtype=torch.int8),
            pixels=_nothing(slices, *size),
            implied=_nothing(slices, *size),
            boxes=_nothing(slices, classes, *size),
            whole=torch.zeros(slices, dtype=torch.bool),
            stroked=torch.zeros(slices, classes, dtype=torch.bool),
            about=torch.zeros(slices, classes),
            corrected=torch.zeros(slices, dtype=torch.bool),
            side=torch.zeros(slices, classes, dtype=torch.uint8),
            half=_nothing(slices, *size),
            texts=("",) * slices,
        )

    @classmethod
    def together(cls, parts: Sequence[Targets]) -> Targets:
        """Those of several scans, one after the other."""
        return Targets(
            **{name: _together([getattr(part, name) for part in parts]) for name in _TENSORS},
            texts=sum((part.texts for part in parts), ()),
        )

    def over(self, other: Targets) -> Targets:
        """What these say, and what the others say where these are silent.

        A class that either says is on a slice is: that it is not may only follow from what else was drawn.
        """
        return Targets(
            presence=torch.maximum(self.presence, other.presence),  # yes before no before unknown
            pixels=first_said(self.pixels, other.pixels),
            implied=first_said(self.implied, other.implied),
            boxes=first_said(self.boxes, other.boxes),
            whole=self.whole | other.whole,
            stroked=self.stroked | other.stroked,
            about=torch.maximum(self.about, other.about),
            corrected=self.corrected | other.corrected,
            side=first_said(self.side, other.side),
            half=first_said(self.half, other.half),
            texts=tuple(own or given for own, given in zip(self.texts, other.texts, strict=True)),
        )

    def at(self, rows: Tensor) -> Targets:
        """Those of some slices, by their indices (n,)."""
        texts = tuple(self.texts[int(row)] for row in rows)
        return self._each(
            lambda tensor: tensor[:1].expand(len(rows), *tensor.shape[1:]) if _says_nothing(tensor) else tensor[rows],
            texts,
        )

    def to(self, device: torch.device) -> Targets:
        """The same on a device."""
        return self._each(lambda tensor: tensor.to(device), self.texts)

    def moved(self, move: Callable[[Tensor], Tensor], size: Sequence[int]) -> Targets:
        """With all maps, each as (slices, planes, size, size), put elsewhere by a function: so many rows, columns."""

        def put(tensor: Tensor) -> Tensor:
            if tensor.ndim < 3:
                return tensor
            return _nothing(*tensor.shape[:-2], *size) if _says_nothing(tensor) else _map(tensor, move)

        return self._each(put, self.texts)

    def marked(self, k: int) -> Tensor:
        """Where the class of that index is drawn or lies in a box, (slices, size, size) bool."""
        return (self.pixels == k + 1) | (self.boxes[:, k] > 0)

    def drawn_classes(self) -> Tensor:
        """Which classes are drawn on any slice, by strokes or as a whole, (classes,) bool."""
        whole = self.pixels[self.whole]
        return self.stroked.any(dim=0) | torch.stack([(whole == k + 1).any() for k in range(self.presence.shape[1])])

    def boxed(self) -> Tensor:
        """On which slices there is a box of a class, (slices, classes) bool."""
        return self.boxes.flatten(2).any(dim=2).bool()

    def without_marks_of(self, classes: Tensor) -> Targets:
        """Without what is drawn or boxed of some classes, (classes,) bool; presence stays.

        So does background while any other class is there: beside marks of none it would outweigh all strokes.
        """
        if not classes.any():
            return self
        about = self.about * ~classes
        if not ((self.presence == YES).any(dim=0) & ~classes).any():
            return replace(self, pixels=_nothing(*self.pixels.shape), boxes=_nothing(*self.boxes.shape), about=about)
        marked = torch.zeros(256, dtype=torch.bool)
        marked[1 : len(classes) + 1] = classes
        pixels = self.pixels.masked_fill(marked[self.pixels.long()], 0)
        boxes = self.boxes if _says_nothing(self.boxes) else self.boxes * ~classes[:, None, None]
        return replace(self, pixels=pixels, boxes=boxes, about=about)

    def seen_in_part(self) -> Targets:
        """Those of parts of the slices: a class on a slice need not be in its part, unless it is drawn there."""
        drawn = torch.stack([self.marked(k).flatten(1).any(dim=1) for k in range(self.presence.shape[1])], dim=1)
        return replace(self, presence=torch.where((self.presence == YES) & ~drawn, UNKNOWN, self.presence))

    def in_squares(self, side: int) -> Targets:
        """Those of a picture, which is one slice, for each of the squares that cover it."""
        count = len(squares(self.pixels[:, None], side, around=0))

        def cut(tensor: Tensor) -> Tensor:
            if tensor.ndim > 2:
                return _map(tensor, lambda planes: squares(planes, side, around=0))
            return tensor.repeat_interleave(count, dim=0)

        return self._each(cut, self.texts * count)

    def _each(self, change: Callable[[Tensor], Tensor], texts: tuple[str, ...]) -> Targets:
        return Targets(**{name: change(getattr(self, name)) for name in _TENSORS}, texts=texts)

    def with_pixels(self, pixels: Tensor) -> Targets:
        """Under other pixel labels, (slices, size, size) uint8, from which nothing more follows."""
        return replace(self, pixels=pixels, implied=_nothing(*pixels.shape))

    def with_implied(self) -> Targets:
        """With pixel labels that hold what follows from them too."""
        return self.with_pixels(first_said(self.pixels, self.implied))

    def known_pixels(self) -> tuple[Tensor, Tensor]:
        """Class indices (slices, size, size) with background as 0, and where they are known at all."""
        return pixel_target(self.pixels)


def _nothing(*shape: int) -> Tensor:
    """A map that says nothing."""
    return torch.zeros((), dtype=torch.uint8).expand(shape)


def _says_nothing(tensor: Tensor) -> bool:
    return tensor.numel() > 0 and not any(tensor.stride())


def _together(parts: Sequence[Tensor]) -> Tensor:
    if all(map(_says_nothing, parts)):
        return parts[0][:1].expand(sum(map(len, parts)), *parts[0].shape[1:])
    return torch.cat(list(parts))


_TENSORS = tuple(field.name for field in fields(Targets) if field.type == "Tensor")


def _map(tensor: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """A map (slices, ..., rows, columns) changed as (slices, planes, rows, columns)."""
    found = change(tensor.flatten(1, -3) if tensor.ndim > 3 else tensor[:, None])
    return found.reshape(len(found), *tensor.shape[1:-2], *found.shape[-2:])


def pixel_target(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel labels (..., uint8) as class indices with background as 0, and where they are known at all."""
    labels = pixels.long()
    return torch.where(labels == BACKGROUND, 0, labels), labels > 0


def first_said(first: Tensor, second: Tensor) -> Tensor:
    """Pixel labels of the first, of the second where it has none: what people gave wins over what is made."""
    if _says_nothing(first) or _says_nothing(second):
        return second if _says_nothing(first) else first
    return torch.where(first > 0, first, second)


def squares(maps: Tensor, side: int, around: float) -> Tensor:
    """Maps (1, planes, rows, columns) of a picture in the fewest squares that cover it."""
    rows, columns = maps.shape[-2:]
    padded = functional.pad(maps, (0, max(0, side - columns), 0, max(0, side - rows)), value=around)
    tops, lefts = _starts(rows, side), _starts(columns, side)
    return torch.cat([padded[..., top : top + side, left : left + side] for top in tops for left in lefts])


def _starts(length: int, side: int) -> list[int]:
    """Where squares begin that cover a length, evenly."""
    count = max(1, -(-length // side))
    last = max(0, length - side)
    return [round(last * index / max(1, count - 1)) for index in range(count)]
