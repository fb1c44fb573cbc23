"""What a client asks of the infer tasks: read and checked once, where it comes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from monailabel.endpoints.user.auth import DEFAULT_USER
from monailabel.interfaces.datastore import DefaultLabelTag
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from wsseg.errors import WssegError
from wsseg.files import is_plain
from wsseg.images.formats.table import MASKS
from wsseg.images.scan import SEG
from wsseg.labels.values import LONGEST_TEXT
from wsseg.server.compute import devices
from wsseg.server.tasks.presence import GivenPresence, read_presence
from wsseg.server.viewers.slicer import StrokeValues, chosen, stroke_values


def device_named(option: Any) -> str:
    """One of :func:`devices`, the first where none is named; "cuda" is the first GPU.

    Raises:
        WssegError: there is no such device.
    """
    asked, there = chosen(option), devices()
    name = "cuda:0" if asked == "cuda" else asked or there[0]
    if name not in there:
        raise WssegError(f'device "{name}" is not there, use one of: {", ".join(there)}')
    return str(name)


def _tag(given: Any) -> str:
    """The name of a folder of masks.

    Raises:
        WssegError: it would be a path.
    """
    tag = str(given)
    if not is_plain(tag):
        raise WssegError(f'label_tag "{tag}": must be the name of a folder, not a path')
    return tag


def _extension(given: Any) -> str:
    extension = "." + str(given).lower().lstrip(".")
    if extension not in (*MASKS, SEG):
        raise WssegError(f'result_extension "{given}" is unknown, use one of: {", ".join((*MASKS, SEG))}')
    return extension


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise WssegError(f"text: must be a sentence, not {str(given)[:40]!r}")
    text = given.strip()
    if len(text) > LONGEST_TEXT:
        raise WssegError(f"text: has {len(text)} characters, {LONGEST_TEXT} are possible")
    return text


class _Asked(BaseModel):
    """Fields by the names that clients send. Viewers send rows of their own too, which say nothing here."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)


Place = tuple[int, int, int]
"""Voxel indices along the three stored axes."""


class Strokes(_Asked):
    """What was drawn for the scribbles task.

    Attributes:
        file: all segments in one mask, as uploaded.
        selected: name of the class that foreground strokes are of.
        values: of the strokes in the file.
    """

    file: Path = Field(alias="label")
    selected: str = Field("", alias="selected_label_name")
    values: Annotated[StrokeValues, BeforeValidator(stroke_values)] = Field(
        None, alias="label_info", validate_default=True
    )


class InferRequest(_Asked):
    """One image and what is wanted of it.

    Attributes:
        model: name of the task.
        image: an id of the studies, or the path of a file that was uploaded.
        device: "cpu" or "cuda:N".
        presence: of classes on slices; None where nothing was said.
        text: a sentence of the report, at most 2000 characters; "" where none was sent.
        save_as_label: whether presence and text are kept as labels of the scan.
        annotator: who asks.
        save_label: whether the mask is stored in the studies.
        label_tag: under which it is.
        extension: of the result, with its dot.
        compress: whether an NRRD result is compressed; OHIF reads raw ones only.
        force: segment a scan whose DICOM header names another modality or body part than the model reads.
        uncertainty: whether the reply's parameters hold the doubt per voxel.
        strokes: None where none were sent.
        segment: name of the class that points are of.
        foreground, background: points in it and outside of it, in voxels of the stored scan.
        segment_with: name of the model that respects points or strokes; "" for the first one.
    """

    model: str
    image: str = ""
    device: Annotated[str, BeforeValidator(device_named)] = Field(None, validate_default=True)
    presence: Annotated[GivenPresence, BeforeValidator(read_presence)] | None = None
    text: Annotated[str, BeforeValidator(_text)] = ""
    save_as_label: bool = False
    annotator: str = Field(DEFAULT_USER.username, validation_alias=AliasChoices("annotator", "client_id"))
    save_label: bool = False
    label_tag: Annotated[str, BeforeValidator(_tag)] = DefaultLabelTag.ORIGINAL.value
    extension: Annotated[str, BeforeValidator(_extension)] = Field(".nii.gz", alias="result_extension")
    compress: bool = Field(True, alias="result_compress")
    force: bool = False
    uncertainty: bool = False
    strokes: Strokes | None = None
    segment: str = ""
    foreground: tuple[Place, ...] = ()
    background: tuple[Place, ...] = ()
    segment_with: Annotated[str, BeforeValidator(lambda option: chosen(option) or "")] = ""

    @classmethod
    def parse(cls, request: Mapping[str, Any]) -> InferRequest:
        """Read what a client sent; an empty row says nothing.

        Raises:
            WssegError: a field has a value that cannot be used.
        """
        said = {name: value for name, value in request.items() if not _empty(value)}
        try:
            strokes = Strokes.model_validate(said) if "label" in said else None
            return cls.model_validate({**said, "strokes": strokes})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise WssegError(f"{field}: {first['msg']}, not {str(first['input'])[:40]!r}") from error


@dataclass(frozen=True)
class Source:
    """The image that a request is about.

    Attributes:
        path: a file, or a folder of one DICOM series.
        scan: its id in the studies, "" for one that was uploaded.
    """

    path: Path
    scan: str


@dataclass(frozen=True)
class InferReply:
    """What came of a request.

    Attributes:
        file: the mask, for the caller to delete.
        label: its id in the studies where it was stored, else its file.
        tag: as asked.
        params: what is known of the mask, ready for JSON.
    """

    file: Path
    label: str
    tag: str
    params: dict[str, Any]

    def facts(self) -> dict[str, Any]:
        """In the words of MONAI Label, without the file."""
        return {"label": self.label, "tag": self.tag, "params": self.params}


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
