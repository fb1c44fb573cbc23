"""What ``import wsseg`` offers: every name both ways, and the examples of its docstring."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pkgutil import iter_modules

import pytest

import wsseg


@pytest.mark.parametrize("name", wsseg.__all__)
def test_a_name_is_the_same_both_ways_and_every_time(name: str) -> None:
    """In a process of its own: a module of the same name would take the place of what was imported from it."""
    code = (
        f"from wsseg import {name} as one\nimport wsseg\n"
        f"two, three = wsseg.{name}, wsseg.{name}\nfrom wsseg import {name} as four\n"
        "assert one is two is three is four\nassert callable(one), one"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr


def test_no_module_bears_a_name_of_the_face() -> None:
    assert not {module.name for module in iter_modules(wsseg.__path__)} & set(wsseg.__all__)


def test_examples_of_the_face_run() -> None:
    found = doctest.testmod(wsseg)
    assert found.attempted >= 6
    assert not found.failed


def test_the_face_and_the_help_load_no_large_library() -> None:
    large = {"torch", "monai", "scipy", "nibabel", "SimpleITK", "numpy", "pydantic", "sqlalchemy"}
    code = f"import sys, wsseg, wsseg.cli; print({large} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60, check=True)
    assert done.stdout.strip() == "set()"
