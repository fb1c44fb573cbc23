"""A trained model on disk: a MONAI Bundle with safetensors weights. No more than I/O.

::

    <name>/configs/metadata.json    MONAI's fields, and ours under "wsseg"
           configs/inference.json   for `python -m monai.bundle run`; never read by us
           models/model.safetensors half precision, at most 16 MB
           docs/README.md           the model card
           LICENSE

Packages that ship are read-only. Trained ones are immutable folders
``<home>/models/<name>/<version>/``, and the file ``CURRENT`` beside them names
the one in use, or says ``shipped``; replacing that small file publishes a model
or rolls one back.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wsseg.errors import NotFoundError, WssegError
from wsseg.files import held, home, make_folder, sweep, whole_file
from wsseg.images.segments import Segments
from wsseg.labels.space import Label, LabelSpace, Strict

if TYPE_CHECKING:
    from torch import Tensor

METADATA = Path("configs/metadata.json")
INFERENCE = Path("configs/inference.json")
WEIGHTS = Path("models/model.safetensors")
CARD = Path("docs/README.md")
LICENCE = Path("LICENSE")
CURRENT = "CURRENT"

SHIPPED = "shipped"
"""What ``CURRENT`` holds where the package that ships is used although versions were trained here."""

SCORE, SCORE_BEFORE = "held-back score", "held-back score before"
"""Keys of ``Recipe.trained``: of the version itself, and of the one it started from on the same labels."""

DEFAULT_MODEL = "cldf-glioma-flair"
"""What segments where no model is named."""


class Figure(Strict):
    """One measured result.

    Attributes:
        what: the quantity and its protocol in a few words.
        value: mean over noise seeds.
        spread: standard deviation over them.
        seeds: how many.
    """

    what: str
    value: float = Field(ge=-1e6, le=1e6)
    spread: float = Field(ge=0, le=1e6)
    seeds: int = Field(ge=1, le=10_000)


class Parent(Strict):
    """Where a frozen part of a method comes from.

    Attributes:
        package: name of a trained model.
        part: of that model's method.
    """

    package: str
    part: str


Hounsfield = Annotated[float, Field(ge=-4096, le=32767)]
"""What the 12 to 16 bits of a CT can hold."""


class Recipe(Strict):
    """What only wsseg needs to know of a model: the key ``wsseg`` of the metadata.

    Attributes:
        method: name in the method registry.
        settings: of the method, checked by it.
        parents: frozen parts of the method, taken from other packages when
            training starts from random weights; copied, so that the package
            stands by itself.
        labels: classes in order of their voxel values.
        size: in-plane size of the network's input in pixels.
        axis: of slices where spacing does not tell: 0, 1, 2 for R, A, S.
        colour: reads colour pictures, whole and at their own resolution; the
            method sees them in tiles of ``size`` pixels.
        pixel_mm: in-plane size of the network's pixels; 0 where the window is
            fitted to the tissue instead.
        bright: intensity that the network sees as 1, in medians of the tissue.
        windows: lowest and highest Hounsfield unit of each channel that is made of a
            CT; empty for other scans.
        modality: DICOM modality and sequence the model reads.
        rim_mm: depth under the skin where nothing is marked; 0 marks in air too.
        edge_mm: radius of a guided filter that moves borders to the edges of
            the image at its own resolution; 0 leaves them as the network's grid
            has them.
        largest_component: keep only the largest piece of each class in 3-D.
        licence: of the weights, following from the training data's.
        trained: when, on what and how long; empty for an untrained package.
        figures: measured results.
    """

    format: Literal[1]
    method: str
    settings: dict[str, Any]
    parents: dict[str, Parent] = {}
    labels: dict[str, Label]
    size: int = Field(ge=16, le=1024)
    axis: Literal[0, 1, 2] = 2
    colour: bool = False
    pixel_mm: float = Field(0.0, ge=0, le=20)
    bright: float = Field(2.5, gt=0, le=1000)
    windows: tuple[tuple[Hounsfield, Hounsfield], ...] = Field((), max_length=8)
    modality: str
    rim_mm: float = Field(0.0, ge=0, le=100)
    edge_mm: float = Field(0.0, ge=0, le=50)
    largest_component: bool = False
    licence: str
    trained: dict[str, Any] = {}
    figures: list[Figure] = []


class Metadata(BaseModel):
    """``configs/metadata.json``: MONAI's own fields are kept as they are."""

    model_config = ConfigDict(extra="allow")

    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]*$")
    changelog: dict[str, str]
    description: str
    authors: str
    wsseg: Recipe


