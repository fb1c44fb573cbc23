"""Scans and their masks as MONAI Label's datastore: what a folder and an archive have in common."""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from wsseg.errors import NotFoundError, UnavailableError, WssegError, naming
from wsseg.files import PART, draft, is_plain, make_folder, put, sweep
from wsseg.images.formats.table import EXTENSIONS
from wsseg.server.studies.case_files import CaseFiles, extension_of, refuse_link
from wsseg.server.studies.index import Index, Info, Known, Listed, Record

FINAL, ORIGINAL = DefaultLabelTag.FINAL.value, DefaultLabelTag.ORIGINAL.value

LABELS = "labels"
"""The folder of the masks, with one for each tag."""


class KeptError(UnavailableError):
    """A finished mask is on disk here, but not where it belongs yet."""


class ScanStore(Datastore):
    """Masks lie in ``labels/<tag>`` beside the scans, what is known of both in ``datastore_v2.json``.

    What there is, is told by the files alone: they are looked at when somebody
    asks, so that whatever came or went meanwhile is seen, on network drives too.

    Args:
        folder: of scans, or of what was fetched from an archive; is made.

    Raises:
        WssegError: it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = Index(folder)
        self._masks: dict[str, CaseFiles] = {}
        for tag in (ORIGINAL, FINAL):
            if not (folder / LABELS / tag).exists():
                make_folder(folder / LABELS / tag)
        for place in (folder, *self._tag_folders()):
            sweep(place, f"{PART}*")

    @abstractmethod
    def list_images(self) -> list[str]:
        """Ids of all scans."""

    @abstractmethod
    def local(self, image_id: str) -> Path | None:
        """A scan's file if it is on this machine; nothing is fetched."""

    @abstractmethod
    def source(self, image_id: str) -> Path | None:
        """The scan as it came: its file, or the folder of its DICOM series; None if there is no such scan."""

    @abstractmethod
    def title(self, image_id: str) -> str:
        """What people call a scan."""

    def study(self, image_id: str) -> str | None:
        """UID of the study that a scan is of in an archive; None where there is none."""
        return None

    def name(self) -> str:
        """The name that somebody gave the studies."""
        return self.index.read().name

    def set_name(self, name: str) -> None:
        """Give them a name."""
        with self.index.change() as listed:
            listed.name = name
            self.index.write(listed)

    def description(self) -> str:
        """What somebody wrote about the studies."""
        return self.index.read().description

    def set_description(self, description: str) -> None:
        """Write something about them."""
        with self.index.change() as listed:
            listed.description = description
            self.index.write(listed)

    def get_image_uri(self, image_id: str) -> str:
        """The file of a scan, "" if there is none."""
        return str(self.local(image_id) or "")

    def get_image(self, image_id: str, params: Any = None) -> io.BytesIO | None:
        """The bytes of a scan's file."""
        uri = self.get_image_uri(image_id)
        return io.BytesIO(Path(uri).read_bytes()) if uri else None

    def get_image_info(self, image_id: str) -> Info:
        """What is known of a scan, {} if there is no such scan."""
        path = self.local(image_id)
        return {**self._image(image_id, path, self.index.read()).info, "path": str(path)} if path else {}

    def update_image_info(self, image_id: str, info: Info) -> None:
        """Change fields of what is known of a scan.

        Raises:
            NotFoundError: there is none of that id.
        """
        self._require(image_id)
        with self.index.change() as listed:
            record = self._record(image_id, listed, self._tags())
            record.image.info.update(info)
            listed.objects[image_id] = record
            self.index.write(listed)

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """The file of a mask, "" if there is none."""
        return str(self.mask(label_id, label_tag) or "")

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> io.BytesIO | None:
        """The bytes of a mask's file."""
        uri = self.get_label_uri(label_id, label_tag)
        return io.BytesIO(Path(uri).read_bytes()) if uri else None

    def get_label_info(self, label_id: str, label_tag: str) -> Info:
        """What is known of a mask, {} if there is none."""
        path = self.mask(label_id, label_tag)
        return dict(self._label(label_id, label_tag, path, self.index.read()).info) if path else {}

    def update_label_info(self, label_id: str, label_tag: str, info: Info) -> None:
        """Change fields of what is known of a mask.

        Raises:
            NotFoundError: there is none.
        """
        path = self.mask(label_id, label_tag)
        if path is None:
            raise NotFoundError(f'label "{label_id}" with tag "{label_tag}" is unknown')
        with self.index.change() as listed:
            label = self._label(label_id, label_tag, path, listed)
            label.info.update(info)
            self._keep_label(label_id, label_tag, label, listed)
            self.index.write(listed)

    def mask(self, image_id: str, tag: str) -> Path | None:
        """A mask's file, None if there is none."""
        files = self._tagged(tag).of(image_id)
        if len(files) < 2:
            return files[0] if files else None
        record = self.index.read().objects.get(image_id)
        last = record.labels[tag].ext if record and tag in record.labels else ""
        return next((file for file in files if extension_of(file) == last), files[0])

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """The id of the mask of each tag, which is that of the scan."""
        return {tag: image_id for tag in self._tags() if self._tagged(tag).of(image_id)}

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """The same for one tag, "" if there is none."""
        return image_id if self.mask(image_id, tag) else ""

    def get_labeled_images(self, label_tag: str | None = None, labels: Sequence[str] | None = None) -> list[str]:
        """Scans with a finished mask."""
        finished = self._tagged(FINAL).cases()
        return [image for image in self.list_images() if image in finished]

    def get_unlabeled_images(self, label_tag: str | None = None, labels: Sequence[str] | None = None) -> list[str]:
        """Scans without a finished mask."""
        finished = self._tagged(FINAL).cases()
        return [image for image in self.list_images() if image not in finished]

    def datalist(self, full_path: bool = True) -> list[dict[str, str]]:
        """Files of scans that are here and have a finished mask, and of these masks."""
        pairs = [(self.local(image), self.mask(image, FINAL)) for image in self.get_labeled_images()]
        return [{"image": str(image), "label": str(label)} for image, label in pairs if image and label]

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """A .zip file of :meth:`datalist`, to be removed by whoever asked for it."""
        with tempfile.NamedTemporaryFile(suffix=".zip", delete=False) as file:
            try:
                with zipfile.ZipFile(file, "w") as archive:
                    for pair in self.datalist()[: limit_cases or None]:
                        for kind, path in pair.items():
                            archive.write(path, f"{kind}/{Path(path).name}")
                    archive.writestr("metadata.json", self._listing().model_dump_json())
            except BaseException:
                Path(file.name).unlink()
                raise
        return file.name

    def refresh(self) -> None:
        """Look at the files again, whatever the folders' times say."""
        for files in self._masks.values():
            files.forget()

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: Info) -> str:
        """Keep a mask, in place of the one of this scan and tag that there may be.

        Raises:
            NotFoundError: there is no such scan.
            WssegError: the tag is no folder's name, or the mask cannot be stored.
        """
        self._require(image_id)
        folder = self._tag_folder(label_tag)
        extension = extension_of(Path(label_filename))
        if not extension:
            raise WssegError(f"{Path(label_filename).name}: unknown file type, expected {', '.join(EXTENSIONS)}")
        path = folder / f"{image_id}{extension}"
        refuse_link(self.folder, folder, path.name)
        make_folder(folder)
        with naming(path, path.name), draft(path) as part:
            shutil.copyfile(label_filename, part)
            with self.index.change() as listed:
                label = Known(ext=extension, info={**label_info, "ts": seconds(part), "name": path.name})
                self._keep_label(image_id, label_tag, label, listed)
                self.index.write(listed)
                put(part, path)
        self._remove(image_id, label_tag, but=path)
        return image_id

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove a mask."""
        self._remove(label_id, label_tag)
        with self.index.change() as listed:
            if label_id in listed.objects:
                listed.objects[label_id].labels.pop(label_tag, None)
                self.index.write(listed)

    def status(self) -> dict[str, Any]:
        """How many scans there are, how many are finished, and masks by tag."""
        images = set(self.list_images())
        tags = {tag: len(images & set(self._tagged(tag).cases())) for tag in self._tags()}
        shown = {tag: count for tag, count in tags.items() if count}
        return {"total": len(images), "completed": tags.get(FINAL, 0), "label_tags": shown}

    def json(self) -> dict[str, Any]:
        """The list of all scans and masks, as MONAI Label keeps it."""
        return self._listing().model_dump()

    def _listing(self) -> Listed:
        listed = self.index.read()
        tags = self._tags()
        objects = {image: self._record(image, listed, tags) for image in self.list_images()}
        return listed.model_copy(update={"objects": objects})

    def _require(self, image_id: str) -> None:
        if image_id not in self.list_images():
            raise NotFoundError(f'image "{image_id}" is unknown')

    def _record(self, image_id: str, listed: Listed, tags: Sequence[str]) -> Record:
        """What is known of a scan and of the masks that it has now."""
        masks = {tag: self.mask(image_id, tag) for tag in tags}
        labels = {tag: self._label(image_id, tag, path, listed) for tag, path in masks.items() if path}
        return Record(image=self._image(image_id, self.local(image_id), listed), labels=labels)

    def _image(self, image_id: str, path: Path | None, listed: Listed) -> Known:
        """What is known of a scan's file; what was known of one of another type is not about it."""
        extension = extension_of(path) if path else ""
        record = listed.objects.get(image_id)
        if record and (path is None or record.image.ext in (extension, "")):
            return Known(ext=extension, info={**_basics(path), **record.image.info})
        return Known(ext=extension, info=_basics(path))

    def _label(self, image_id: str, tag: str, path: Path, listed: Listed) -> Known:
        record = listed.objects.get(image_id)
        known = record.labels.get(tag) if record else None
        return Known(ext=extension_of(path), info={**_basics(path), **(known.info if known else {})})

    def _keep_label(self, image_id: str, tag: str, label: Known, listed: Listed) -> None:
        record = self._record(image_id, listed, self._tags())
        record.labels[tag] = label
        listed.objects[image_id] = record

    def _remove(self, image_id: str, tag: str, but: Path | None = None) -> None:
        files = self._tagged(tag)
        files.forget()
        for file in files.of(image_id):
            if file != but:
                file.unlink(missing_ok=True)
        files.forget()

    def _tag_folder(self, tag: str) -> Path:
        if not is_name(tag):
            raise WssegError(f'tag "{tag}": must be the name of a folder, not a path')
        return self.folder / LABELS / tag

    def _tagged(self, tag: str) -> CaseFiles:
        """The masks of a tag."""
        if tag not in self._masks:
            folder = self._tag_folder(tag)
            files = CaseFiles(self.folder, folder, is_mask)
            if not folder.is_dir():
                return files  # not remembered, as anybody may ask for any tag
            self._masks[tag] = files
        return self._masks[tag]

    def _tags(self) -> list[str]:
        return [folder.name for folder in self._tag_folders()]

    def _tag_folders(self) -> list[Path]:
        try:
            found = sorted((self.folder / LABELS).iterdir())
        except OSError:
            return []
        return [folder for folder in found if folder.is_dir() and is_name(folder.name)]


def is_name(name: str) -> bool:
    """Whether a scan or a tag may be called so: no path, and not hidden."""
    return is_plain(name) and not name.startswith(".")


def is_mask(file: Path) -> bool:
    """Whether a file's name is that of a mask."""
    return is_name(file.name) and file.name.lower().endswith(EXTENSIONS)


def seconds(file: Path) -> int:
    """When a file was written, in seconds since 1970; 0 if it is gone."""
    try:
        return int(file.stat().st_mtime)
    except OSError:
        return 0


def _basics(file: Path | None) -> Info:
    """What MONAI Label's clients expect to be told of every file."""
    return {"ts": seconds(file), "name": file.name} if file else {}
