"""Volumes over a beat as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 800, 480
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 50, 50
"""Pixels around the axes."""

INK, FAINT, PAPER = (40, 40, 40), (215, 215, 215), (255, 255, 255)
LINES = 5
"""Most millilitre lines above zero, of 1, 2 or 5 times a power of ten."""


def volume_curve(
    millilitres: Mapping[str, Sequence[float]],
    colors: Mapping[str, tuple[int, int, int]],
    marked: Mapping[str, int],
    title: str,
) -> Image.Image:
    """A line for each cavity over the frames, and where end-diastole and end-systole are.

    Args:
        millilitres: volumes in the order of frames, by cavity.
        colors: red, green, blue by cavity.
        marked: frames, from 0, by what is written at them.
        title: written above.
    """
    picture = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(16)
    frames = len(next(iter(millilitres.values())))
    step = _step(max(max(values) for values in millilitres.values()))
    top = step * (1 + int(max(max(values) for values in millilitres.values()) // step))

    def place(frame: float, ml: float) -> tuple[float, float]:
        across = (frame + 0.5) / frames
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - ml / top * (HEIGHT - TOP - BOTTOM)

    for ml in range(0, top + 1, step):
        height = place(0, ml)[1]
        draw.line([(LEFT, height), (WIDTH - RIGHT, height)], FAINT)
        draw.text((LEFT - 8, height), str(ml), INK, font, anchor="rm")
    for frame in range(0, frames, max(1, frames // 15)):
        draw.text((place(frame, 0)[0], HEIGHT - BOTTOM + 8), str(frame + 1), INK, font, anchor="mt")
    draw.text((WIDTH - RIGHT, HEIGHT - 8), "frame", INK, font, anchor="rb")
    draw.text((8, TOP - 12), "ml", INK, font, anchor="lb")
    draw.text((LEFT, 8), title, INK, font)
    for word, frame in marked.items():
        across = place(frame, 0)[0]
        draw.line([(across, TOP), (across, HEIGHT - BOTTOM)], INK)
        draw.text((across + 4, TOP - 4), word, INK, font, anchor="lb")
    for row, (name, values) in enumerate(millilitres.items()):
        points = [place(frame, ml) for frame, ml in enumerate(values)]
        draw.line(points, colors[name], 3, joint="curve")
        for x, y in points:
            draw.ellipse([x - 4, y - 4, x + 4, y + 4], colors[name])
        draw.text((WIDTH - RIGHT, TOP + 6 + 20 * row), name, colors[name], font, anchor="rt")
    return picture


def _step(most: float) -> int:
    """Millilitres from line to line, at least 1."""
    power = 1
    while True:
        for digit in (1, 2, 5):
            if most / (digit * power) <= LINES:
                return digit * power
        power *= 10
