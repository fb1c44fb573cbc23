"""Text is UTF-8 wherever the product runs: what a file holds does not depend on the locale of who reads it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from conftest import REPOSITORY

POSITION = {"read_text": 0, "write_text": 1}
"""Of the encoding among the arguments; of others it is named."""


@pytest.mark.parametrize("top", ["lib", "tests", "benchmarks"])
def test_text_names_its_encoding(top: str) -> None:
    files = sorted((REPOSITORY / top).rglob("*.py"))
    assert [f"{file}:{line}" for file in files for line in _silent(file.read_text("utf-8"))] == []


def test_what_would_be_found() -> None:
    code = 'p.read_text()\np.read_text("utf-8")\np.open("a", newline="")\np.open("rb")\nrun([], text=True)\nopen(p)\n'
    assert list(_silent(code)) == [1, 3, 5, 6]


def _silent(code: str) -> Iterator[int]:
    """Lines of calls that read or write text as the locale has it."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and not any(word.arg == "encoding" for word in node.keywords):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            words = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if (
                (name in POSITION and len(node.args) <= POSITION[name])
                or words.get("text") == "True"
                or (name == "open" and _opens_text(node))
            ):
                yield node.lineno


def _opens_text(node: ast.Call) -> bool:
    """Whether an ``open`` of pathlib or Python is of text, not of bytes, of a picture, an archive or a descriptor."""
    owner = ast.unparse(node.func)
    if owner in ("os.open", "Image.open", "tarfile.open", "self.open"):
        return False
    modes = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return not any("b" in mode for mode in modes) and (len(node.args) < 2 or owner == "open" or bool(modes))
