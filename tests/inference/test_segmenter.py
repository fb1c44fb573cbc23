from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import MakePackage, tissue
from wsseg.data.kinds.registry import MASKS, PRESENCE
from wsseg.data.preprocess import Stack, View, prepare
from wsseg.data.slices import load_slices
from wsseg.errors import WssegError
from wsseg.evaluation.metrics import dice_of
from wsseg.images.folder import scan_files
from wsseg.images.formats.table import read_volume
from wsseg.images.scan import read_scan
from wsseg.images.volume import Volume
from wsseg.inference.device import pick_device, with_less_memory
from wsseg.inference.segmenter import EVERYWHERE, Segmenter, segment_file
from wsseg.methods.base import Prediction
from wsseg.methods.registry import load_method
from wsseg.methods.shared.masks import UNLIKELY
from wsseg.models.package import ModelPackage
from wsseg.training.loop import train
from wsseg.training.settings import TrainSettings


@pytest.fixture
def scan(phantom_data: Path) -> Volume:
    return read_scan(next(iter(scan_files(phantom_data).values())))


@pytest.fixture
def segmenter(make_package: MakePackage) -> Segmenter:
    return Segmenter(make_package().folder, "cpu")


def test_mask_is_on_the_scans_own_grid(segmenter: Segmenter, scan: Volume) -> None:
    result = segmenter(scan, np.ones((1, scan.voxels.shape[2]), np.int8))
    assert result.mask.voxels.dtype == np.uint8
    assert result.mask.voxels.shape == scan.voxels.shape
    assert result.mask.voxels.any()
    assert np.array_equal(result.mask.affine, scan.affine)
    assert result.presence.tolist() == [[1.0] * scan.voxels.shape[2]]


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)])
def test_storage_order_does_not_change_the_mask(
    segmenter: Segmenter, scan: Volume, axes: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    """The same patient stored otherwise gets the same mask, stored otherwise."""
    plain = segmenter(scan).mask.voxels
    assert plain.any()
    turned = scan.voxels.transpose(axes)[:: flips[0], :: flips[1], :: flips[2]]
    affine = np.eye(4)
    for new, (old, flip) in enumerate(zip(axes, flips, strict=True)):
        affine[:3, new] = scan.affine[:3, old] * flip
        if flip < 0:
            affine[:3, 3] += scan.affine[:3, old] * (scan.voxels.shape[old] - 1)
    affine[:3, 3] += scan.affine[:3, 3]
    found = segmenter(Volume(np.ascontiguousarray(turned), affine)).mask.voxels
    expected = plain.transpose(axes)[:: flips[0], :: flips[1], :: flips[2]]
    # Noise is drawn per slice in anatomical order, so even that agrees.
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_any_real_type_works(segmenter: Segmenter, scan: Volume, kind: type) -> None:
    given = np.ones((1, scan.voxels.shape[2]), np.int8)
    same = segmenter(Volume(scan.voxels.astype(kind), scan.affine), given).mask.voxels
    assert same.any()
    assert np.array_equal(same, segmenter(scan, given).mask.voxels)


def test_a_single_slice_works(segmenter: Segmenter, scan: Volume) -> None:
    result = segmenter(Volume(scan.voxels[:, :, 4:5], scan.affine), np.ones((1, 1), np.int8))
    assert result.mask.voxels.shape == (*scan.voxels.shape[:2], 1)


def test_presence_of_the_wrong_shape_is_refused(segmenter: Segmenter, scan: Volume) -> None:
    with pytest.raises(WssegError, match=r"presence: has shape \(1, 3\), expected"):
        segmenter(scan, np.ones((1, 3), np.int8))


def test_threads_share_a_segmenter(segmenter: Segmenter, scan: Volume) -> None:
    alone = segmenter(scan).mask.voxels
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(segmenter, [scan] * 4):
            assert np.array_equal(result.mask.voxels, alone)


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:99", "nonsense"])
def test_devices_that_are_not_there_are_named(name: str) -> None:
    with pytest.raises(WssegError, match=f'device "{name}"'):
        pick_device(name)


@pytest.mark.long
def test_the_bundle_runs_with_monai(make_package: MakePackage, phantom_data: Path, tmp_path: Path) -> None:
    """`python -m monai.bundle run` segments with the generated inference.json."""
    package = make_package()
    scan, mask = next(iter(scan_files(phantom_data).values())), tmp_path / "mask.nii.gz"
    command = [sys.executable, "-m", "monai.bundle", "run"]
    command += ["--config_file", str(package.folder / "configs" / "inference.json")]
    command += ["--bundle_root", str(package.folder), "--scan", str(scan), "--mask", str(mask)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-2000:]
    again = tmp_path / "again.nii.gz"
    segment_file(scan, again, package.folder)
    assert np.array_equal(read_volume(mask).voxels, read_volume(again).voxels)


def test_air_is_never_a_class(segmenter: Segmenter, scan: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the method says of it."""
    count = scan.voxels.shape[2]
    everything = Prediction(torch.ones(count, 1, 32, 32), torch.ones(count, 1))
    monkeypatch.setattr(segmenter._method, "predict", lambda *given: everything)
    stack = prepare(scan, View.of(segmenter.package.recipe))
    air = stack.grid.join(stack.air)
    marked = segmenter(scan).mask.voxels > 0
    assert air.mean() > 0.2
    assert marked.mean() > 0.2
    assert not (marked & air).any()


def test_doubt_is_on_the_scans_grid_and_greatest_at_one_half(
    segmenter: Segmenter, scan: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = scan.voxels.shape[2]
    probabilities = torch.zeros(count, 1, 32, 32)
    probabilities[0], probabilities[1], probabilities[2] = 0.9, 0.5, 0.4
    found = Prediction(probabilities, torch.ones(count, 1))
    monkeypatch.setattr(segmenter._method, "predict", lambda *given: found)
    result = segmenter(scan)
    doubt = result.uncertainty.voxels
    assert doubt.shape == scan.voxels.shape
    assert [int(doubt[..., k].max()) for k in range(4)] == [20, 100, 80, 0]
    assert result.mask.voxels.any(axis=(0, 1)).tolist() == [True] + [False] * (count - 1)
    inside = int((doubt[..., 0] > 0).sum())
    voxel = abs(np.linalg.det(scan.affine[:3, :3])) / 1000
    assert result.facts()["uncertain_ml"][0] == pytest.approx(0.2 * inside * voxel, abs=1e-3)


@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize("shown", [0, 1, 3])
def test_where_no_class_may_be_is_left_out_and_nothing_else(
    make_package: MakePackage, scan: Volume, monkeypatch: pytest.MonkeyPatch, step: int, shown: int
) -> None:
    """No blob, one and three of two classes, on pixels finer and coarser than the network's; faint ones are kept."""
    segmenter = Segmenter(make_package("union", labels=("wall", "cavity")).folder, "cpu")
    coarse = Volume(np.ascontiguousarray(scan.voxels[::step, ::step]), scan.affine @ np.diag([step, step, 1, 1]))
    count, side = scan.voxels.shape[2], segmenter.package.recipe.size
    probabilities = torch.full((count, 2, side, side), 0.002)
    for k, (row, value) in enumerate([(12, 0.9), (20, 0.7), (24, 0.02)][:shown]):
        probabilities[1:4, k % 2, row - 2 : row + 2, 10 : 12 + 2 * k] = value
    monkeypatch.setattr(segmenter._method, "predict", lambda *given: Prediction(probabilities, torch.ones(count, 2)))
    seen = segmenter.see(coarse)
    rows, columns = seen.stack.extent(probabilities, UNLIKELY)
    assert seen.stack.cropped(rows, columns).native.size < seen.stack.native.size / 2
    cropped = segmenter.decide(seen)
    monkeypatch.setattr(Stack, "extent", lambda *given: EVERYWHERE)
    whole = segmenter.decide(seen)
    assert whole.mask.voxels.any() == (shown > 0)
    assert np.array_equal(cropped.mask.voxels, whole.mask.voxels)
    assert np.array_equal(cropped.uncertainty.voxels, whole.uncertainty.voxels)
    assert cropped.signs == pytest.approx(whole.signs, abs=1e-6)


def test_a_pictures_pixels_have_no_size_so_a_part_of_it_is_told(nuclei: ModelPackage, pictures: Path) -> None:
    picture = read_volume(next(iter(scan_files(pictures).values())))
    result = Segmenter(nuclei.folder)(picture)
    said = result.facts()
    assert 0 < said["area_percent"]["nucleus"] < 100
    assert said["area_percent"]["nucleus"] == pytest.approx(100 * result.mask.voxels.mean(), abs=1e-3)
    assert not {"millilitres", "uncertain_ml"} & set(said)


@pytest.mark.parametrize("case", ["TCGA_HT_7684_19950816", "TCGA_DU_A5TW_19980228"])
def test_the_default_model_finds_the_tumour_by_itself(shared: Path, case: str) -> None:
    """Patients that no training saw, nothing given; the figures of all twelve are in the model card."""
    folder = shared / "lgg" / "val"
    result = Segmenter()(read_scan(folder / f"{case}.nii.gz"))
    truth = read_volume(folder / f"{case}_label.nii.gz").voxels > 0
    assert dice_of(result.mask.voxels > 0, truth) > 0.75
    assert 0.5 < result.predicted_dice["tumor"].value < 1


@pytest.mark.long
def test_fewer_slices_at_once_where_memory_runs_out() -> None:
    tried: list[int] = []

    def predict(chunk: int, fits: int) -> Prediction:
        tried.append(chunk)
        if chunk > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return Prediction(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1))

    assert with_less_memory(lambda chunk: predict(chunk, 3), 12).presence.shape == (1, 1)
    assert tried == [12, 6, 3]
    with pytest.raises(WssegError, match="too little free memory for a single slice"):
        with_less_memory(lambda chunk: predict(chunk, 0), 12)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_and_cpu_agree(shared: Path) -> None:
    scan = read_scan(next(iter(scan_files(shared / "lgg" / "val").values())))
    masks = [Segmenter(device=device)(scan).mask.voxels > 0 for device in ("cpu", "cuda")]
    assert dice_of(*masks) >= 0.99


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cldf_trains_on_a_gpu(make_package: MakePackage, phantom_data: Path, tmp_path: Path) -> None:
    package = make_package("cldf")
    data = load_slices(phantom_data, package.labels, View(32), (PRESENCE,))
    train(load_method(package, training=True), data, TrainSettings(folder=tmp_path / "run", steps=2))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_pictures_on_a_gpu(nuclei: ModelPackage, pictures: Path, tmp_path: Path) -> None:
    picture = read_volume(next(iter(scan_files(pictures).values())))
    masks = [Segmenter(nuclei.folder, device)(picture).mask.voxels > 0 for device in ("cpu", "cuda")]
    assert dice_of(*masks) >= 0.98
    data = load_slices(pictures, nuclei.labels, View.of(nuclei.recipe), (MASKS,))
    train(load_method(nuclei), data, TrainSettings(folder=tmp_path / "run", steps=5), held=data.only({data.cases[0]}))


def test_the_mask_of_a_picture_is_upright(nuclei: ModelPackage, tmp_path: Path) -> None:
    picture, nucleus = tissue(9, width=90, height=40)
    Image.fromarray(picture).save(tmp_path / "tile.png")
    segment_file(tmp_path / "tile.png", tmp_path / "mask.png", nuclei.folder)
    with Image.open(tmp_path / "mask.png") as mask:
        found = np.asarray(mask)
    assert set(np.unique(found)) == {0, 255}
    assert dice_of(found == 255, nucleus == 1) > 0.7


TRAINING = ("accelerate", "diffusers", "monai", "scipy.stats", "sqlalchemy", "torch._dynamo", "transformers")
"""Libraries that take longer to load than most scans to segment."""


@pytest.mark.parametrize("method", ["cdm", "cldf", "pclmix", "textdiff", "union"])
def test_segmenting_loads_no_library_of_training(method: str, make_package: MakePackage) -> None:
    script = f"""
import sys
from pathlib import Path
import numpy as np
from wsseg.images.volume import UPRIGHT, Volume
from wsseg.inference.segmenter import Segmenter
segmenter = Segmenter(Path(sys.argv[1]), "cpu")
shape = (24, 24, 1, 3) if segmenter.package.recipe.colour else (24, 24, 3)
segmenter(Volume(np.random.default_rng(0).integers(0, 200, shape, np.uint8), UPRIGHT))
print(sorted(set({TRAINING}) & set(sys.modules)))
"""
    command = [sys.executable, "-c", script, str(make_package(method).folder)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300, check=True)
    assert done.stdout.strip() == "[]"
