from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conftest import MakePackage, small_package, write_pictures
from wsseg.data.phantom import write_phantom_data
from wsseg.errors import WssegError
from wsseg.images.folder import scan_files
from wsseg.images.scan import read_scan
from wsseg.images.volume import SliceGrid, Volume
from wsseg.inference.quality.fits import ASPECTS, LEVEL, judge, learn_domain, p_value
from wsseg.inference.quality.look import THIRDS, TILES, Aspect, Look, lopsided
from wsseg.inference.segmenter import Segmenter
from wsseg.methods.registry import load_method
from wsseg.models.domain import DOMAIN, Extents, read_domain, write_domain
from wsseg.models.package import ModelPackage
from wsseg.training.assessment.describe import describe

SCANS = 24


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    write_phantom_data(folder, cases=SCANS + 4, seed=7, size=64)
    return folder


@pytest.fixture(scope="module")
def described(heads: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """A small model that knows what all but four heads look like."""
    package = small_package(tmp_path_factory.mktemp("described") / "small")
    known = list(scan_files(heads))[:SCANS]
    domain = describe(load_method(package), package.recipe, heads, known)
    assert domain is not None
    write_domain(package.folder, domain)
    return package


@pytest.fixture(scope="module")
def segmenter(described: ModelPackage) -> Segmenter:
    return Segmenter(described.folder, "cpu")


@pytest.fixture
def new(heads: Path) -> list[Volume]:
    """Heads that the model does not know."""
    return [read_scan(file) for file in list(scan_files(heads).values())[SCANS:]]


def test_new_scans_of_the_kind_fit(segmenter: Segmenter, new: list[Volume]) -> None:
    """All but one at most: among heads, too, one may be odd."""
    told = [fits for scan in new if (fits := segmenter.fits(scan)) and not fits.doubtful]
    assert len(told) >= len(new) - 1
    for fits in told:
        assert fits.sentence.startswith("like its training scans: 8 slices 256 mm wide at 4.0 mm, 15.0 mm apart")
        assert f"the model has seen {SCANS} scans of MR FLAIR" in fits.sentence


def inverted(scan: Volume) -> Volume:
    return scan.like(scan.voxels.max() - scan.voxels)


def half(scan: Volume) -> Volume:
    return Volume(np.ascontiguousarray(scan.voxels[: scan.shape[0] // 2]), scan.affine)


def noise(scan: Volume) -> Volume:
    return scan.like(np.random.default_rng(0).normal(100, 20, scan.shape))


def ball(scan: Volume) -> Volume:
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in scan.shape), indexing="ij")
    return scan.like(100.0 * (x**2 + y**2 + z**2 < 0.5))


@pytest.mark.parametrize("foreign", [inverted, half, noise, ball])
def test_scans_of_another_kind_do_not(
    segmenter: Segmenter, new: list[Volume], foreign: Callable[[Volume], Volume]
) -> None:
    for scan in new:
        fits = segmenter.fits(foreign(scan))
        assert fits is not None
        assert fits.doubtful
        assert fits.sentence.startswith("unlike its training scans in ")


def test_any_unit_of_intensity_fits(segmenter: Segmenter, new: list[Volume]) -> None:
    plain, other = (segmenter.fits(scan) for scan in (new[0], new[0].like(new[0].voxels * 7.5 + 300)))
    assert plain is not None
    assert other is not None
    assert other.p == pytest.approx(plain.p, rel=0.2)


def test_the_mask_says_so(segmenter: Segmenter, new: list[Volume]) -> None:
    result = segmenter(noise(new[0]))
    told = result.facts()["fits"]
    assert told["doubtful"]
    assert told["p"] < LEVEL
    assert result.segments(segmenter.package).remark.startswith("does not fit the model, p = ")
    assert segmenter(new[0]).segments(segmenter.package).remark == ""


def test_refused_if_that_is_asked_for(segmenter: Segmenter, new: list[Volume]) -> None:
    with pytest.raises(WssegError, match="does not fit small"):
        segmenter(noise(new[0]), refuse=True)
    assert segmenter(new[0], refuse=True).fits is not None


def test_a_package_without_a_domain_says_nothing(make_package: MakePackage, new: list[Volume]) -> None:
    segmenter = Segmenter(make_package().folder, "cpu")
    assert segmenter.fits(new[0]) is None
    assert segmenter(new[0], refuse=True).facts()["fits"] is None


def test_too_few_scans_are_no_kind(make_package: MakePackage, phantom_data: Path) -> None:
    package = make_package()
    assert describe(load_method(package), package.recipe, phantom_data) is None


@pytest.mark.parametrize("method", ["cam", "cldf", "pclmix"])
def test_every_method_tells_noise(make_package: MakePackage, heads: Path, new: list[Volume], method: str) -> None:
    package = make_package(method)
    domain = describe(load_method(package), package.recipe, heads, list(scan_files(heads))[:SCANS])
    assert domain is not None
    write_domain(package.folder, domain)
    known, strange = (Segmenter(package.folder, "cpu").fits(scan) for scan in (new[0], noise(new[0])))
    assert known is not None
    assert strange is not None
    assert strange.doubtful
    assert not known.doubtful


def test_pictures(make_package: MakePackage, tmp_path: Path) -> None:
    write_pictures(tmp_path, 12)
    package = make_package("textdiff", labels=("nucleus",))
    domain = describe(load_method(package), package.recipe, tmp_path, [f"tile_{k}" for k in range(11)])
    assert domain is not None
    write_domain(package.folder, domain)
    segmenter, tile = Segmenter(package.folder, "cpu"), read_scan(tmp_path / "tile_11.png")
    known, negative = segmenter.fits(tile), segmenter.fits(Volume(255 - tile.voxels, tile.affine))
    assert known is not None
    assert not known.doubtful
    assert "pictures of 64 pixels a side" in known.sentence
    assert negative is not None
    assert negative.doubtful


def test_the_domain_is_small_and_read_as_written(described: ModelPackage) -> None:
    assert (described.folder / DOMAIN).stat().st_size < 1 << 20
    domain = read_domain(described.folder, ASPECTS)
    assert domain is not None
    assert domain.seen.scans == len(domain.left_out) == SCANS
    assert list(domain.left_out) == sorted(domain.left_out)


def test_a_damaged_domain_is_named(described: ModelPackage, tmp_path: Path) -> None:
    (tmp_path / DOMAIN).parent.mkdir()
    whole = (described.folder / DOMAIN).read_bytes()
    for content in (b"", whole[:100], whole[:-8], whole.replace(b"layout.mean", b"xayout.mean", 1)):
        (tmp_path / DOMAIN).write_bytes(content)
        with pytest.raises(WssegError, match=r"domain\.safetensors: is damaged"):
            read_domain(tmp_path, ASPECTS)


def test_p_values_are_ranks_and_fall_on_beyond_them() -> None:
    left_out = np.linspace(0.5, 2.5, 19)
    assert p_value(left_out, 0.0) == 1.0
    assert p_value(left_out, 2.5) == pytest.approx(2 / 20)
    beyond = [p_value(left_out, score) for score in (2.51, 4.0, 8.0, 80.0)]
    assert beyond[0] == pytest.approx(1 / 20, rel=0.1)
    assert beyond == sorted(beyond, reverse=True)
    assert beyond[2] < LEVEL


def test_p_values_are_honest_for_few_scans() -> None:
    """Of scans of the training scans' kind about one in twenty is doubted, though there are only twenty."""
    rng = np.random.default_rng(0)
    doubted = [p_value(np.sort(scores[1:]), scores[0]) < LEVEL for scores in rng.normal(2, 0.5, (4000, 21))]
    assert 0.03 < np.mean(doubted) < 0.06


def _noise(rng: np.random.Generator, odd: Aspect | None = None, by: float = 1.0) -> Look:
    """A look that says nothing, but for one aspect that is so many times what is usual."""
    layout = rng.normal(0, 1, (THIRDS, TILES, TILES))
    look = {aspect: rng.normal(0, 1, 10) for aspect in Aspect}
    look |= {Aspect.LAYOUT: layout.ravel(), Aspect.TURN: lopsided(layout)}
    return {aspect: by * numbers if aspect is odd else numbers for aspect, numbers in look.items()}


def _p(looks: list[Look], scan: Look) -> float:
    seen = Extents(scans=len(looks), slices=(8, 8), pixel_mm=(1, 1), step_mm=(5, 5), side_mm=(64, 64))
    volume = Volume(np.zeros((8, 8, 8)), np.eye(4))
    domain = learn_domain(looks, [f"{k}" for k in range(len(looks))], seen)
    return judge(domain, scan, volume, SliceGrid.of(volume), "MR").p


def test_one_odd_scan_among_a_dozen_hides_no_other() -> None:
    """One of twelve has grey values of its own, as of another scanner; others are odd in another way, and less so."""
    rng = np.random.default_rng(0)
    known = [_noise(rng) for _ in range(11)] + [_noise(rng, Aspect.GREY, 30)]
    for aspect in (Aspect.SYMMETRY, Aspect.FINE, Aspect.SIZE):
        assert _p(known, _noise(rng, aspect, 12)) < LEVEL, aspect


def test_what_cannot_be_measured_fits_nothing() -> None:
    rng = np.random.default_rng(0)
    unmeasured = {**_noise(rng), Aspect.DEEP: np.full(10, np.nan)}
    assert _p([_noise(rng) for _ in range(12)], unmeasured) == 0


def test_of_a_dozen_scans_few_of_the_kind_are_doubted() -> None:
    rng = np.random.default_rng(0)
    doubted = [_p([_noise(rng) for _ in range(12)], _noise(rng)) < LEVEL for _ in range(200)]
    assert np.mean(doubted) < 0.08


def test_a_scan_that_lies_otherwise_is_told_by_what_is_lopsided() -> None:
    """All else of these looks is noise; one side of the layout is brighter, if only by as much as scans differ."""
    rng = np.random.default_rng(0)
    slope = np.broadcast_to(np.linspace(-1, 1, TILES)[:, None], (THIRDS, TILES, TILES))

    def look(upright: float) -> Look:
        layout = upright * slope + rng.normal(0, 1, slope.shape)
        numbers = {aspect: rng.normal(0, 1, 10) for aspect in Aspect}
        return {**numbers, Aspect.LAYOUT: layout.ravel(), Aspect.TURN: lopsided(layout)}

    seen = Extents(scans=30, slices=(8, 8), pixel_mm=(1, 1), step_mm=(5, 5), side_mm=(64, 64))
    domain = learn_domain([look(1.0) for _ in range(30)], [f"{k}" for k in range(30)], seen)
    scan = Volume(np.zeros((8, 8, 8)), np.eye(4))
    upright, turned = (
        [judge(domain, look(way), scan, SliceGrid.of(scan), "MR").p for _ in range(20)] for way in (1.0, -1.0)
    )
    assert np.median(upright) > 0.1
    assert max(turned) < LEVEL