@dataclass(frozen=True)
class ModelPackage:
    """A package's folder and its checked metadata; weights are read on request."""

    name: str
    folder: Path
    metadata: Metadata

    @property
    def recipe(self) -> Recipe:
        """The part of the metadata that is ours."""
        return self.metadata.wsseg

    @property
    def labels(self) -> LabelSpace:
        """Class names in order."""
        return LabelSpace(tuple(self.recipe.labels))

    @property
    def segments(self) -> Segments:
        """What a mask that the model made says of itself."""
        return Segments(self.recipe.labels, self.name, self.metadata.version)

    @property
    def trained(self) -> bool:
        """Whether there are weights."""
        return (self.folder / WEIGHTS).exists()

    def weights(self) -> dict[str, Tensor]:
        """The weights by name, as float32.

        Raises:
            WssegError: there are none, or the file is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file  # loads torch, which listing models need not wait for

        path = self.folder / WEIGHTS
        if not path.exists():
            raise WssegError(f"{path}: no such file, the model {self.name} is not trained")
        try:
            return {name: tensor.float() for name, tensor in load_file(path).items()}
        except (SafetensorError, OSError) as error:
            raise WssegError(f"{path}: not a readable safetensors file ({error})") from error

    def checksum(self) -> str:
        """SHA-256 of the weights' file."""
        return hashlib.sha256((self.folder / WEIGHTS).read_bytes()).hexdigest()


def read_package(folder: Path, name: str | None = None) -> ModelPackage:
    """Read and check a package's metadata.

    Raises:
        WssegError: not a package, or a field is missing or wrong.
    """
    path = folder / METADATA
    try:
        metadata = Metadata.model_validate_json(path.read_bytes())
    except OSError as error:
        raise NotFoundError(f"{path}: cannot be read ({error.strerror}), is {folder} a model package?") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise WssegError(f"{path}: {field}: {first['msg']}") from error
    version = (folder.parent / CURRENT).exists()  # then the folder above bears the name
    package = ModelPackage(name or (folder.parent if version else folder).name, folder, metadata)
    _ = package.labels  # refuses names that no viewer could show
    return package


_DRAFT = ".draft-"
"""How folders of packages begin that are still being written; those of killed processes go with the next one."""


def write_package(folder: Path, metadata: Metadata, weights: dict[str, Tensor], card: str, licence: str) -> None:
    """Write a whole package at once; ``folder`` must not exist.

    Weights are stored in half precision; a package without any is an untrained one.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    make_folder(folder.parent)
    try:
        sweep(folder.parent, f"{_DRAFT}*")
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_DRAFT))
    except OSError as error:
        raise WssegError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        with held(draft):
            for part in (METADATA, WEIGHTS, CARD):
                (draft / part).parent.mkdir(exist_ok=True)
            (draft / METADATA).write_text(metadata.model_dump_json(indent=2) + "\n", encoding="utf-8")
            (draft / INFERENCE).write_text(json.dumps(_inference(), indent=2) + "\n")
            (draft / CARD).write_text(card, encoding="utf-8")
            (draft / LICENCE).write_text(licence, encoding="utf-8")
            if weights:
                save_file({name: _half(tensor) for name, tensor in weights.items()}, draft / WEIGHTS)
                (draft / WEIGHTS).chmod(0o644)
            draft.chmod(0o755)
            draft.rename(folder)
    except (OSError, SafetensorError) as error:  # safetensors has its own name for a full disk
        raise WssegError(f"{folder}: cannot be written ({getattr(error, 'strerror', error)})") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _half(tensor: Tensor) -> Tensor:
    stored = tensor.detach().cpu()
    return (stored.half() if stored.is_floating_point() else stored).contiguous()


def _inference() -> dict[str, Any]:
    """MONAI's configuration: `python -m monai.bundle run --config_file configs/inference.json ...`."""
    return {
        "imports": ["$from pathlib import Path", "$from wsseg import segment_file"],
        "bundle_root": ".",
        "scan": "scan.nii.gz",
        "mask": "mask.nii.gz",
        "run": ["$segment_file(Path(@scan), Path(@mask), model=Path(@bundle_root))"],
    }


def bundled(part: str) -> Path:
    """A folder that ships: ``model`` or ``apps/wsseg``, from the wheel or the clone."""
    here = Path(__file__).parents[1]
    installed = here / "bundled" / part
    return installed if installed.is_dir() else here.parents[1] / part


def package_names() -> list[str]:
    """Every model there is, trained here or shipped; the default one first, as viewers offer the first."""
    shipped = {f.parent.parent.name for f in bundled("model").glob(f"*/{METADATA}")}
    trained = {f.parent.name for f in (home() / "models").glob(f"*/{CURRENT}")}
    return sorted(shipped | trained, key=lambda name: (name != DEFAULT_MODEL, name))


def parent_licences(recipe: Recipe) -> list[str]:
    """What binds a package because it holds copies of its parents' weights, in words."""
    names = dict.fromkeys(parent.package for parent in recipe.parents.values())
    return [f"holds weights of {name}: {find_package(name).recipe.licence}" for name in names]


