"""All models there are: which ship, which were trained here, and which version is in use.

Packages that ship are read-only. Trained ones are immutable folders
``<home>/models/<name>/<version>/``, and the file ``CURRENT`` beside them names
the one in use, or says ``shipped``; replacing that small file publishes a model
or rolls one back.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from wsseg.errors import NotFoundError, WssegError
from wsseg.files import home, make_folder, whole_file
from wsseg.models import DEFAULT_MODEL
from wsseg.models.package import CURRENT, METADATA, VERSION, ModelPackage, Parent, read_package

SHIPPED = "shipped"
"""What ``CURRENT`` holds where the package that ships is used although versions were trained here."""

_LONGEST = 128
"""Characters of ``CURRENT`` that are read."""


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


def parent_licences(parents: Iterable[Parent]) -> list[str]:
    """What binds a package because it holds copies of its parents' weights, in words."""
    names = dict.fromkeys(parent.package for parent in parents)
    return [f"holds weights of {name}: {find_package(name).recipe.licence}" for name in names]


def find_package(name: str | Path) -> ModelPackage:
    """A package by name, the version trained here before the shipped one, or by its folder.

    A string that holds a slash is a folder too, since names hold none.

    Raises:
        NotFoundError: there is no such model.
    """
    if isinstance(name, Path) or "/" in name:
        return read_package(Path(name))
    _require(name)
    return read_package(current_folder(name), name)


def _require(name: str) -> None:
    if name not in package_names():
        raise NotFoundError(f'model "{name}" is unknown, known are: {", ".join(package_names())}')


def current_folder(name: str) -> Path:
    """Where the version of a model is that is in use; versions are immutable, so another folder is another model.

    Raises:
        WssegError: ``CURRENT`` is damaged.
    """
    trained = home() / "models" / name
    version = _named(trained / CURRENT) if (trained / CURRENT).exists() else SHIPPED
    return _shipped(name) if version == SHIPPED else trained / version


def _named(pointer: Path) -> str:
    """The version that a ``CURRENT`` names; what is no file is not opened, as a pipe would never end."""
    version = ""
    if pointer.is_file():
        with suppress(OSError, UnicodeDecodeError), pointer.open(encoding="ascii") as file:
            version = file.read(_LONGEST).strip()
    if not re.fullmatch(VERSION, version):
        raise WssegError(f"{pointer}: names no version, `wsseg rollback` with a version puts that to use")
    return version


def publications() -> dict[str, tuple[int, int]]:
    """What changes whenever another version of a model is put to use here, by the model's name; quickly told."""
    try:
        with os.scandir(home() / "models") as entries:
            pointers = {entry.name: Path(entry.path) / CURRENT for entry in entries}
    except FileNotFoundError:
        return {}
    found = {}
    for name, pointer in pointers.items():
        with suppress(OSError):
            stat = pointer.stat()
            found[name] = stat.st_ino, stat.st_mtime_ns
    return found


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
    if re.fullmatch(VERSION, version) and (models / name / version / METADATA).exists():
        content = version
    elif _ships(name, version):
        content = SHIPPED
    else:
        raise NotFoundError(f"{models / name}: there is no version {version}")
    make_folder(models / name)
    with whole_file(models / name / CURRENT) as part:
        part.write_text(content + "\n", encoding="utf-8")


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

    Damaged ones are left out; where ``CURRENT`` is, none is the one in use.

    Raises:
        NotFoundError: there is no such model.
    """
    _require(name)
    try:
        current = current_folder(name)
    except WssegError:
        current = None
    shipped = _shipped(name)
    trained = (path.parents[1] for path in (home() / "models" / name).glob(f"*/{METADATA}"))
    folders = [folder for folder in trained if re.fullmatch(VERSION, folder.name)]
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
    metadata, training = package.metadata, package.recipe.training
    found = Version(
        version=metadata.version if shipped else package.folder.name,
        time=_trained_at(metadata.version),
        current=current,
        shipped=shipped,
        scans=training.scans if training else None,
        score=training.score if training else None,
        before=training.before if training else None,
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
