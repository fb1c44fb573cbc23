from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance
from PIL import Image
from scipy import ndimage

from conftest import MakePackage, tissue
from wsseg.data.preprocess import View, prepare
from wsseg.errors import NotFoundError, WssegError
from wsseg.evaluation.cases import Case, load_cases
from wsseg.evaluation.evaluate import Evaluation, evaluate
from wsseg.evaluation.metrics import VolumeScore, dice_of, hd95_of, score_slices, score_volume
from wsseg.evaluation.pixel_labels import check_pixel_labels, label_quality
from wsseg.images.folder import scan_files
from wsseg.images.formats.nifti import write_nifti
from wsseg.images.volume import SliceGrid, Volume
from wsseg.inference.quality.dice import SIGNS
from wsseg.inference.result import Segmentation
from wsseg.inference.segmenter import Segmenter
from wsseg.labels.space import LabelSpace
from wsseg.methods.registry import load_method
from wsseg.methods.shared.agreement import presence_auc
from wsseg.models.package import ModelPackage
from wsseg.models.record import LabelQuality

TUMOR = LabelSpace(("tumor",))


def _square(top: int, left: int, side: int = 10) -> np.ndarray:
    mask = np.zeros((64, 48), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def _result(scan: Volume, mask: np.ndarray, presence: np.ndarray) -> Segmentation:
    doubt = scan.like(np.zeros(scan.voxels.shape, np.uint8))
    signs, unmarked = np.ones((1, len(SIGNS))), np.zeros(presence.shape, np.bool_)
    return Segmentation(scan.like(mask), TUMOR, presence, doubt, {}, signs, SliceGrid.of(scan), unmarked)


def test_dice_by_hand() -> None:
    assert dice_of(_square(10, 10), _square(10, 10)) == 1
    assert dice_of(_square(10, 10), _square(10, 15)) == pytest.approx(0.5)
    assert dice_of(_square(0, 0, 0), _square(10, 10)) == 0
    assert dice_of(_square(0, 0, 0), _square(0, 0, 0)) == 1


def test_hausdorff_is_in_millimetres_per_axis() -> None:
    assert hd95_of(_square(10, 10), _square(14, 10), [1.0, 1.0]) == pytest.approx(4)
    assert hd95_of(_square(10, 10), _square(14, 10), [2.5, 1.0]) == pytest.approx(10)
    assert hd95_of(_square(10, 10), _square(10, 14), [2.5, 1.0]) == pytest.approx(4)


def test_hausdorff_is_monais() -> None:
    rng = np.random.default_rng(0)
    for shape, spacing in (((32, 24), [0.7, 1.3]), ((16, 12, 6), [0.7, 1.3, 5.0])):
        masks = [ndimage.gaussian_filter(rng.standard_normal(shape), 2) > 0 for _ in range(2)]
        both = [torch.from_numpy(mask[None, None].astype(np.uint8)) for mask in masks]
        expected = compute_hausdorff_distance(*both, include_background=True, percentile=95, spacing=spacing)
        assert hd95_of(*masks, spacing) == pytest.approx(float(expected))


def test_an_empty_prediction_is_punished_with_the_diagonal() -> None:
    """The published code scored it 0, the best possible."""
    assert hd95_of(_square(0, 0, 0), _square(10, 10), [0.5, 1.0]) == pytest.approx(np.hypot(32, 48))


def test_scores_are_taken_on_positive_slices_only() -> None:
    reference = np.zeros((16, 16, 3), np.uint8)
    reference[4:8, 4:8, 1] = 1
    predicted = reference.copy()
    predicted[0:4, 0:4, 2] = 1
    scan = Volume(np.random.default_rng(0).random((16, 16, 3)), np.diag([1.0, 1.0, 5.0, 1.0]))
    case = Case("a", scan, reference, np.array([[0, 1, 0]], np.int8))
    result = _result(scan, predicted, np.array([[0.1, 0.9, 0.6]], np.float32))
    slices = score_slices(case, result, seed=0)
    assert [(s.slice, s.dice, s.hd95_mm) for s in slices] == [(1, 1.0, 0.0)]
    assert score_volume(case, result, 0, 1.0)[0].dice == pytest.approx(2 * 16 / 48)


@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("step", [5.0, -5.0])
def test_slices_are_counted_as_stored(axis: int, step: float) -> None:
    """Along whatever axis they run, and reversed or not."""
    reference = np.zeros((6, 16, 6), np.uint8)
    index = [slice(None)] * 3
    index[axis] = 1
    reference[tuple(index)][2:5, 4:5] = 1
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = step
    scan = Volume(np.random.default_rng(0).random(reference.shape), np.diag([*spacing, 1.0]))
    case = Case("a", scan, reference, np.zeros((1, 6), np.int8))
    result = _result(scan, reference, np.zeros((1, 6), np.float32))
    assert [(s.slice, s.dice) for s in score_slices(case, result, seed=0)] == [(1, 1.0)]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        ("values", r"expected are 0 \(background\) and 1 to 1"),
        ("affine", "lies elsewhere"),
        ("shape", "on another grid"),
    ],
)
def test_references_that_do_not_fit_are_refused(phantom_data: Path, tmp_path: Path, spoil: str, sentence: str) -> None:
    for file in phantom_data.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = sorted(tmp_path.glob("*_label.nii.gz"))[0]
    mask = nib.load(path)
    voxels, affine = np.asanyarray(mask.dataobj), mask.affine.copy()
    if spoil == "values":
        voxels = voxels * 255
    elif spoil == "affine":
        affine[0, 0] *= -1
    else:
        voxels = voxels[:-1]
    nib.save(nib.Nifti1Image(voxels, affine), path)
    with pytest.raises(WssegError, match=sentence):
        load_cases(tmp_path, TUMOR)