def find_package(name: str | Path) -> ModelPackage:
    """A package by name, the version trained here before the shipped one, or by its folder.

    A string that holds a slash is a folder too, since names hold none.

    Raises:
        NotFoundError: there is no such model.
    """
    if isinstance(name, Path) or "/" in name:
        return read_package(Path(name))
    if name not in package_names():
        raise NotFoundError(f'model "{name}" is unknown, known are: {", ".join(package_names())}')
    return read_package(current_folder(name), name)


def current_folder(name: str) -> Path:
    """Where the version of a model is that is in use; versions are immutable, so another folder is another model."""
    trained = home() / "models" / name
    pointer = trained / CURRENT
    version = pointer.read_text().strip() if pointer.exists() else SHIPPED
    return _shipped(name) if version == SHIPPED else trained / version


def _shipped(name: str) -> Path:
    return bundled("model") / name


def publish(models: Path, name: str, version: str) -> None:
    """Make a version the one that is used, at once for every reader.

    Args:
        models: folder of all models' versions.
        version: of a package in ``models``, or of the one that ships.

    Raises:
        NotFoundError: there is no such version.
    """
    if (models / name / version / METADATA).exists():
        content = version
    elif _ships(name, version):
        content = SHIPPED
    else:
        raise NotFoundError(f"{models / name}: there is no version {version}")
    make_folder(models / name)
    with whole_file(models / name / CURRENT) as part:
        part.write_text(content + "\n")


def _ships(name: str, version: str) -> bool:
    folder = _shipped(name)
    return (folder / METADATA).exists() and read_package(folder).metadata.version == version


@dataclass(frozen=True)
class Version:
    """A trained version of a model, as its history lists it.

    Attributes:
        version: what :func:`publish` takes.
        time: when it was trained here, in local time; None where that is not known.
        current: whether it is the one in use.
        shipped: whether it came with wsseg.
        scans: how many it was trained on.
        score: on held-back labels, in [0, 1], higher is better.
        before: of the version it started from, on the same labels.
        message: what is to be said of it.
    """

    version: str
    time: datetime | None
    current: bool
    shipped: bool
    scans: int | None
    score: float | None
    before: float | None
    message: str

    @property
    def worse(self) -> bool:
        """Whether it scores worse than the version it started from."""
        return self.score is not None and self.before is not None and self.score < self.before


def versions(name: str) -> list[Version]:
    """All trained versions of a model in the work directory and the shipped one, newest first.

    Damaged ones are left out.

    Raises:
        NotFoundError: there is no such model.
    """
    current = find_package(name).folder
    shipped = _shipped(name)
    folders = [path.parents[1] for path in (home() / "models" / name).glob(f"[!.]*/{METADATA}")]
    found = []
    for folder in [*folders, shipped]:
        try:
            package = read_package(folder, name)
        except WssegError:
            continue
        if package.trained:
            found.append(_version(package, folder == current, folder == shipped))
    return sorted(found, key=lambda version: version.time or datetime.min, reverse=True)


def _version(package: ModelPackage, current: bool, shipped: bool) -> Version:
    metadata, told = package.metadata, package.recipe.trained
    found = Version(
        version=metadata.version if shipped else package.folder.name,
        time=_trained_at(metadata.version),
        current=current,
        shipped=shipped,
        scans=told.get("scans"),
        score=told.get(SCORE),
        before=told.get(SCORE_BEFORE),
        message=metadata.changelog.get(metadata.version, ""),
    )
    worse = f"{found.message}; scored worse than before, so not published by itself"
    return replace(found, message=worse) if found.worse else found


def _trained_at(version: str) -> datetime | None:
    """Training stamps the time behind a plus: ``0.1.0+20260131.235959``."""
    try:
        return datetime.strptime(version.partition("+")[2], "%Y%m%d.%H%M%S")
    except ValueError:
        return None


def roll_back(name: str, version: str | None = None) -> Version:
    """Use an earlier version of a model again; without naming one, the last before it that was not worse.

    Raises:
        NotFoundError: no such model or version.
        WssegError: there is none before.
    """
    known = versions(name)
    listed = ", ".join(entry.version for entry in known)
    if version is None:
        place = next((index for index, entry in enumerate(known) if entry.current), len(known))
        earlier = [entry for entry in known[place + 1 :] if not entry.worse]
        if not earlier:
            raise WssegError(f"{name}: there is no version before the one in use, there are: {listed or 'none'}")
        chosen = earlier[0]
    elif not (named := [entry for entry in known if entry.version == version]):
        raise NotFoundError(f"{name}: there is no version {version}, there are: {listed or 'none'}")
    else:
        chosen = named[0]
    publish(home() / "models", name, chosen.version)
    return replace(chosen, current=True)
