"""What tests share: a work directory of their own, real scans where they are, small models."""

from __future__ import annotations

import concurrent.futures.thread
import csv
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from wsseg.data.phantom import write_phantom_data
from wsseg.files import home
from wsseg.labels.space import Code, Label
from wsseg.methods.backbones.ddpm import DDPMSettings
from wsseg.methods.cam import CAMSettings
from wsseg.methods.cdm import CDMSettings
from wsseg.methods.cldf import CLDFSettings
from wsseg.methods.pclmix import PCLMixSettings
from wsseg.methods.registry import method_class, stored_weights
from wsseg.methods.textdiff import TextDiffSettings
from wsseg.methods.union import UnionSettings
from wsseg.models.package import Metadata, ModelPackage, Recipe, read_package, write_package
from wsseg.models.shelf import publish
from wsseg.training.run import TrainSettings, train_package

REPOSITORY = Path(__file__).parents[1]

pytest_plugins = ["browser"]

# Random weights say "absent" of most slices; so low a threshold shows them all.
SMALL_CDM = CDMSettings(
    widths=(32, 32, 32), classifier_widths=(8, 16, 16), sigmas=(0.6,), draws=1, presence_threshold=1e-6
)
SMALL_CAM = CAMSettings(widths=(8, 16, 32, 32), layer="layer2")

SMALL_CLDF = CLDFSettings(
    widths=SMALL_CDM.widths,
    classifier_widths=SMALL_CDM.classifier_widths,
    cam_widths=SMALL_CAM.widths,
    cam_layer=SMALL_CAM.layer,
    diffusion_size=16,
    sigmas=(0.2, 0.5),
    levels=(0, 1, 2),
    width=16,
    embedding=8,
    presence_threshold=1e-6,
)
SMALL_PCLMIX = PCLMixSettings(widths=(8, 8, 16, 16, 16), crop=32, embedding=8, memory=20, anchors=8, batch=4, steps=3)
SMALL_DDPM = DDPMSettings(widths=(32, 32, 32), shrink=1, crop=32, batch=2, steps=2)
SMALL_TEXTDIFF = TextDiffSettings(
    widths=SMALL_DDPM.widths,
    sigmas=(0.1,),
    shrink=1,
    crop=32,
    text_width=8,
    width=32,
    hidden=(16, 8),
    batch=2,
    steps=60,
    rate=1e-2,
)
SMALL_UNION = UnionSettings(widths=(16, 16), neighbours=0, crop=32, batch=4, steps=3)
COLOUR = {"ddpm": SMALL_DDPM, "textdiff": SMALL_TEXTDIFF}
"""Those of methods that read colour pictures."""

SMALL = {"cdm": SMALL_CDM, "cam": SMALL_CAM, "cldf": SMALL_CLDF, "pclmix": SMALL_PCLMIX, "union": SMALL_UNION, **COLOUR}

PINK, PURPLE = (225, 150, 190), (90, 50, 130)


def pytest_configure() -> None:
    """Where tests run side by side, each has a core, and so have the servers that it starts."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)
        os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What stands in tests/e2e is marked so, whoever adds it."""
    for item in items:
        if item.path.is_relative_to(REPOSITORY / "tests" / "e2e"):
            item.add_marker("e2e")