def test_auc_by_hand_and_without_unknown_slices() -> None:
    truth = torch.tensor([[1], [0], [1], [-1], [0]])
    estimated = torch.tensor([[0.9], [0.8], [0.7], [0.0], [0.1]])
    assert presence_auc(truth, estimated) == pytest.approx(0.75)


def test_what_draws_no_noise_is_looked_at_once(phantom_data: Path, make_package: MakePackage) -> None:
    """And what one seed, one scan cannot tell is no row."""
    found = evaluate(Segmenter(make_package("union").folder), phantom_data, seeds=3)
    assert found.seeds == [0]
    assert all(np.isfinite((row.mean, row.spread)).all() for row in found.table())
    scans = found.scans()
    assert [np.mean(list(row.dice.values())) for row in scans] == sorted(
        np.mean([score.dice for score in found.volumes if score.case == row.case]) for row in scans
    )


def test_evaluation_writes_table_scores_and_pictures(
    make_package: MakePackage, phantom_data: Path, tmp_path: Path
) -> None:
    found = evaluate(Segmenter(make_package().folder), phantom_data, "nothing", seeds=2, out=tmp_path / "out")
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"slices.csv", "volumes.csv", "table.csv"} <= written
    assert sum(name.endswith(".png") for name in written) == 4
    rows = {row.what: row for row in found.table()}
    assert 0 <= rows["AUC, presence per slice"].mean <= 1
    assert {s.seed for s in found.slices} == {0, 1}
    by_hand = np.mean([np.mean([s.dice for s in found.slices if s.seed == k]) for k in (0, 1)])
    assert rows["Dice, positive slices"].mean == pytest.approx(by_hand)


@pytest.mark.long
def test_the_command_prints_nothing_but_its_progress(make_package: MakePackage, phantom_data: Path) -> None:
    """No library's warnings: each mask that is scored would bring its own."""
    command = [sys.executable, "-m", "wsseg", "evaluate", str(make_package().folder)]
    done = subprocess.run(
        [*command, "--data", str(phantom_data), "--seeds", "1"], capture_output=True, encoding="utf-8", timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("evaluating ")] == []


def test_a_scan_without_reference_cannot_be_scored(phantom_data: Path, tmp_path: Path) -> None:
    for file in phantom_data.iterdir():
        if "_label" not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(NotFoundError, match="_label mask beside it"):
        load_cases(tmp_path, TUMOR)


def test_quality_of_pixel_labels_is_counted_per_class() -> None:
    """Six pixels: of two marked as tumour one is, of four that are one is marked; unlabelled ones count in recall."""
    made = torch.tensor([[[1, 1, 0, 255, 255, 0]]], dtype=torch.uint8)
    truth = torch.tensor([[[1, 0, 1, 1, 0, 1]]], dtype=torch.uint8)
    assert label_quality(made, truth, TUMOR) == {
        "tumor": LabelQuality(precision=0.5, recall=0.25),
        "background": LabelQuality(precision=0.5, recall=0.5),
    }


