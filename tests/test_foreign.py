"""What is changed of other libraries, for the whole process or on what they made, is told in one place."""

from __future__ import annotations

import re

from conftest import REPOSITORY

LIBRARY = REPOSITORY / "lib" / "wsseg"

_IMPORTS = re.compile(r"^\s*(?:from (?!wsseg)\S+ )?import (\([^)]*\)|.*)", re.MULTILINE)
_ASSIGNED = re.compile(r"^\s*(\w+)((?:\.\w+)+)(?: = |: .* = )", re.MULTILINE)
_SET = re.compile(
    r"(config\.set|filterwarnings|simplefilter|disable_progress_bar|(?<!getLogger\(\"wsseg\"\))\.setLevel)\("
)


def _changes(code: str) -> bool:
    """Whether it assigns onto what is imported, or the class or reading of an object, or sets or silences something."""
    foreign = {word for names in _IMPORTS.findall(code) for word in re.findall(r"\w+", names)}
    onto = _ASSIGNED.findall(code)
    return bool(_SET.search(code)) or any(
        first in foreign or rest.endswith((".__class__", ".stream")) for first, rest in onto
    )


def test_what_is_changed_of_other_libraries_is_told_with_its_reason() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text("utf-8")
    section = page.split("## What is changed of other libraries")[1].split("\n## ")[0]
    told = set(re.findall(r"^\| `([\w/]+\.py)` \|", section, re.MULTILINE))
    code = {f"{file.relative_to(LIBRARY)}": file.read_text("utf-8") for file in LIBRARY.rglob("*.py")}
    assert told == {name for name, text in code.items() if _changes(text)}
