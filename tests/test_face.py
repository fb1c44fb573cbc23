"""What ``import wsseg`` offers: every name both ways, and the examples of its docstring."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pkgutil import iter_modules
from resource import RUSAGE_CHILDREN, getrusage

import pytest

import wsseg


def test_a_name_is_the_same_both_ways_and_every_time() -> None:
    """In a process that has imported nothing: a module of the same name would take the place of what it holds."""
    code = "\n".join(
        f"from wsseg import {name} as one\nimport wsseg\n"
        f"two, three = wsseg.{name}, wsseg.{name}\nfrom wsseg import {name} as four\n"
        "assert one is two is three is four\nassert callable(one), one"
        for name in wsseg.__all__
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr


def test_no_module_bears_a_name_of_the_face() -> None:
    assert not {module.name for module in iter_modules(wsseg.__path__)} & set(wsseg.__all__)


def test_examples_of_the_face_run() -> None:
    found = doctest.testmod(wsseg)
    assert found.attempted >= 6
    assert not found.failed


@pytest.mark.parametrize(("arguments", "seconds"), [(("-c", "import wsseg"), 0.3), (("-m", "wsseg", "--help"), 1.0)])
def test_the_face_and_the_help_take_no_time(arguments: tuple[str, ...], seconds: float) -> None:
    """Of a processor, whatever else runs beside it."""
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, timeout=60, check=True)
    after = getrusage(RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < seconds


def test_the_face_and_the_help_load_no_large_library() -> None:
    large = {"torch", "monai", "scipy", "nibabel", "SimpleITK", "numpy", "pydantic", "sqlalchemy"}
    code = f"import sys, wsseg, wsseg.cli; print({large} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("module", "large"),
    [
        ("wsseg.training.planning.new", {"monai", "diffusers", "accelerate"}),
        ("wsseg.training.run", {"monai"}),
        ("wsseg.evaluation.evaluate", {"monai", "diffusers", "accelerate"}),
    ],
)
def test_who_makes_a_model_or_is_refused_waits_for_no_library_that_is_not_needed(module: str, large: set[str]) -> None:
    code = f"import sys, {module}; print({large} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=120, check=True)
    assert done.stdout.strip() == "set()"
