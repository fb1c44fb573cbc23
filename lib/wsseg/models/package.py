"""A trained model on disk: a MONAI Bundle with safetensors weights. No more than I/O.

::

    <name>/configs/metadata.json    MONAI's fields, and ours under "wsseg"
           configs/inference.json   for `python -m monai.bundle run`; never read by us
           models/model.safetensors half precision, at most 16 MB
           docs/README.md           the model card
           LICENSE

Where packages stand, and which version is in use: :mod:`wsseg.models.shelf`.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from wsseg.errors import NotFoundError, WssegError
from wsseg.files import PART, held, make_folder, sweep
from wsseg.images.segments import Segments
from wsseg.labels.space import Label, LabelSpace, Strict
from wsseg.models.migration import to_current
from wsseg.models.record import Figure, TrainingRecord

if TYPE_CHECKING:
    from torch import Tensor

METADATA = Path("configs/metadata.json")
INFERENCE = Path("configs/inference.json")
WEIGHTS = Path("models/model.safetensors")
CARD = Path("docs/README.md")
LICENCE = Path("LICENSE")
VERSION = r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,99}$"
"""How versions are called, and so their folders: never a path."""

CURRENT = "CURRENT"
"""Beside the versions of a model trained here, in a folder that bears its name."""


class Parent(Strict):
    """Where a part of a method comes from, a frozen one or one that begins with those weights.

    Attributes:
        package: name of a trained model.
        part: of that model's method.
    """

    package: str
    part: str


def dicom_modality(reads: str) -> str:
    """DICOM's word for what a model reads, with which that begins: MR of "MR, T2-weighted"."""
    return re.split(r"[\s,]+", reads.strip())[0].upper()


def is_ct(reads: str) -> bool:
    """Whether what a model reads is CT."""
    return dicom_modality(reads) == "CT"


Hounsfield = Annotated[float, Field(ge=-4096, le=32767)]
"""What the 12 to 16 bits of a CT can hold."""


class Recipe(Strict):
    """What only wsseg needs to know of a model: the key ``wsseg`` of the metadata.

    Attributes:
        method: name in the method registry.
        settings: of the method, checked by it.
        planned: False until the way it sees scans, and settings that follow from it, are chosen: from the
            data that it is first trained on.
        parents: parts of the method that are taken from other packages when
            a new model is trained, frozen ones or such as it begins with;
            copied, so that the package stands by itself.
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
        body_part: DICOM's word for the part of the body it was made for, as in
            BRAIN; empty where any will do, or none is known.
        rim_mm: depth under the skin where nothing is marked; never anything in what is surely air.
        edge_mm: radius of a guided filter that moves borders to the edges of
            the image at its own resolution; 0 leaves them as the network's grid
            has them.
        largest_component: keep only one piece of each class in 3-D, that of the
            greatest sum of probabilities.
        inside: class that surrounds, by class; a piece also counts by how far it is surrounded.
        licence: of the weights, following from the training data's.
        training: on what, how long and with which score; None for an untrained package.
        figures: measured results.
    """

    format: Literal[2]
    method: str
    settings: dict[str, Any]
    planned: bool = True
    parents: dict[str, Parent] = {}
    labels: dict[str, Label]
    size: int = Field(ge=16, le=1024)
    axis: Literal[0, 1, 2] = 2
    colour: bool = False
    pixel_mm: float = Field(0.0, ge=0, le=20)
    bright: float = Field(2.5, gt=0, le=1000)
    windows: tuple[tuple[Hounsfield, Hounsfield], ...] = Field((), max_length=8)
    modality: str
    body_part: str = Field("", max_length=64)
    rim_mm: float = Field(0.0, ge=0, le=100)
    edge_mm: float = Field(0.0, ge=0, le=50)
    largest_component: bool = False
    inside: dict[str, str] = Field({}, max_length=64)
    licence: str
    training: TrainingRecord | None = None
    figures: list[Figure] = []

    @property
    def hounsfield(self) -> bool:
        """Whether it reads CTs."""
        return bool(self.windows) or is_ct(self.modality)

    @model_validator(mode="before")
    @classmethod
    def _of_an_earlier_format(cls, given: Any) -> Any:
        return to_current(given)

    @model_validator(mode="after")
    def _classes_lie_inside_classes(self) -> Self:
        if self.inside and not self.largest_component:
            raise ValueError("inside tells which piece is kept, and needs largest_component")
        for name, around in self.inside.items():
            if not {name, around} <= set(self.labels):
                raise ValueError(f"inside: {name} in {around} are not both among the labels")
            passed = {name}
            while around in self.inside and around not in passed:
                passed.add(around)
                around = self.inside[around]
            if around in passed:
                raise ValueError(f"inside: {name} lies in itself")
        return self


class Metadata(BaseModel):
    """``configs/metadata.json``: MONAI's own fields are kept as they are."""

    model_config = ConfigDict(extra="allow")

    version: str = Field(pattern=VERSION)
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
        sweep(folder.parent, f"{_DRAFT}*", f"{PART}*")
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_DRAFT))
    except OSError as error:
        raise WssegError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        with held(draft):
            for part in (METADATA, WEIGHTS, CARD):
                (draft / part).parent.mkdir(exist_ok=True)
            (draft / METADATA).write_text(metadata.model_dump_json(indent=2) + "\n", encoding="utf-8")
            (draft / INFERENCE).write_text(json.dumps(_inference(), indent=2) + "\n", encoding="utf-8")
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
