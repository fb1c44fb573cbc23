"""Parts of methods that come from other packages."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from conftest import COLOUR, SMALL
from wsseg.errors import WssegError
from wsseg.files import home
from wsseg.methods.prompt import Pass, Prompt
from wsseg.methods.registry import begin_with_parents, create_method, method_class
from wsseg.models.package import ModelPackage, Parent
from wsseg.models.shelf import find_package
from wsseg.training.planning.new import new_package


@pytest.fixture(scope="module")
def package() -> ModelPackage:
    return new_package("begun-ct", ["spleen", "liver"], "CT", home() / "models")


def _with(package: ModelPackage, **recipe: Any) -> ModelPackage:
    changed = package.recipe.model_copy(update=recipe)
    return ModelPackage(package.name, package.folder, package.metadata.model_copy(update={"wsseg": changed}))


def test_a_new_model_begins_with_what_several_tasks_have_taught(package: ModelPackage) -> None:
    method = create_method(package)
    before = {name: weight.clone() for name, weight in method.state_dict().items()}
    begun = begin_with_parents(method, package)
    start = find_package("union-start")
    assert begun["network"].sha256 == start.checksum()
    for name, weight in start.weights().items():
        taken = before[name] if name.startswith("network.answer") else weight
        torch.testing.assert_close(method.state_dict()[name], taken, check_dtype=False)


def test_a_ct_begins_with_ends_of_its_own(package: ModelPackage) -> None:
    three = _with(package, settings={"channels": 3})
    method = create_method(three)
    before = {name: weight.clone() for name, weight in method.state_dict().items()}
    begin_with_parents(method, three)
    changed = {
        name.split(".")[1] for name, weight in method.state_dict().items() if not torch.equal(weight, before[name])
    }
    assert changed == {"first", "down", "up", "trunk"}


@pytest.mark.parametrize("name", sorted(SMALL.keys() - {"ddpm"}))
def test_seeds_matter_where_a_method_says_so(name: str) -> None:
    """Whoever evaluates one that draws noise repeats it."""
    torch.manual_seed(0)
    method = method_class(name)(SMALL[name], 1).requires_grad_(False).eval()
    for parameter in method.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    images = torch.rand((1, 3, 32, 32) if name in COLOUR else (2, 1, 32, 32)) * 2 - 1
    found = [method.predict(images, Prompt(), Pass(2, seed)).probabilities for seed in (0, 1)]
    assert torch.equal(*found) != method.draws_noise


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        ({"settings": {"widths": (24, 48, 96)}}, "do not fit the settings"),
        ({"settings": {"widths": (24, 48, 96, 160, 192, 192)}}, "do not fit the settings"),
        ({"parents": {"network": Parent(package="union-start", part="network.first")}}, "do not fit the settings"),
        ({"parents": {"network": Parent(package="union-start", part="nothing")}}, 'has no part "nothing"'),
        ({"parents": {"nothing": Parent(package="union-start", part="network")}}, "union has no such part"),
        ({"parents": {"network": Parent(package="union-stop", part="network")}}, "is unknown"),
    ],
)
def test_what_cannot_be_begun_with_is_refused(recipe: dict[str, Any], reason: str, package: ModelPackage) -> None:
    other = _with(package, **recipe)
    with pytest.raises(WssegError, match=reason):
        begin_with_parents(create_method(other), other)
