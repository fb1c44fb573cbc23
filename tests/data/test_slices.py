from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import tissue
from wsseg.data.augment import USUAL, Variety
from wsseg.data.kinds.registry import KINDS, MASKS, PRESENCE, SCRIBBLES, TEXT
from wsseg.data.preprocess import View
from wsseg.data.slices import LabelledSlices, load_slices
from wsseg.data.targets import Targets
from wsseg.errors import NotFoundError, WssegError
from wsseg.images.folder import drawn_beside, reference_of, scan_files
from wsseg.labels.space import BACKGROUND, LabelSpace
from wsseg.labels.tables import PRESENCE_FILE

TUMOR = LabelSpace(("tumor",))
NUCLEUS = LabelSpace(("nucleus",))
TILES = View(32, colour=True)


@pytest.fixture(scope="module")
def slices(phantom_data: Path) -> LabelledSlices:
    return load_slices(phantom_data, TUMOR, View(32), (PRESENCE,))


def test_half_of_every_batch_shows_the_class(slices: LabelledSlices) -> None:
    batch = slices.batch(seed=0, step=3, samples=range(16))
    assert batch.images.shape == (16, 1, 32, 32)
    assert batch.targets.presence[:, 0].tolist() == [0, 1] * 8
    assert batch.images.min() >= -1
    assert batch.images.max() <= 1


def test_a_sample_is_the_same_whoever_draws_it(slices: LabelledSlices) -> None:
    whole = slices.batch(seed=0, step=3, samples=range(8))
    share = slices.batch(seed=0, step=3, samples=range(1, 8, 2))
    torch.testing.assert_close(whole.targets.presence[1::2], share.targets.presence)
    for name in ("images", "noise", "uniform"):
        torch.testing.assert_close(getattr(whole, name)[1::2], getattr(share, name))
    assert not torch.equal(whole.noise, slices.batch(seed=0, step=4, samples=range(8)).noise)


def test_presence_stays_with_its_slice(phantom_data: Path, slices: LabelledSlices) -> None:
    """The stored order, reversed or not, is that of the table: masks tell."""
    from wsseg.evaluation.cases import load_cases

    expected = torch.cat([torch.from_numpy(c.reference.any(axis=(0, 1))) for c in load_cases(phantom_data, TUMOR)])
    assert torch.equal(slices.targets.presence[:, 0] == 1, expected)


@pytest.mark.parametrize("background", [0, BACKGROUND], ids=["nothing is drawn", "all is background"])
def test_slices_without_the_class_are_seen_where_it_is_on_others(background: int) -> None:
    """Squares that lie anywhere seldom show what is in its place, such as a kidney below the spleen."""
    count, size = 10, 128
    known = Targets.unknown(count, 1, (size, size))
    pixels, presence = torch.full_like(known.pixels, background), torch.zeros_like(known.presence)
    pixels[0], presence[0] = 0, 1
    pixels[0, 4:12, 4:12] = 1  # in the first corner
    rows = torch.linspace(-1, 1, size)[:, None].expand(size, size)
    images = torch.maximum(rows, rows.T).expand(count, 1, -1, -1).half()  # dark in that corner alone
    data = LabelledSlices(
        images, replace(known, pixels=pixels, presence=presence), False, ("a",), torch.zeros(count).long(), ()
    )
    variety = Variety(angle=0, scale=0, shift=0, gamma=0, gain=0, crop=32, mirrored=False, aimed=True)
    batch = data.batch(seed=0, step=0, samples=range(200), variety=variety)
    without = batch.images[batch.targets.presence[:, 0] == 0]
    dark = (without.flatten(1).mean(dim=1) < -0.5).float().mean()
    assert 0.35 < dark < 0.65


def test_some_samples_show_no_class_for_certain() -> None:
    """Of slices above an organ few would be drawn by chance, and masks would go on there."""
    count = 100
    known = Targets.unknown(count, 1, (16, 16))
    pixels, presence = torch.zeros(count, 16, 16, dtype=torch.uint8), known.presence.clone()
    pixels[:90, 2], presence[:90] = 1, 1  # ninety show the class, two do not, eight nobody has looked at
    pixels[90:92], presence[90:92] = BACKGROUND, 0
    images, case = torch.zeros(count, 1, 16, 16).half(), torch.zeros(count).long()
    targets = replace(known, pixels=pixels, presence=presence)
    data = LabelledSlices(images, targets, False, ("a",), case, (SCRIBBLES,))
    shown = [data.batch(0, 0, range(400), Variety(aimed=aimed)).targets.presence[:, 0] for aimed in (True, False)]
    without = [float((each == 0).float().mean()) for each in shown]
    assert 0.11 < without[0] < 0.22
    assert without[1] == 0


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
    for name in ("scan.nii.gz", "scan.png"):
        (tmp_path / name).touch()
    with pytest.raises(WssegError, match=r"scan\.png: is the same case as scan\.nii\.gz by its name, keep one"):
        scan_files(tmp_path)
    with pytest.raises(WssegError, match="column lesion is missing"):
        load_slices(phantom_data, LabelSpace(("lesion",)), View(32), (PRESENCE,))


