from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from wsseg.losses.memory_contrast import ClassMemory, believed, choose_anchors, memory_contrast


def test_empty_places_are_never_drawn_and_background_has_means_of_its_own() -> None:
    """The published memory holds 500 zero vectors that count as background."""
    memory = ClassMemory(classes=3, length=4, size=5)
    assert len(memory.filled()[0]) == 0
    embeddings = functional.normalize(torch.randn(2, 4, 6, 6), dim=1)
    labels = torch.zeros(2, 6, 6, dtype=torch.long)
    labels[:, :3] = 2
    labels[:, 5] = -1
    memory.push(embeddings, labels)
    vectors, classes = memory.filled()
    assert classes.tolist() == [0, 0, 2, 2]
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
    expected = functional.normalize(embeddings[0][:, labels[0] == 0].mean(dim=1), dim=0)
    torch.testing.assert_close(vectors[0], expected)


def test_the_oldest_leaves_first() -> None:
    memory = ClassMemory(classes=1, length=2, size=3)
    for angle in range(5):
        vector = torch.tensor([math.cos(angle), math.sin(angle)])
        memory.push(vector.view(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long))
    held = {round(math.atan2(y, x) % (2 * math.pi), 4) for x, y in memory.filled()[0].tolist()}
    assert held == {2.0, 3.0, 4.0}


def test_loss_is_the_formula_over_all_entries() -> None:
    """No entry is left out: the published code masks a diagonal that means nothing here."""
    memory = ClassMemory(classes=2, length=3, size=4)
    torch.manual_seed(0)
    memory.push(functional.normalize(torch.randn(4, 3, 2, 1), dim=1), torch.tensor([[[0], [1]]]).expand(4, 2, 1))
    anchors, classes = functional.normalize(torch.randn(3, 3), dim=1), torch.tensor([0, 1, 1])
    entries, kinds = memory.filled()
    assert kinds.tolist() == [0] * 4 + [1] * 4
    each = []
    for anchor, k in zip(anchors, classes, strict=True):
        alike = torch.exp(entries @ anchor / 0.5)
        other = alike[kinds != k].sum()
        each.append(-torch.log(alike[kinds == k] / (alike[kinds == k] + other)).mean())
    torch.testing.assert_close(memory_contrast(anchors, classes, memory, 0.5), torch.stack(each).mean())


def test_a_batch_without_anchors_is_no_error() -> None:
    """The published code fails where no class has enough pixels."""
    memory = ClassMemory(2, 3, 4)
    anchors = torch.zeros(0, 3, requires_grad=True)
    loss = memory_contrast(anchors, torch.zeros(0, dtype=torch.long), memory, 0.1)
    loss.backward()
    assert loss == 0


@pytest.mark.parametrize("classes", [2, 4])
def test_the_limit_of_doubt_follows_the_number_of_classes(classes: int) -> None:
    """The published limit is a part of ln 2, whatever the number of classes."""
    even = torch.zeros(1, classes, 1, 2)
    even[0, 1, 0, 1] = 12.0
    nothing = torch.zeros(1, 1, 2, dtype=torch.bool)
    target = torch.zeros(1, 1, 2, dtype=torch.long)
    assert believed(even, even, target, nothing, 0.99).tolist() == [[[-1, 1]]]
    assert believed(even, even, target, nothing, 1.01)[0, 0, 1] == 1


def test_scribbles_overrule_what_is_believed() -> None:
    sure = torch.zeros(1, 3, 1, 2)
    sure[0, 1] = 12.0
    known = torch.tensor([[[True, False]]])
    assert believed(sure, sure, torch.full((1, 1, 2), 2), known, 0.5).tolist() == [[[2, 1]]]


def test_half_of_the_anchors_are_hard_where_there_are_so_many() -> None:
    labels = torch.zeros(2, 10, 10, dtype=torch.long)
    labels[:, 5:] = -1
    said = torch.zeros_like(labels)
    said[0, :2] = 1
    chosen = choose_anchors(labels, said, 8, torch.tensor([0.1, 0.7]))
    hard = said != labels
    assert (chosen[0] & hard[0]).sum() == 4
    assert chosen.flatten(1).sum(dim=1).tolist() == [8, 8]
    assert not (chosen & (labels < 0)).any()