def test_labels_a_method_makes_are_checked_on_the_scans_masks(
    make_package: MakePackage, phantom_data: Path, tmp_path: Path
) -> None:
    """A method whose labels are the masks, as its own grid has them, is right everywhere."""
    package = make_package("cldf")
    method = load_method(package)
    truth = []
    for case in load_cases(phantom_data, TUMOR):
        stack = prepare(case.scan, View(32))
        truth.append(stack.to_network(stack.grid.cut(case.reference).astype(np.float32)) > 0.5)
    method.pixel_labels = lambda *given: torch.where(torch.cat(truth), 1, 255).to(torch.uint8)
    for row in check_pixel_labels(method, package, phantom_data, 8, lambda part: None).values():
        assert (row.precision, row.recall) == (1.0, 1.0)
    folder = tmp_path / "data"
    shutil.copytree(phantom_data, folder)
    for file in list(folder.glob(f"{next(iter(scan_files(folder)))}*")):
        shutil.copy(file, folder / f"a{file.name}")
    with pytest.raises(WssegError, match="no rows for case a"):
        check_pixel_labels(method, package, folder, 8, lambda part: None)


def test_what_becomes_of_strokes_is_checked_too(make_package: MakePackage, phantom_data: Path, tmp_path: Path) -> None:
    """The union learner's labels are strokes at least, whose every pixel is right."""
    folder = tmp_path / "data"
    shutil.copytree(phantom_data, folder)
    for case in load_cases(folder, TUMOR):
        strokes = np.where(case.reference == 1, case.reference, 0).astype(np.uint8)
        strokes[:, ::2], strokes[0] = 0, 255
        write_nifti(folder / f"{case.name}_scribble.nii.gz", strokes, case.scan.affine)
    package = make_package("union")
    found = check_pixel_labels(load_method(package, training=True), package, folder, 8, lambda part: None)
    assert found["tumor"].precision > 0.9
    assert found["tumor"].recall > 0.3


def test_predicted_dice_is_ranked_against_dice_from_five_masks_on() -> None:
    what = "predicted against true Dice of whole volumes, rank correlation"
    rows_of = enumerate(RANKS)
    volumes = [VolumeScore(0, f"{k}", "tumor", dice, 0.0, predicted, 1.0) for k, (dice, predicted) in rows_of]
    rows = {row.what: row.mean for row in Evaluation([], volumes, {}).table()}
    assert rows[what] == pytest.approx(0.9)
    assert what not in {row.what for row in Evaluation([], volumes[:4], {}).table()}


RANKS = [(0.1, 0.5), (0.4, 0.6), (0.6, 0.9), (0.9, 0.8), (0.95, 1.0)]


def test_pictures_are_scored_with_and_without_their_sentences(
    nuclei: ModelPackage, pictures: Path, tmp_path: Path
) -> None:
    """Masks are PNGs with 255, IoU follows from Dice, and what is written can be looked at."""
    assert [case.text for case in load_cases(pictures, nuclei.labels)] == [
        f"Nuclei, tile number {k}." for k in range(4)
    ]
    segmenter = Segmenter(nuclei.folder)
    told = evaluate(segmenter, pictures, "text", seeds=1, out=tmp_path / "out")
    rows = {row.what: row.mean for row in told.table()}
    assert rows["IoU, whole volumes"] == pytest.approx(np.mean([v.dice / (2 - v.dice) for v in told.volumes]))
    assert 0.6 < rows["IoU, whole volumes"] < rows["Dice, whole volumes"] < 1
    assert 0.3 < rows["AJI of nuclei"] < 1
    assert 50 < rows["nuclei found, % of the reference's"] < 200
    assert len(list((tmp_path / "out").glob("*.png"))) == 4
    untold = evaluate(segmenter, pictures, "nothing", seeds=1)
    assert [v.dice for v in untold.volumes] != [v.dice for v in told.volumes], "the sentence is read"


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (None, r"text\.csv: no such file"),
        ("case,text\ntile_0,One.\ntile_2,Three.\ntile_3,Four.\n", r"text\.csv: no sentence for tile_1"),
        ("case,text\ntile_0,One.\ntile_1,\ntile_2,Three.\ntile_3,Four.\n", r"text\.csv: no sentence for tile_1"),
    ],
)
def test_what_has_no_sentence_is_not_scored_as_if_it_had(
    nuclei: ModelPackage, pictures: Path, tmp_path: Path, table: str | None, sentence: str
) -> None:
    for file in pictures.glob("*.png"):
        shutil.copy(file, tmp_path)
    if table is not None:
        (tmp_path / "text.csv").write_text(table, encoding="utf-8")
    with pytest.raises(WssegError, match=sentence):
        evaluate(Segmenter(nuclei.folder), tmp_path, "text", seeds=1)


def test_a_mask_in_colours_is_said_to_be_one(nuclei: ModelPackage, tmp_path: Path) -> None:
    picture, mask = tissue(0)
    Image.fromarray(picture).save(tmp_path / "a.png")
    Image.fromarray(mask).convert("P").save(tmp_path / "a_label.png")
    with pytest.raises(WssegError, match=r"a_label\.png: is a colour picture, a mask holds class values"):
        load_cases(tmp_path, nuclei.labels)
