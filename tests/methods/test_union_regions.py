"""What the union learner does with the regions of a scan when it has learned from presence."""

from __future__ import annotations

import pytest
import torch

from wsseg.methods.prompt import Pass, Prompt
from wsseg.methods.shared.masks import against_background
from wsseg.methods.union import Union, UnionSettings

SEEDED = UnionSettings(widths=(16, 24), neighbours=0, crop=32, seeded=True)


def test_who_says_which_slices_show_a_class_gets_a_region_and_who_says_it_of_some_does_not() -> None:
    images = 0.05 * torch.randn(8, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    images[3:6, :, 8:18, 6:16] -= 0.7
    torch.manual_seed(0)
    method = Union(SEEDED, 1).eval()
    presence = torch.tensor([0, 0, 0, 1, 1, 1, 0, 0])[:, None]
    with torch.no_grad():
        alone, of_some, of_all = (
            method.predict(images, Prompt(given), Pass(3)).probabilities
            for given in (None, torch.where(presence == 1, presence, -1), presence)
        )
    assert torch.equal(alone, of_some)
    assert not torch.equal(alone, of_all)


@pytest.mark.parametrize("told", [False, True])
def test_a_region_is_averaged_with_a_mask_that_it_agrees_with_and_taken_where_all_is_told(
    told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two classes one region lies half on the network's mask, the other beside it."""
    own, region = torch.zeros(3, 2, 32, 32), torch.zeros(3, 2, 32, 32)
    own[:, 0, 4:12, :16], own[:, 1, 4:12, 16:] = 0.8, 0.8
    region[:, 0, 4:12, 2:16], region[:, 1, 20:28] = 1.0, 1.0
    answer = torch.cat([torch.full((3, 1, 32, 32), 1e-3), own], dim=1)
    monkeypatch.setattr(Union, "_probabilities", lambda *given: answer)
    monkeypatch.setattr("wsseg.methods.union.by_regions", lambda *given: region)
    method = Union(SEEDED, 2).eval()
    given = Prompt(torch.ones(3, 2, dtype=torch.int8)) if told else Prompt()
    with torch.no_grad():
        found = method.predict(torch.zeros(3, 1, 32, 32), given, Pass(3)).probabilities
    own = against_background(answer)
    torch.testing.assert_close(found[:, 0], region[:, 0] if told else (own + region)[:, 0] / 2)
    torch.testing.assert_close(found[:, 1], (region if told else own)[:, 1])
