"""What the documentation says exists: its commands, their options, the files it links to."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from pydoc import locate

import pytest
import typer

from conftest import REPOSITORY
from wsseg.cli import app
from wsseg.models.package import read_package

PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")])
README_BYTES = 8_000

_FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_REFERENCE = re.compile(r":(?:func|class|meth|data|mod|attr|exc):`~?(wsseg\.[\w.]+)`")
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def _commands() -> list[tuple[str, str]]:
    """Lines of code that call wsseg, with the page's name; comments cut off, options in brackets taken out of them."""
    found = []
    for page in PAGES:
        for block in _FENCE.findall(page.read_text("utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                said = re.sub(r"\s#.*", "", line)
                found += [(page.name, part.strip()) for part in said.split("&&") if part.strip().startswith("wsseg ")]
    return found


@pytest.mark.parametrize(("page", "line"), _commands())
def test_commands_and_options_exist(page: str, line: str) -> None:
    command = typer.main.get_command(app)
    words = shlex.split(re.sub(r"[\[\]]", " ", line))[1:]
    while hasattr(command, "commands"):
        name = words.pop(0)
        assert set(name.split("|")) <= set(command.commands), f"{page}: {line}"
        command = command.commands[name.split("|")[0]]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known | {"--help"}, f"{page}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    missing = [link for link in _LINK.findall(page.read_text("utf-8")) if not (page.parent / link).exists()]
    assert not missing


def test_architecture_names_the_rooms_there_are() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text("utf-8")
    library = REPOSITORY / "lib" / "wsseg"
    places = [
        REPOSITORY,
        library.parent,
        library,
        *(library / room for room in ("server", "server/viewers", "server/page")),
    ]
    named = set(re.findall(r"`([\w./-]+(?:\.py|\.js|\.html|/))`", page))
    assert {name for name in named if not any((place / name).exists() for place in places)} == set()
    house = page.split("```")[1]
    rooms = {room.name for room in library.rglob("*/") if room.is_dir() and room.name != "__pycache__"}
    assert {room for room in rooms if f"{room}/" not in house} == set()


def test_docstrings_refer_to_what_there_is() -> None:
    code = [*(REPOSITORY / "lib").rglob("*.py"), *(REPOSITORY / "benchmarks").rglob("*.py")]
    named = {name for file in code for name in _REFERENCE.findall(file.read_text("utf-8"))}
    assert {name for name in named if locate(name) is None} == set()


def test_the_readme_fits_a_screen() -> None:
    assert len((REPOSITORY / "README.md").read_bytes()) <= README_BYTES


def test_the_readme_tells_the_figures_that_packages_hold() -> None:
    """The Dice of each shipped model where nothing is given."""
    rows = re.findall(
        r"^\| `([a-z0-9-]+)`.*? \| (0\.\d{3}) \|", (REPOSITORY / "README.md").read_text("utf-8"), re.MULTILINE
    )
    assert len(rows) >= 8
    for name, told in rows:
        figures = read_package(REPOSITORY / "model" / name, name).recipe.figures
        found = next(each.value for each in figures if (each.metric, each.given) == ("dice", "nothing"))
        assert abs(float(told) - found) < 0.001, (name, told, found)
