from __future__ import annotations

import torch

from wsseg.networks.short_sighted import ShortSighted


def test_what_speaks_for_a_class_at_a_pixel_is_told_by_its_neighbourhood_alone() -> None:
    torch.manual_seed(0)
    network = ShortSighted(1, 3, 1).eval()
    images = torch.randn(1, 1, 64, 64)
    far, near = images.clone(), images.clone()
    far[..., 40:, 40:] += 1
    near[..., 12:20, 12:20] += 1
    found, with_far, with_near = (network.evidence(each)[0, 0, 16, 16] for each in (images, far, near))
    assert torch.equal(found, with_far)
    assert found != with_near


def test_what_the_place_explains_is_no_evidence_and_learns_from_its_own_answer_alone() -> None:
    torch.manual_seed(0)
    network = ShortSighted(3, 3, 2).eval()
    images, places = torch.randn(2, 3, 32, 48), torch.randn(2, 3, 32, 48)
    seen, place = network(images, places)
    assert seen.shape == place.shape == (2, 2, 16, 24)
    evidence = torch.nn.functional.interpolate(seen - place, (32, 48), mode="bilinear", align_corners=False)
    assert torch.allclose(evidence, network.evidence(images), atol=1e-5)
    seen.sum().backward()
    assert all(weight.grad is None for weight in network.place.parameters())
