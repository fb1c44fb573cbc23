from __future__ import annotations

import numpy as np

from shapes import KINDS, NUMBERS, make_shapes


def test_a_sentence_says_how_many_of_which_where() -> None:
    seen = set()
    for seed in range(60):
        made = make_shapes(seed)
        number, kind, *rest = made.text.split()
        meant = {int(n) for n in np.unique(made.cells[made.mask])}
        assert NUMBERS.index(number) == min(len(meant), 4)
        assert kind in KINDS
        for n in meant:
            rows, columns = np.nonzero(made.cells == n)
            place = {"left": columns, "right": columns, "upper": rows, "lower": rows}
            if len(rest) > 1:
                side = rest[3]
                assert (place[side].mean() < 33) if side in ("left", "upper") else (place[side].mean() > 31)
        assert made.cells.max() > len(meant) or "side" not in made.text
        seen |= {number, kind, *rest[-2:-1]}
    assert seen >= {*KINDS, "no", "one", "left", "right", "upper", "lower"}


def test_the_same_seed_makes_the_same_and_colour_tells_nothing() -> None:
    one, again = make_shapes(5), make_shapes(5)
    assert np.array_equal(one.picture, again.picture)
    assert one.text == again.text
    meant, others = one.picture[one.mask], one.picture[(one.cells > 0) & ~one.mask]
    assert np.abs(meant.mean(axis=0) - others.mean(axis=0)).max() < 2
