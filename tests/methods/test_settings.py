"""No number of a package is without bounds: one from elsewhere may not ask for all memory there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from wsseg.methods.cldf import CLDFSettings
from wsseg.methods.registry import METHODS, method_class
from wsseg.models.package import Recipe


def unbounded(schema: Any, place: str = "") -> Iterator[str]:
    """Where a JSON schema allows numbers of any size or lists of any length."""
    if isinstance(schema, list):
        for item in schema:
            yield from unbounded(item, place)
    if not isinstance(schema, dict):
        return
    if schema.get("type") in ("number", "integer") and "enum" not in schema and "const" not in schema:
        for end in ("minimum", "maximum"):
            if end not in schema and f"exclusive{end.capitalize()}" not in schema:
                yield f"{place} has no {end}"
    lists_numbers = any(word in str(schema.get("items")) for word in ("number", "integer"))
    if schema.get("type") == "array" and lists_numbers and "maxItems" not in schema:
        yield f"{place} may be of any length"
    for key, value in schema.items():
        if key not in ("default", "enum", "description"):
            yield from unbounded(value, f"{place}.{key}")


@pytest.mark.parametrize("model", [*(method_class(name).settings_type for name in METHODS), Recipe])
def test_every_number_of_a_package_has_bounds(model: type[BaseModel]) -> None:
    assert list(unbounded(model.model_json_schema())) == []


def test_a_number_without_bounds_is_noticed() -> None:
    class Loose(BaseModel):
        edge_mm: float
        widths: tuple[int, ...]

    assert len(list(unbounded(Loose.model_json_schema()))) == 5


@pytest.mark.parametrize("field", ["slice_blur", "seed_blur", "seed_steps", "diffusion_size"])
@pytest.mark.parametrize("value", [1e30, float("inf"), float("nan"), -1])
def test_settings_that_no_machine_can_serve_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValidationError):
        CLDFSettings.model_validate({field: value})