def test_more_scans_than_memory_holds_are_refused(phantom_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one sentence, and not by being killed an hour later."""
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=1_000_000))
    with pytest.raises(WssegError, match=r"\d+ scans of together \d+ slices take \d+\.\d GB of memory to train on"):
        load_slices(phantom_data, TUMOR, View(256), (PRESENCE,))


def everywhere(slices: LabelledSlices, state: int) -> LabelledSlices:
    presence = torch.full_like(slices.targets.presence, state)
    return replace(slices, targets=replace(slices.targets, presence=presence))


def test_labels_of_one_kind_only_teach_nothing(slices: LabelledSlices) -> None:
    for state, word in ((1, "absent"), (0, "present")):
        with pytest.raises(WssegError, match=f"tumor marked {word}"):
            everywhere(slices, state).check(TUMOR)


def test_presence_of_the_wrong_length_is_refused(phantom_data: Path, tmp_path: Path) -> None:
    for file in phantom_data.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    table = tmp_path / PRESENCE_FILE
    lines = table.read_text("utf-8").splitlines()
    table.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    with pytest.raises(WssegError, match=r"has \d+ slices, but presence is listed for \d+"):
        load_slices(tmp_path, TUMOR, View(32), (PRESENCE,))


def test_neighbours_come_from_the_same_scan_only(slices: LabelledSlices) -> None:
    found = slices._with_neighbours(torch.arange(len(slices.case)), 1)
    assert torch.equal(slices.case[found], slices.case[:, None].expand(-1, 3))
    ends = slices.case.diff() != 0
    steps = found.diff(dim=1)
    assert torch.equal(steps[:-1, 1] == 0, ends)
    assert torch.equal(steps[1:, 0] == 0, ends)
    batch = slices.batch(seed=0, step=3, samples=range(16), variety=replace(USUAL, neighbours=1))
    assert batch.images.shape == (16, 3, 32, 32)


def test_only_kinds_that_there_are_are_sampled_and_recorded(phantom_data: Path) -> None:
    """Any drawn pixel could be of a correction, a stroke or a point."""
    found = load_slices(phantom_data, TUMOR, View(32), tuple(KINDS.values()))
    assert {kind.name for kind in found.kinds} == {"masks", "presence"}


def test_masks_are_complete_pixel_labels(phantom_data: Path) -> None:
    found = load_slices(phantom_data, TUMOR, View(32), (MASKS,))
    assert set(found.targets.pixels.unique().tolist()) <= {0, 1, BACKGROUND}
    assert (found.targets.pixels > 0).flatten(1).any(dim=1).all(), "slices without a finding too"
    batch = found.batch(seed=0, step=0, samples=range(8))
    assert (batch.targets.pixels > 0).flatten(1).any(dim=1).all()


class TestPictures:
    def test_tiles_cover_a_picture_evenly_with_labels_and_texts(self, pictures: Path) -> None:
        found = load_slices(pictures, NUCLEUS, TILES, (MASKS,), (TEXT,))
        assert found.cases == ("tile_0", "tile_1", "tile_2", "tile_3")
        assert found.targets.texts == tuple(f"Nuclei, tile number {k}." for k in range(4) for _ in range(4))
        assert found.images.shape == (16, 3, 32, 32), "48 x 64 pixels are 2 x 2 tiles each"
        assert found.case.tolist() == [k for k in range(4) for _ in range(4)]
        assert set(found.targets.pixels.unique().tolist()) == {1, BACKGROUND}
        red = (found.images[:, 0] + 1) * 127.5
        assert red[found.targets.pixels == 1].max() < 150 < red[found.targets.pixels == BACKGROUND].min(), (
            "labels lie on what they label"
        )
        whole = sum(int(tissue(seed)[1].sum()) for seed in range(4))
        assert int((found.targets.pixels == 1).sum()) >= whole

    def test_tiles_and_their_labels_are_upright(self, tmp_path: Path) -> None:
        picture, mask = tissue(0)
        Image.fromarray(picture).save(tmp_path / "a.png")
        Image.fromarray(255 * mask).save(tmp_path / "a_label.png")
        found = load_slices(tmp_path, NUCLEUS, TILES, (MASKS,))
        corners = [(0, 0), (0, 32), (16, 0), (16, 32)]
        for tile, labels, (top, left) in zip(found.images, found.targets.pixels, corners, strict=True):
            there = slice(top, top + 32), slice(left, left + 32)
            np.testing.assert_allclose((tile.movedim(0, -1).numpy() + 1) * 127.5, picture[there], atol=0.15)
            assert np.array_equal(labels.numpy() == 1, mask[there] == 1)

    def test_a_batch_knows_its_sentences(self, pictures: Path) -> None:
        found = load_slices(pictures, NUCLEUS, TILES, (MASKS,), (TEXT,))
        batch = found.batch(seed=0, step=0, samples=range(12))
        assert batch.images.shape == (12, 3, 32, 32)
        assert len(set(batch.targets.texts)) == 4
        assert set(batch.targets.texts) == set(found.targets.texts)
        some = found.only(["tile_1", "tile_3"])
        assert some.targets.texts == found.targets.texts[4:8] + found.targets.texts[12:]
        assert some.case.tolist() == [0] * 4 + [1] * 4

    def test_around_a_small_picture_all_is_white_and_unlabelled(self, tmp_path: Path) -> None:
        picture, mask = tissue(0, width=20, height=40)
        Image.fromarray(picture).save(tmp_path / "a.png")
        Image.fromarray(255 * mask).save(tmp_path / "a_label.png")
        found = load_slices(tmp_path, NUCLEUS, TILES, (MASKS,))
        assert found.images.shape == (2, 3, 32, 32)
        assert found.targets.texts == ("", "")
        around = found.targets.pixels == 0
        assert int(around.sum()) == 2 * 32 * 12
        assert (found.images.movedim(1, -1)[around] == 1).all()

    def test_pictures_alone_need_no_label(self, pictures: Path, tmp_path: Path) -> None:
        for seed in range(2):
            (tmp_path / f"tile_{seed}.png").write_bytes((pictures / f"tile_{seed}.png").read_bytes())
        found = load_slices(tmp_path, NUCLEUS, TILES, ())
        assert len(found.images) == 8
        assert not found.targets.pixels.any()
        assert len(found.batch(seed=0, step=0, samples=range(3)).images) == 3
        with pytest.raises(WssegError, match="no scan has a _label file beside it"):
            load_slices(tmp_path, NUCLEUS, TILES, (MASKS,))

    def test_pictures_without_a_mask_are_left_out(self, pictures: Path, tmp_path: Path) -> None:
        for name in ("tile_0.png", "tile_1.png", "tile_1_label.png"):
            (tmp_path / name).write_bytes((pictures / name).read_bytes())
        assert drawn_beside(tmp_path, "tile_0", "label") is None
        assert load_slices(tmp_path, NUCLEUS, TILES, (MASKS,)).cases == ("tile_1",)

    @pytest.mark.parametrize(
        ("mask", "sentence"),
        [
            (np.zeros((48, 64), np.uint8), "no scan has a finished mask of nucleus"),
            (np.full((48, 64), 255, np.uint8), "no scan has a finished mask of background"),
            (np.full((64, 48), 255, np.uint8), "a_label.png: is on another grid than its scan"),
            (np.full((48, 64, 3), 255, np.uint8), "a_label.png: is a colour picture, a mask holds class values"),
            (np.full((48, 64), 7, np.uint8), "a_label.png: holds 7, expected are 0 .background. and 1 to 1"),
        ],
    )
    def test_masks_that_teach_nothing(self, tmp_path: Path, mask: np.ndarray, sentence: str) -> None:
        Image.fromarray(tissue(0)[0]).save(tmp_path / "a.png")
        Image.fromarray(mask).save(tmp_path / "a_label.png")
        with pytest.raises(WssegError, match=sentence):
            load_slices(tmp_path, NUCLEUS, TILES, (MASKS,))

    def test_grey_and_colour_do_not_mix(self, pictures: Path, phantom_data: Path) -> None:
        with pytest.raises(WssegError, match="the scan holds grey values, the model reads colour pictures"):
            load_slices(phantom_data, TUMOR, TILES, (MASKS,))
        with pytest.raises(WssegError, match="the scan holds colour pictures, the model reads grey values"):
            load_slices(pictures, NUCLEUS, View(32), (MASKS,))
