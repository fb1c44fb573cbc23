"""Scans and masks on disk: every grid and type comes back."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from volumes import VOLUMES, noise, save
from wsseg.errors import WssegError
from wsseg.images.formats.table import case_name, read_volume, write_mask
from wsseg.images.scan import read_scan
from wsseg.images.volume import SliceGrid, Volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
FLOATS = ("float32", "float64")


def read_back(mask: Volume, extension: str) -> Volume:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"mask{extension}"
        write_mask(path, mask)
        return read_volume(path)


shapes = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))
sizes = st.floats(0.05, 20.0)


@st.composite
def affines(draw: st.DrawFn, tilt: float = 180.0) -> np.ndarray:
    """Permuted, flipped, turned by up to ``tilt`` degrees, anisotropic, shifted."""
    axes = np.eye(3)[:, draw(st.permutations([0, 1, 2]))] * draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    axis = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 3)))
    axis = axis / max(np.linalg.norm(axis), 1)
    turn = Rotation.from_rotvec(axis * draw(st.floats(-tilt, tilt)), degrees=True)
    affine = np.eye(4)
    affine[:3, :3] = turn.as_matrix() @ axes @ np.diag(draw(st.tuples(sizes, sizes, sizes)))
    affine[:3, 3] = draw(st.tuples(*[st.floats(-500, 500)] * 3))
    return affine


@st.composite
def masks(draw: st.DrawFn) -> Volume:
    voxels = noise(draw(shapes), "uint8", draw(st.integers(0, 2**16)))
    return Volume(voxels, draw(affines()))


class TestMasks:
    @settings(max_examples=60, deadline=None)
    @given(masks(), st.sampled_from([".nii", ".nii.gz"]))
    def test_nifti_keeps_voxels_and_affine_on_any_grid(self, mask: Volume, extension: str) -> None:
        back = read_back(mask, extension)
        assert back.voxels.dtype == np.uint8
        assert np.array_equal(back.voxels, mask.voxels)
        assert np.array_equal(back.affine, mask.affine.astype(np.float32))

    @settings(max_examples=60, deadline=None)
    @given(masks())
    def test_nrrd_keeps_voxels_and_affine_on_any_grid(self, mask: Volume) -> None:
        back = read_back(mask, ".nrrd")
        assert back.voxels.dtype == np.uint8
        assert np.array_equal(back.voxels, mask.voxels)
        assert np.allclose(back.affine, mask.affine, rtol=1e-9, atol=1e-9)

    @settings(max_examples=30, deadline=None)
    @given(masks(), st.sampled_from(VOLUMES))
    def test_another_reader_sees_each_voxel_at_the_same_place(self, mask: Volume, extension: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"mask{extension}"
            write_mask(path, mask)
            image = sitk.ReadImage(str(path))
        last = tuple(n - 1 for n in mask.voxels.shape)
        expected = LPS @ mask.affine @ [*last, 1]
        assert np.allclose(image.TransformIndexToPhysicalPoint(last), expected[:3], atol=0.01)
        assert image.GetPixel(last) == mask.voxels[last]

    @pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 2), (1, 2), (3, 4)], ids=str)
    @pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
    def test_nifti_keeps_both_transforms_and_their_codes(self, tmp_path: Path, kind: type, codes: tuple) -> None:
        qform, sform = np.diag([-1.1, 2.2, 3.3, 1.0]), np.diag([1.1, 2.2, 3.3, 1.0])
        qform[:3, 3], sform[:3, 3] = [1, 2, 3.7], [4, 5, 6.1]
        sform[:3, :3] = Rotation.from_euler("xyz", [20, 30, 40], degrees=True).as_matrix() @ sform[:3, :3]
        scan = kind(noise((4, 5, 6)), sform)
        scan.set_qform(qform, codes[0])
        scan.set_sform(sform, codes[1])
        scan.header.set_xyzt_units("mm")
        nib.save(scan, tmp_path / "scan.nii.gz")
        scan = nib.load(tmp_path / "scan.nii.gz")
        volume = read_volume(tmp_path / "scan.nii.gz")
        write_mask(tmp_path / "mask.nii.gz", volume.like(noise((4, 5, 6), "uint8")))
        mask = nib.load(tmp_path / "mask.nii.gz")
        assert np.array_equal(mask.affine, scan.affine)
        for field in ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "srow_x", "srow_y", "srow_z"):
            assert mask.header[field].tobytes() == scan.header[field].tobytes(), field
        for field in ("qoffset_x", "qoffset_y", "qoffset_z", "pixdim", "xyzt_units"):
            assert mask.header[field].tobytes() == scan.header[field].tobytes(), field
        assert mask.header.get_data_dtype() == np.uint8
        assert mask.header.get_slope_inter() == (None, None)

    def test_a_scaled_scan_gives_an_unscaled_mask(self, tmp_path: Path) -> None:
        scan = nib.Nifti1Image(noise((3, 4, 5)), np.eye(4))
        scan.header.set_slope_inter(0.5, -3)
        nib.save(scan, tmp_path / "scan.nii")
        mask = noise((3, 4, 5), "uint8", 1)
        write_mask(tmp_path / "mask.nii", read_volume(tmp_path / "scan.nii").like(mask))
        assert np.array_equal(nib.load(tmp_path / "mask.nii").get_fdata(), mask)

    def test_upper_case_endings(self, tmp_path: Path) -> None:
        for name in ("MASK.NII.GZ", "MASK.NII", "MASK.NRRD"):
            write_mask(tmp_path / name, Volume(noise((2, 3, 4), "uint8"), np.eye(4)))
            assert np.array_equal(read_volume(tmp_path / name).voxels, noise((2, 3, 4), "uint8"))
            assert case_name(tmp_path / name) == "MASK"

    def test_unknown_ending(self, tmp_path: Path) -> None:
        with pytest.raises(WssegError, match=r"mask\.jpg: unknown file type for a mask"):
            write_mask(tmp_path / "mask.jpg", Volume(noise((2, 2, 2)), np.eye(4)))
        assert not list(tmp_path.iterdir())

    def test_like_refuses_another_grid(self) -> None:
        with pytest.raises(ValueError, match="grid"):
            Volume(noise((2, 3, 4)), np.eye(4)).like(noise((4, 3, 2)))


class TestReading:
    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS])
    def test_nifti_of_every_real_type(self, tmp_path: Path, dtype: str, order: str) -> None:
        voxels = noise((3, 4, 5), dtype)
        header = nib.Nifti1Header(endianness=order)
        image = nib.Nifti1Image(voxels, np.diag([1, 2, 3, 1.0]), header, dtype=np.dtype(dtype))
        nib.save(image, tmp_path / "scan.nii")
        volume = read_scan(tmp_path / "scan.nii")
        assert volume.voxels.dtype.kind == np.dtype(dtype).kind
        assert np.array_equal(volume.voxels, voxels)
        assert volume.spacing == (1, 2, 3)

    @pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS])
    def test_nrrd_of_every_real_type(self, tmp_path: Path, dtype: str) -> None:
        voxels = noise((3, 4, 5), dtype)
        sitk.WriteImage(sitk.GetImageFromArray(voxels.T), str(tmp_path / "scan.nrrd"))
        volume = read_scan(tmp_path / "scan.nrrd")
        assert volume.voxels.dtype == dtype
        assert np.array_equal(volume.voxels, voxels)

    @pytest.mark.parametrize("dtype", ["uint8", "int16", "int32"])
    def test_scaled_integers(self, tmp_path: Path, dtype: str) -> None:
        stored = noise((3, 4, 5), dtype)
        image = nib.Nifti1Image(stored, np.eye(4))
        nib.save(image, tmp_path / "scan.nii")
        content = bytearray((tmp_path / "scan.nii").read_bytes())
        content[112:120] = np.array([0.25, -7], "<f4").tobytes()  # scl_slope, scl_inter
        (tmp_path / "scan.nii").write_bytes(content)
        assert np.allclose(read_scan(tmp_path / "scan.nii").voxels, stored * 0.25 - 7)

    def test_extremes_of_integers_and_floats(self, tmp_path: Path) -> None:
        for dtype in INTEGERS:
            limits = np.iinfo(dtype)
            voxels = np.array([[[limits.min, limits.max]]], dtype)
            assert np.array_equal(read_scan(save(tmp_path / "scan.nii", voxels)).voxels, voxels)

    @pytest.mark.parametrize(
        "shape", [(7, 5, 1), (1, 7, 5), (7, 1, 5), (1, 1, 2), (7, 5, 4, 1), (7, 5, 1, 1, 1)], ids=str
    )
    def test_single_slices_and_trailing_ones(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        voxels = noise(shape)
        volume = read_scan(save(tmp_path / "scan.nii.gz", voxels))
        assert volume.voxels.shape == shape[:3]
        assert np.array_equal(volume.voxels, voxels.reshape(shape[:3]))
        write_mask(tmp_path / "mask.nii.gz", volume.like(noise(shape[:3], "uint8")))
        assert np.array_equal(read_volume(tmp_path / "mask.nii.gz").affine, volume.affine)

    @pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nrrd"])
    def test_two_dimensional_image_is_one_slice(self, tmp_path: Path, name: str) -> None:
        image = sitk.GetImageFromArray(noise((6, 5)).T)
        image.SetSpacing((2.0, 3.0))
        image.SetOrigin((4.0, 5.0))
        sitk.WriteImage(image, str(tmp_path / name))
        volume = read_scan(tmp_path / name)
        assert np.array_equal(volume.voxels, noise((6, 5))[..., None])
        assert np.allclose(volume.affine[:2], [[-2, 0, 0, -4], [0, -3, 0, -5]])
        assert SliceGrid.of(volume).cut(volume.voxels).shape == (1, 6, 5)
        write_mask(tmp_path / f"mask_{name}", volume.like(noise((6, 5, 1), "uint8")))
        assert np.allclose(read_volume(tmp_path / f"mask_{name}").affine, volume.affine)

    @pytest.mark.parametrize(
        ("space", "signs"), [("right-anterior-superior", (1, 1)), ("left-posterior-superior", (-1, -1))]
    )
    def test_nrrd_says_in_which_space_it_is(self, tmp_path: Path, space: str, signs: tuple[int, int]) -> None:
        head = (
            f"NRRD0004\ntype: short\ndimension: 3\nspace: {space}\nsizes: 2 3 4\n"
            "space directions: (2,0,0) (0,3,0) (0,0,5)\nspace origin: (7,8,9)\nencoding: raw\nendian: little\n\n"
        )
        (tmp_path / "scan.nrrd").write_bytes(head.encode() + noise((2, 3, 4)).tobytes(order="F"))
        volume = read_volume(tmp_path / "scan.nrrd")
        assert np.array_equal(volume.voxels, noise((2, 3, 4)))
        x, y = signs
        assert np.allclose(volume.affine, [[2 * x, 0, 0, 7 * x], [0, 3 * y, 0, 8 * y], [0, 0, 5, 9], [0, 0, 0, 1]])

    def test_voxels_stay_when_the_file_is_replaced(self, tmp_path: Path) -> None:
        volume = read_volume(save(tmp_path / "scan.nii", noise((4, 4, 4))))
        save(tmp_path / "scan.nii", noise((4, 4, 4), seed=1))
        assert np.array_equal(volume.voxels, noise((4, 4, 4)))


class TestSliceGrid:
    @settings(max_examples=150, deadline=None)
    @given(shapes, affines(), st.sampled_from([0, 1, 2]))
    def test_join_undoes_cut(self, shape: tuple[int, int, int], affine: np.ndarray, default: int) -> None:
        volume = Volume(noise(shape), affine)
        grid = SliceGrid.of(volume, default)
        joined = grid.join(grid.cut(volume.voxels))
        assert joined.dtype == volume.voxels.dtype
        assert np.array_equal(joined, volume.voxels)

    @settings(max_examples=150, deadline=None)
    @given(affines(tilt=30), st.sampled_from([0, 1, 2]))
    def test_cut_shows_the_patient_the_same_way_round(self, affine: np.ndarray, default: int) -> None:
        shape = (4, 5, 6)
        places = np.einsum("ab,b...->a...", affine[:3], np.stack([*np.indices(shape), np.ones(shape)]))
        grid = SliceGrid.of(Volume(noise(shape), affine), default)
        slices, rows, columns = grid.axis, *(a for a in (0, 1, 2) if a != grid.axis)
        for dimension, world in enumerate((slices, rows, columns)):
            assert (np.diff(grid.cut(places[world]), axis=dimension) > 0).all()

    @settings(max_examples=100, deadline=None)
    @given(affines(tilt=30), st.sampled_from([0, 1, 2]))
    def test_slices_run_along_the_coarsest_axis_where_it_is_clear(self, affine: np.ndarray, default: int) -> None:
        volume = Volume(noise((4, 5, 6)), affine)
        grid = SliceGrid.of(volume, default)
        spacing = sorted(volume.spacing)
        if spacing[2] >= 1.5 * spacing[1]:
            assert volume.spacing[grid.stored_axis] == spacing[2]
        else:
            assert grid.axis == default

    @settings(max_examples=100, deadline=None)
    @given(affines(), st.sampled_from([0, 1, 2]))
    def test_stored_axes_say_where_slices_come_from(self, affine: np.ndarray, default: int) -> None:
        voxels = noise((4, 5, 6))
        grid = SliceGrid.of(Volume(voxels, affine), default)
        cut = grid.cut(voxels)
        assert sorted([grid.stored_axis, *grid.plane_axes]) == [0, 1, 2]
        assert cut.shape == (voxels.shape[grid.stored_axis], *(voxels.shape[a] for a in grid.plane_axes))
        first = voxels.take(-1 if grid.reversed else 0, axis=grid.stored_axis)
        assert sorted(cut[0].ravel()) == sorted(first.ravel())

    @pytest.mark.parametrize("single", [0, 1, 2])
    def test_a_single_slice_is_one_slice_whatever_its_spacing(self, single: int) -> None:
        shape = [6, 6, 6]
        shape[single] = 1
        for affine in (np.eye(4), np.diag([4.0, 1, 1, 1]), np.diag([1, 4.0, 1, 1]), np.diag([1, 1, 4.0, 1])):
            grid = SliceGrid.of(Volume(noise(tuple(shape)), affine))
            assert grid.cut(noise(tuple(shape))).shape == (1, 6, 6)
