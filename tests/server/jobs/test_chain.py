"""A model whose parts are other models: they are trained first, once, in as many processes as there are GPUs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import metadata_of, small_package
from trainers import new_job, small_home
from wsseg.errors import NotFoundError
from wsseg.files import home
from wsseg.methods.registry import method_class
from wsseg.models.package import METADATA, Parent
from wsseg.models.shelf import find_package, publish, versions
from wsseg.server.jobs.job import Trainer
from wsseg.server.jobs.jobs import MOST_PROCESSES, launcher
from wsseg.server.jobs.request import chain
from wsseg.training.progress import Phase


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path) -> Iterator[None]:
    with small_home(tmp_path):
        yield


def test_on_several_gpus_one_process_each_in_a_number_that_divides_batches() -> None:
    assert launcher(0) == launcher(1) == [sys.executable]
    assert launcher(3)[-1] == "--nproc-per-node=2"
    assert launcher(8)[-1] == "--nproc-per-node=4"
    for name in ("cam", "cdm", "cldf", "ddpm", "pclmix", "textdiff"):
        method = method_class(name)
        for stage in method(method.settings_type(), 1).stages():
            assert stage.batch % MOST_PROCESSES == 0, name


def test_parents_are_trained_first_and_once() -> None:
    a, b = Parent(package="tiny", part="classifier"), Parent(package="/somewhere/tiny", part="classifier")
    _write_child("child", {"a": a, "b": b})
    _write_child("grandchild", {"a": a, "c": Parent(package="child", part="classifier")})
    assert chain(find_package("grandchild")) == ["tiny", "child", "grandchild"]
    _write_child("orphan", {"a": Parent(package="nobody", part="classifier")})
    with pytest.raises(NotFoundError, match="nobody"):
        chain(find_package("orphan"))


def _write_child(name: str, parents: dict[str, Parent]) -> None:
    package = small_package(home() / "models" / name / "0.1", "cam")
    metadata = metadata_of("cam", package.recipe.settings)
    metadata.wsseg.parents = parents
    (package.folder / METADATA).write_text(metadata.model_dump_json(), encoding="utf-8")
    publish(home() / "models", name, "0.1")


def test_a_chain_is_trained_told_and_not_trained_twice(phantom_data: Path) -> None:
    _write_child("child", {"classifier": Parent(package="tiny", part="classifier")})
    job = new_job("child", steps=40, parts=["tiny", "child"])
    shutil.copytree(phantom_data, job.data, dirs_exist_ok=True)
    assert Trainer(job, leading=True).run()
    progress = job.progress()
    assert (progress.phase, progress.part, progress.step, progress.steps) == ("done", "child", 80, 80)
    assert {20, 40, 60, 80} <= {step for step, _ in progress.curve}
    made = versions("child")
    assert len(made) == len(versions("tiny")) == 2
    # Killed after the last version was published, before that was told.
    job.tell(progress.model_copy(update={"phase": Phase.PUBLISHING}))
    assert Trainer(job, leading=True).run()
    assert versions("child") == made
    assert job.progress().message == f"{made[0].version}: {made[0].message}"
