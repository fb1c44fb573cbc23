"""What an archive says of a series: nothing of it is trusted, and little of it is needed."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from pydicom.datadict import tag_for_keyword

from wsseg.images.dicom.uids import is_uid

ASKED = ("PatientName", "PatientID", "StudyDate", "StudyTime", "Modality", "SeriesDescription")
"""Attributes that an archive is asked for beside those that it always tells."""

_ALWAYS = ("StudyInstanceUID", "SeriesInstanceUID", "NumberOfSeriesRelatedInstances")


@dataclass(frozen=True)
class Series:
    """One series.

    Attributes:
        uid: of the series.
        study: UID of its study.
        images: how many there are, 0 where the archive does not tell.
        facts: attributes of ``ASKED`` that the archive tells, by keyword.
    """

    uid: str
    study: str
    images: int
    facts: dict[str, str]

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Series | None:
        """From DICOM JSON; None where that names no series."""
        told = {name: _text(answer, name) for name in (*_ALWAYS, *ASKED)}
        study, uid, images = (told.pop(name) for name in _ALWAYS)
        if not is_uid(study) or not is_uid(uid):
            return None
        count = int(images) if images.isdecimal() and len(images) < 8 else 0
        return cls(uid, study, count, {name: value for name, value in told.items() if value})

    @property
    def title(self) -> str:
        """What people call it: patient, day, description, and a short id that tells it from others of that name."""
        patient = " ".join(self.facts.get("PatientName", "").split("=")[0].replace("^", " ").split())
        shown = (
            patient or self.facts.get("PatientID", ""),
            _day(self.facts.get("StudyDate", "")),
            self.facts.get("SeriesDescription", "") or self.facts.get("Modality", ""),
            short_id(self.uid),
        )
        return " · ".join(part for part in shown if part)


def short_id(uid: str) -> str:
    """Six characters that stay the same for a UID; of 1,000 series two share theirs once in 30 archives."""
    return hashlib.sha256(uid.encode()).hexdigest()[:6]


def _day(date: str) -> str:
    """A DICOM date as people write it; as it is where it is none."""
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if re.fullmatch(r"\d{8}", date) else date


def _text(answer: dict[str, Any], keyword: str) -> str:
    """An attribute's first value in one printable line, "" where there is none or it is no text."""
    attribute = answer.get(f"{tag_for_keyword(keyword):08X}")
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    value = values[0] if isinstance(values, list) and values else None
    if isinstance(value, dict):  # a person's name in its spellings
        value = next((value[kind] for kind in ("Alphabetic", "Ideographic", "Phonetic") if value.get(kind)), None)
    if not isinstance(value, (str, int)):
        return ""
    return "".join(c if c.isprintable() else " " for c in str(value)).strip()[:200]
