from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from wsseg.data.augment import USUAL
from wsseg.data.preprocess import View
from wsseg.data.slices import LabelledSlices, load_slices, reference_of, scan_files
from wsseg.errors import NotFoundError, WssegError
from wsseg.labels import PRESENCE_FILE, LabelSpace

TUMOR = LabelSpace(("tumor",))


@pytest.fixture(scope="module")
def slices(phantom_data: Path) -> LabelledSlices:
    return load_slices(phantom_data, TUMOR, View(32))


def test_half_of_every_batch_shows_the_class(slices: LabelledSlices) -> None:
    batch = slices.batch(seed=0, step=3, samples=range(16))
    assert batch.images.shape == (16, 1, 32, 32)
    assert batch.presence[:, 0].tolist() == [0, 1] * 8
    assert batch.images.min() >= -1
    assert batch.images.max() <= 1


def test_a_sample_is_the_same_whoever_draws_it(slices: LabelledSlices) -> None:
    whole = slices.batch(seed=0, step=3, samples=range(8))
    share = slices.batch(seed=0, step=3, samples=range(1, 8, 2))
    for name in ("images", "presence", "noise", "uniform"):
        torch.testing.assert_close(getattr(whole, name)[1::2], getattr(share, name))
    assert not torch.equal(whole.noise, slices.batch(seed=0, step=4, samples=range(8)).noise)


def test_presence_stays_with_its_slice(phantom_data: Path, slices: LabelledSlices) -> None:
    """The stored order, reversed or not, is that of the table: masks tell."""
    from wsseg.evaluate import load_cases

    expected = torch.cat([torch.from_numpy(c.reference.any(axis=(0, 1))) for c in load_cases(phantom_data, TUMOR)])
    assert torch.equal(slices.presence[:, 0] == 1, expected)


def test_masks_are_never_taken_for_scans(phantom_data: Path) -> None:
    assert all(not case.endswith("_label") for case in scan_files(phantom_data))
    first = next(iter(scan_files(phantom_data).values()))
    assert reference_of(first).name.startswith(first.name.split(".")[0])
    with pytest.raises(NotFoundError, match="_label mask beside it"):
        reference_of(reference_of(first))


def test_folders_without_scans_or_labels_are_refused(phantom_data: Path, tmp_path: Path) -> None:
    with pytest.raises(WssegError, match="no such folder"):
        scan_files(tmp_path / "none")
    with pytest.raises(WssegError, match="holds no scan"):
        scan_files(tmp_path)
    with pytest.raises(WssegError, match="column lesion is missing"):
        load_slices(phantom_data, LabelSpace(("lesion",)), View(32))


def test_labels_of_one_kind_only_teach_nothing(slices: LabelledSlices) -> None:
    for state, word in ((1, "absent"), (0, "present")):
        with pytest.raises(WssegError, match=f"tumor marked {word}"):
            replace(slices, presence=torch.full_like(slices.presence, state)).check(TUMOR)


def test_presence_of_the_wrong_length_is_refused(phantom_data: Path, tmp_path: Path) -> None:
    for file in phantom_data.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    table = tmp_path / PRESENCE_FILE
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(WssegError, match=r"has \d+ slices, but presence is listed for \d+"):
        load_slices(tmp_path, TUMOR, View(32))


def test_neighbours_come_from_the_same_scan_only(slices: LabelledSlices) -> None:
    found = slices._with_neighbours(list(range(len(slices.case))), 1)
    assert torch.equal(slices.case[found], slices.case[:, None].expand(-1, 3))
    ends = slices.case.diff() != 0
    steps = found.diff(dim=1)
    assert torch.equal(steps[:-1, 1] == 0, ends)
    assert torch.equal(steps[1:, 0] == 0, ends)
    batch = slices.batch(seed=0, step=3, samples=range(16), variety=replace(USUAL, neighbours=1))
    assert batch.images.shape == (16, 3, 32, 32)
