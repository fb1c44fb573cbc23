from __future__ import annotations

import numpy as np

from wsseg.evaluation.curve import volume_curve

RED, BLUE = (200, 30, 30), (30, 30, 200)


def test_a_line_for_each_cavity_and_two_marks() -> None:
    beat = [100 + 40 * float(np.cos(2 * np.pi * k / 20)) for k in range(20)]
    lines = {"left": beat, "right": [ml + 15 for ml in beat]}
    colors = {"left": RED, "right": BLUE}
    picture = np.asarray(volume_curve(lines, colors, {"ED": 0, "ES": 10}, "left ejects 57 %"))
    for color in (RED, BLUE):
        rows, columns = np.nonzero((picture == color).all(axis=-1) & (np.arange(picture.shape[1]) < 700))
        assert np.ptp(columns) > 500
        lowest = columns[rows == rows.max()].mean()
        assert abs(lowest - (70 + 10.5 / 20 * 710)) < 12, "emptiest where it is marked"
