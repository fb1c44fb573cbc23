"""What can be read as a whole: files of a screen or a few, folders of a dozen files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conftest import REPOSITORY

LINES, FILES = 350, 12

FOLDERS = [
    folder
    for top in ("lib", "tests", "benchmarks")
    for folder in sorted([REPOSITORY / top, *(REPOSITORY / top).rglob("*/")])
    if "__pycache__" not in folder.parts and ".egg-info" not in f"{folder}"
]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.relative_to(REPOSITORY)}")
def test_a_folder_is_no_heap(folder: Path) -> None:
    files = [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")]
    assert len(files) <= FILES, "sub-folders are due"
    lengths = {file.name: len(file.read_text(encoding="utf-8").splitlines()) for file in files if file.suffix == ".py"}
    assert {name: length for name, length in lengths.items() if length > LINES} == {}


@pytest.mark.parametrize(
    "page",
    [
        REPOSITORY / "CONTRIBUTING.md",
        *(REPOSITORY / "docs").glob("*.md"),
        *(REPOSITORY / "model").rglob("*.md"),
        *(REPOSITORY / "model").rglob("metadata.json"),
        *(REPOSITORY / "benchmarks").rglob("*.py"),
    ],
    ids=lambda page: f"{page.relative_to(REPOSITORY)}",
)
def test_a_benchmark_stands_where_it_is_said_to(page: Path) -> None:
    named = set(re.findall(r"benchmarks/[\w/]+\.py", page.read_text(encoding="utf-8")))
    assert {name for name in named if not (REPOSITORY / name).is_file()} == set()
