from __future__ import annotations

import torch

from wsseg.losses.soft_labels import ClassCertainty, mixed_opinions, soft_cross_entropy


def test_certain_labels_are_cross_entropy_and_only_where_asked() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(2, 3, 4, 4, generator=generator), torch.randint(3, (2, 4, 4), generator=generator)
    where = torch.rand(2, 4, 4, generator=generator) > 0.5
    certain = torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float()
    expected = torch.nn.functional.cross_entropy(logits, target, reduction="none")[where].mean()
    torch.testing.assert_close(soft_cross_entropy(logits, certain, where), expected)
    assert soft_cross_entropy(logits, certain, torch.zeros_like(where)) == 0


def test_opinions_are_mixed_by_their_share() -> None:
    one, other = torch.tensor([[9.0, 0.0]]), torch.tensor([[0.0, 9.0]])
    maps = [logits.view(1, 2, 1, 1).expand(2, 2, 3, 3) for logits in (one, other)]
    mixed = mixed_opinions(maps[0], maps[1], torch.tensor([1.0, 0.25]))
    assert mixed[0, 0].min() > 0.99
    torch.testing.assert_close(mixed[1, 0], torch.full((3, 3), 0.25), atol=1e-3, rtol=0)


def test_a_rare_class_has_a_limit_of_its_own() -> None:
    """0.6 is sure for a class that is always so, and is not for one that is 0.95 elsewhere."""
    certainty = ClassCertainty(2)
    labels = torch.zeros(1, 2, 1, 8)
    labels[0, 0, 0] = torch.tensor([0.95, 0.95, 0.95, 0.95, 0.95, 0.6, 0.4, 0.4])
    labels[:, 1] = 1 - labels[:, 0]
    open_ = torch.ones(1, 1, 8, dtype=torch.bool)
    open_[..., 0] = False
    for _ in range(200):
        sure = certainty.sure(labels, open_)
    assert sure[0, 0].tolist() == [False, True, True, True, True, False, True, True]