@pytest.fixture(autouse=True, scope="session")
def work_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Every test, and every server it starts, works in a directory of its own."""
    folder = tmp_path_factory.mktemp("home")
    before = os.environ.get("WSSEG_HOME")
    os.environ["WSSEG_HOME"] = str(folder)
    yield folder
    if before is None:
        del os.environ["WSSEG_HOME"]
    else:
        os.environ["WSSEG_HOME"] = before


@pytest.fixture(autouse=True, scope="module")
def no_thread_is_left() -> Iterator[None]:
    """A thread that never ends keeps Python from ending: a server could not be stopped, nor the tests."""
    before = set(threading.enumerate())
    yield
    end = time.monotonic() + 20
    while left := [t for t in threading.enumerate() if t not in before and not t.daemon and not _idle(t)]:
        if time.monotonic() > end:
            pytest.fail(f"threads that do not end: {left}")
        time.sleep(0.05)


def _idle(thread: threading.Thread) -> bool:
    """A pool's thread that waits for work; Python ends it by itself."""
    return thread in concurrent.futures.thread._threads_queues


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real scans beside the repository; where it must be there, its absence fails."""
    folder = Path(os.environ.get("WSSEG_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        reason = f"real scans are not at {folder}, set WSSEG_DATA"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def phantom_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small synthetic scans with presence labels and masks."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_data(folder, cases=4, seed=0, size=64)
    return folder


def metadata_of(method: str, settings: dict, labels: tuple[str, ...] = ("tumor",), size: int = 32) -> Metadata:
    """Metadata of a small package."""
    code = Code(scheme="SCT", value="108369006", meaning="Neoplasm")
    colors = [(220, 60, 60), (60, 220, 60), (60, 60, 220)]
    shown = {name: Label(color=color, category=code, type=code) for name, color in zip(labels, colors, strict=False)}
    colour = method in COLOUR
    recipe = Recipe(
        **{"format": 2, "method": method, "settings": settings, "labels": shown, "size": size, "colour": colour},
        modality="SM H&E" if colour else "MR FLAIR",
        licence="Apache-2.0",
    )
    return Metadata(version="0.1", changelog={}, description="a test", authors="wsseg", wsseg=recipe)


MakePackage = Callable[..., ModelPackage]


@pytest.fixture
def make_package(tmp_path: Path) -> MakePackage:
    """Write a package with random weights into a folder: ``make_package("cdm", labels=("a", "b"))``."""

    def make(method: str = "cdm", name: str = "small", labels: tuple[str, ...] = ("tumor",)) -> ModelPackage:
        return small_package(tmp_path / name, method, labels)

    return make


def small_package(folder: Path, method: str = "cdm", labels: tuple[str, ...] = ("tumor",)) -> ModelPackage:
    """A package of the smallest networks with random weights that do not cancel."""
    settings = SMALL[method]
    torch.manual_seed(0)
    network = method_class(method)(settings, len(labels))
    if method not in COLOUR:
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
    metadata = metadata_of(method, settings.model_dump(mode="json"), labels)
    write_package(folder, metadata, stored_weights(network), "card", "licence")
    return read_package(folder)


@pytest.fixture(scope="session")
def published(work_home: Path) -> str:
    """The name of a small model that is published in the tests' work directory."""
    small_package(home() / "models" / "small" / "0.1")
    publish(home() / "models", "small", "0.1")
    return "small"


def tissue(seed: int, width: int = 64, height: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Purple blobs on pink, most of them in the upper left: (rows, columns, 3) and their mask, both uint8."""
    rng = np.random.default_rng(seed)
    across = np.linspace(0, 1, width) + np.linspace(0, 1, height)[:, None]
    field = ndimage.gaussian_filter(rng.standard_normal((height, width)), 3)
    mask = field / field.std() > 1.6 * across - 0.4
    picture = np.where(mask[..., None], PURPLE, PINK) + rng.normal(0, 8, (height, width, 3))
    return np.clip(picture, 0, 255).astype(np.uint8), mask.astype(np.uint8)


def write_pictures(folder: Path, count: int) -> None:
    """``tile_0.png`` on with their ``_label.png`` (255 = nucleus) and ``text.csv``."""
    texts = []
    for seed in range(count):
        picture, mask = tissue(seed)
        Image.fromarray(picture).save(folder / f"tile_{seed}.png")
        Image.fromarray(255 * mask).save(folder / f"tile_{seed}_label.png")
        texts.append((f"tile_{seed}", f"Nuclei, tile number {seed}."))
    with (folder / "text.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("case", "text"), *texts])


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small synthetic pictures with masks and sentences."""
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(folder, 4)
    return folder


@pytest.fixture(scope="session")
def nuclei(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """A small model of pictures and sentences that has learned what is purple."""
    folder = tmp_path_factory.mktemp("nuclei")
    package = small_package(folder / "start", "textdiff", ("nucleus",))
    return train_package(package, pictures, folder / "models", TrainSettings(folder=folder / "run")).package
