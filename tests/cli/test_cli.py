"""The command line as other people's scripts see it: exit codes, files, one line of error."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from command import Done, process, wsseg
from conftest import tissue
from pictures import wrong_pictures
from wsseg.images.folder import scan_files
from wsseg.images.formats.table import read_volume
from wsseg.labels.space import LabelSpace
from wsseg.labels.tables import PRESENCE_FILE, read_presence
from wsseg.models.package import ModelPackage, read_package
from wsseg.models.record import SCRATCH


@pytest.fixture
def scan(phantom_data: Path) -> Path:
    return next(iter(scan_files(phantom_data).values()))


def test_version_and_rollback(published: str) -> None:
    assert wsseg("--version").stdout == "0.1.0\n"
    assert wsseg("rollback", published, "0.1").stdout == f"{published} 0.1\n"
    refused = process("rollback", published, "9")
    assert refused.returncode == 2
    assert refused.stderr == f"wsseg: {published}: there is no version 9, there are: 0.1\n"


@pytest.mark.long
def test_segment_writes_mask_preview_and_facts(published: str, scan: Path, phantom_data: Path, tmp_path: Path) -> None:
    table = phantom_data / "image_labels.csv"
    mask, preview, facts = tmp_path / "mask.nii.gz", tmp_path / "preview.png", tmp_path / "facts.json"
    options = ("--model", published, "--presence", table, "--preview", preview, "--json", facts, "--device", "cpu")
    options += ("--uncertainty", tmp_path / "doubt.nii.gz")
    done = process("segment", scan, mask, *options)
    assert (done.returncode, done.stdout) == (0, f"{mask}\n"), done.stderr
    written, source = nib.load(mask), nib.load(scan)
    assert written.shape == source.shape
    assert np.array_equal(written.affine, source.affine)
    told = json.loads(facts.read_text("utf-8"))
    assert told["label_names"] == {"tumor": 1}
    assert told["voxels"]["tumor"] == int((np.asanyarray(written.dataobj) == 1).sum())
    with table.open(encoding="utf-8") as file:
        listed = [int(row["tumor"]) for row in csv.DictReader(file) if row["case"] == told["case"]]
    assert told["presence"]["tumor"] == [float(state) for state in listed]
    assert told["predicted_dice"] == {}
    doubt = read_volume(tmp_path / "doubt.nii.gz")
    assert doubt.voxels.shape == source.shape
    assert doubt.voxels.max() <= 100
    assert min(Image.open(preview).size) > 100


def test_formats_hold_the_same_mask(published: str, scan: Path, phantom_data: Path, tmp_path: Path) -> None:
    told = ("--model", published, "--presence", phantom_data / "image_labels.csv")
    masks = []
    for extension in (".nii", ".nii.gz", ".nrrd"):
        wsseg("segment", scan, tmp_path / f"mask{extension}", *told)
        masks.append(read_volume(tmp_path / f"mask{extension}"))
    source = read_volume(scan)
    for mask in masks:
        assert mask.voxels.dtype == np.uint8
        assert mask.voxels.any()
        assert np.array_equal(mask.voxels, masks[0].voxels)
        np.testing.assert_allclose(mask.affine, source.affine, atol=1e-5)


def test_models_are_listed_with_licence_and_figures() -> None:
    listed = wsseg("models").stdout
    for word in ("cldf-glioma-flair", "cdm-glioma-flair", "cam-glioma-flair", "CC BY 3.0", "Dice"):
        assert word in listed


@pytest.mark.long
def test_train_then_segment_with_what_was_trained(
    published: str, phantom_data: Path, scan: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    folder = wsseg("train", published, "--data", phantom_data, "--out", models, "--steps", 2).stdout.strip()
    wsseg("evaluate", folder, "--data", phantom_data, "--seeds", 1, "--out", tmp_path / "scores")
    assert (tmp_path / "scores" / "table.csv").exists()
    again = wsseg("train", published, "--data", phantom_data, "--out", models, "--steps", 2, "--fresh", "--seed", 3)
    record = read_package(Path(again.stdout.strip())).recipe.training
    assert record is not None
    assert (record.origin, record.seed) == (SCRATCH, 3)


def test_measure_tells_which_frame_is_which_and_how_much_is_ejected(shared: Path, tmp_path: Path) -> None:
    """A heart that training never saw, end-systole named first; against its reference masks."""
    folder = shared / "acdc" / "val"
    one, other = sorted(file for file in folder.glob("patient072_frame??.nii.gz"))
    told = wsseg("measure", other, one, "--json", tmp_path / "heart.json", "--out", tmp_path / "masks")
    assert "left ventricle" in told.stdout
    found = json.loads((tmp_path / "heart.json").read_text("utf-8"))
    assert {name: frame["phase"] for name, frame in found["frames"].items()} == {
        "patient072_frame01": "ED",
        other.name.removesuffix(".nii.gz"): "ES",
    }
    truth = [(read_volume(folder / f"{name}_label.nii.gz").voxels == 3).sum() for name in found["frames"]]
    fraction = 1 - min(truth) / max(truth)
    assert found["left ventricle"]["ejection_fraction"] == pytest.approx(fraction, abs=0.1)
    predicted = [dice["value"] for frame in found["frames"].values() for dice in frame["predicted_dice"].values()]
    assert all(0.5 < value < 1 for value in predicted)
    assert len(list((tmp_path / "masks").iterdir())) == 2
    frames = [nib.load(file) for file in (other, one)]
    cine = tmp_path / "cine.nii.gz"
    nib.save(nib.Nifti1Image(np.stack([np.asarray(f.dataobj) for f in frames], -1), frames[0].affine), cine)
    wsseg("measure", cine, "--json", tmp_path / "cine.json", "--picture", tmp_path / "curve.png")
    again = json.loads((tmp_path / "cine.json").read_text("utf-8"))
    assert again["left ventricle"] == pytest.approx(found["left ventricle"], rel=1e-3)
    assert {name: frame["phase"] for name, frame in again["frames"].items()} == {
        "cine_frame01": "ES",
        "cine_frame02": "ED",
    }
    assert (tmp_path / "curve.png").stat().st_size > 1000
    refusals = {
        "shows one moment": [one],
        "is named twice": [one, one],
        "on different grids": [one, folder / "patient071_frame01.nii.gz"],
        "3 scans are named": [one, other, one],
    }
    for sentence, named in refusals.items():
        refused = wsseg("measure", *named, check=False)
        assert refused.returncode == 2
        assert sentence in " ".join(refused.stderr.split())


def test_import_then_evaluate_a_real_release(shared: Path, tmp_path: Path) -> None:
    wsseg("import", "kaggle-3m", shared / "raw" / "kaggle_3m", tmp_path / "lgg")
    shown = wsseg("evaluate", "cdm-glioma-flair", "--data", tmp_path / "lgg", "--seeds", 1, "--given", "presence")
    assert "Dice, positive slices" in shown.stdout


def _damaged(folder: Path, scan: Path) -> dict[str, Path]:
    """Every kind of wrong scan."""
    voxels = np.asanyarray(nib.load(scan).dataobj).astype(np.float32)
    affine = np.diag([1.0, 1.0, 5.0, 1.0])

    def save(name: str, array: np.ndarray) -> Path:
        nib.save(nib.Nifti1Image(array, affine), folder / name)
        return folder / name

    nan, inf = voxels.copy(), voxels.copy()
    nan[0, 0, 0], inf[0, 0, 0] = np.nan, np.inf
    rgb = np.zeros(voxels.shape, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    files = {
        "no such file": folder / "missing.nii.gz",
        "unknown file type": folder / "scan.bmp",
        "4 dimensions": save("time.nii.gz", np.stack([voxels, voxels], axis=-1)),
        "NaN or infinite": save("nan.nii.gz", nan),
        "NaN or infinite ": save("inf.nii.gz", inf),
        "nothing to segment": save("constant.nii.gz", np.ones_like(voxels)),
        "colour image": save("rgb.nii.gz", rgb),
        "its gzip is damaged or cut off": folder / "cut.nii.gz",
        "its gzip is damaged or cut off ": folder / "text.nii.gz",
        "it does not begin as such a file": folder / "text.nrrd",
        "may be damaged": folder / "empty.nii",
    }
    whole = scan.read_bytes()
    (folder / "scan.bmp").write_bytes(whole)
    (folder / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    for name in ("text.nii.gz", "text.nrrd"):
        (folder / name).write_text("not an image", encoding="utf-8")
    (folder / "empty.nii").touch()
    return files


def _refused(done: Done, sentence: str) -> None:
    assert done.returncode == 2, (sentence, done.stdout, done.stderr)
    assert sentence.strip() in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.long
def test_damaged_scans_get_one_sentence_and_leave_nothing(published: str, scan: Path, tmp_path: Path) -> None:
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    outputs.mkdir()
    for sentence, file in _damaged(inputs, scan).items():
        _refused(wsseg("segment", file, outputs / "mask.nii.gz", "--model", published, check=False), sentence)
    _refused(process("segment", inputs / "nan.nii.gz", outputs / "mask.nii.gz", "--model", published), "NaN")
    assert list(outputs.iterdir()) == []


def _wrong(scan: Path, table: Path) -> list[tuple[Sequence[object], str]]:
    out = "mask.nii.gz"
    return [
        ((scan, out, "--model", "nope"), 'model "nope" is unknown'),
        ((scan, "mask.png"), "mask.png: a PNG is for masks of pictures"),
        ((scan, "none/mask.nii.gz"), "does not exist"),
        ((scan, "mask.dcm"), "unknown file type"),
        ((scan, out, "--device", "cuda:77"), 'device "cuda:77"'),
        ((scan, out, "--text", "a tumour"), "does not read text"),
        ((scan, out, "--presence", "none.csv"), "none.csv"),
        ((scan, out, "--preview", "none/preview.png"), "does not exist"),
        ((scan, out, "--uncertainty", "doubt.png"), "doubt.png: a PNG is for masks of pictures"),
        ((scan, out, "--uncertainty", "doubt.jpg"), "unknown file type"),
        ((scan, out, "--json", "none/facts.json"), "does not exist"),
        ((scan, out, "--presence", table), "presence is listed for"),
        ((scan, out, "--presence", scan), "cannot be read as CSV"),
    ]


def test_wrong_options_get_one_sentence(
    published: str, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "short.csv"
    case = scan.name.removesuffix(".nii.gz")
    table.write_text(f"case,slice,tumor\n{case},0,1\n", encoding="utf-8")
    for arguments, sentence in _wrong(scan, table):
        options = () if "--model" in arguments else ("--model", published)
        _refused(wsseg("segment", *arguments, *options, check=False), sentence)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["short.csv"]


def test_labels_go_into_the_database_and_come_out_again(published: str, phantom_data: Path, tmp_path: Path) -> None:
    told = ("--studies", phantom_data)
    _refused(wsseg("labels", "export", published, tmp_path / "none", *told, check=False), "there is nothing to export")
    assert wsseg("labels", "import", published, phantom_data, *told).stdout == "1 files of labels taken over\n"
    assert wsseg("labels", "export", published, tmp_path, *told).stdout.startswith("1 files of labels in")
    written = read_presence(tmp_path / PRESENCE_FILE, LabelSpace(("tumor",)))
    assert written.keys() == scan_files(phantom_data).keys()
    for case, presence in read_presence(phantom_data / PRESENCE_FILE, LabelSpace(("tumor",))).items():
        assert (written[case].states == presence.states).all()
    _refused(wsseg("labels", "import", published, tmp_path.parent, *told, check=False), "holds no image_labels.csv")


def test_wrong_usage_is_one_line_too() -> None:
    _refused(wsseg("segment", check=False), "Missing argument")
    _refused(wsseg("train", "cdm-glioma-flair", "--data", "x", "--steps", "0", check=False), "--steps")
    _refused(wsseg("segmentt", check=False), "No such command")


def test_other_commands_refuse_wrong_input_too(published: str, tmp_path: Path) -> None:
    _refused(wsseg("train", "nope", "--data", tmp_path, check=False), 'model "nope"')
    _refused(wsseg("train", published, "--data", tmp_path / "none", "--out", tmp_path, check=False), "none")
    _refused(wsseg("evaluate", published, "--data", tmp_path, check=False), "holds no scan")
    _refused(wsseg("import", "brats2", tmp_path, tmp_path / "out", check=False), 'format "brats2" is unknown')
    _refused(wsseg("import", "brats", tmp_path / "none", tmp_path / "out", check=False), "none")


@pytest.mark.long
def test_a_picture_becomes_an_upright_mask_of_its_size(nuclei: ModelPackage, tmp_path: Path) -> None:
    """Most nuclei are in the upper left, so a mask that is turned or mirrored fits badly."""
    picture, nucleus = tissue(9, width=90, height=40)
    Image.fromarray(picture).save(tmp_path / "tile.jpg", quality=95)
    told = ("--model", nuclei.folder, "--text", "Nuclei, tile number 9.", "--device", "cpu")
    shown, facts = tmp_path / "preview.png", tmp_path / "facts.json"
    wsseg("segment", tmp_path / "tile.jpg", tmp_path / "mask.png", *told, "--preview", shown, "--json", facts)
    with Image.open(tmp_path / "mask.png") as mask:
        assert (mask.mode, mask.size) == ("L", (90, 40))
        found = np.asarray(mask)
    assert set(np.unique(found)) == {0, 255}
    marked = found == 255
    assert 2 * (marked & (nucleus == 1)).sum() / (marked.sum() + nucleus.sum()) > 0.7
    assert json.loads(facts.read_text("utf-8"))["label_names"] == {"nucleus": 1}
    with Image.open(shown) as sheet:
        assert sheet.size == (90, 40)
        tinted = np.abs(np.asarray(sheet).astype(int) - np.asarray(Image.open(tmp_path / "tile.jpg"))).max(axis=2) > 8
    assert (tinted == marked).mean() > 0.99
    doubts = [tmp_path / "doubt.png", tmp_path / "doubt.nii.gz"]
    for doubt in doubts:
        wsseg("segment", tmp_path / "tile.jpg", tmp_path / "mask.nii.gz", *told, "--uncertainty", doubt)
    assert np.array_equal(*(read_volume(doubt).voxels for doubt in doubts)), "percent, whatever the file"
    assert np.array_equal(read_volume(tmp_path / "mask.nii.gz").voxels[:, :, 0].T, marked)
    wsseg("segment", tmp_path / "tile.jpg", tmp_path / "untold.png", *told[:2])
    assert (tmp_path / "untold.png").read_bytes() != (tmp_path / "mask.png").read_bytes(), "the sentence is read"


def test_pictures_and_models_that_do_not_fit_get_one_sentence(
    nuclei: ModelPackage, published: str, scan: Path, tmp_path: Path
) -> None:
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    outputs.mkdir()
    colour = inputs / "tile.png"
    Image.fromarray(tissue(0)[0]).save(colour)
    reads_pictures, reads_scans = ("--model", nuclei.folder), ("--model", published)
    wrong = [
        ("a PNG is for masks of pictures", scan, "mask.png", reads_scans),
        ("the scan holds colour pictures, the model reads grey values", colour, "mask.png", reads_scans),
        ("the scan holds grey values, the model reads colour pictures", scan, "mask.nii.gz", reads_pictures),
        ("text: the model small does not read text", scan, "mask.nii.gz", (*reads_scans, "--text", "A mass.")),
        ("none.png: no such file", inputs / "none.png", "mask.png", reads_pictures),
        ("mask.jpg: unknown file type for this scan's mask", colour, "mask.jpg", reads_pictures),
        *((words, file, "mask.png", reads_pictures) for words, file in wrong_pictures(inputs).items()),
    ]
    for sentence, source, mask, told in wrong:
        _refused(wsseg("segment", source, outputs / mask, *told, check=False), sentence)
    assert list(outputs.iterdir()) == []
