"""Words for sides in a sentence, which change places when its picture is mirrored or turned."""

from __future__ import annotations

import re

Step = tuple[int, int]
"""Rows down and columns to the right."""

_WORDS: dict[str, Step] = {
    "left": (0, -1),
    "right": (0, 1),
    "upper": (-1, 0),
    "lower": (1, 0),
    "top": (-1, 0),
    "bottom": (1, 0),
    "above": (-1, 0),
    "below": (1, 0),
}

_KINDS = (("upper", "lower"), ("top", "bottom"), ("above", "below"))
"""Words for up and down that stand in the same places of a sentence; left and right stand in all of them."""

_PAIR = re.compile(rf"\b({'|'.join(_WORDS)})(?:([ -])({'|'.join(_WORDS)}))?\b", re.IGNORECASE)


def turned(text: str, flip: bool, quarters: int) -> str:
    """A sentence on a picture as it is true of the picture mirrored, upside down, and then turned.

    "upper right" becomes "lower right" where the picture is flipped, "upper
    left" where it is turned by a quarter to the left. English only; other words stay.

    Args:
        flip: the picture is mirrored, its first row becomes the last.
        quarters: turns of 90 degrees counter-clockwise after that.
    """
    if not flip and quarters % 4 == 0:
        return text

    def replaced(found: re.Match[str]) -> str:
        first, between, second = found.group(1), found.group(2), found.group(3)
        words = [_moved(word, flip, quarters) for word in (first, second) if word]
        # English names height first: "upper right", never "right upper".
        words.sort(key=lambda word: _WORDS[word][0] == 0)
        if first[0].isupper():
            words[0] = words[0].capitalize()
        return (between or "").join(words)

    return _PAIR.sub(replaced, text)


def _moved(word: str, flip: bool, quarters: int) -> str:
    down, right = _WORDS[word.lower()]
    down = -down if flip else down
    for _ in range(quarters % 4):
        down, right = -right, down
    if not down:
        return "left" if right < 0 else "right"
    up_and_down = next((kind for kind in _KINDS if word.lower() in kind), _KINDS[0])
    return up_and_down[0 if down < 0 else 1]
