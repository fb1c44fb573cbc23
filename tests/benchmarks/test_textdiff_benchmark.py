"""The benchmark of TextDiff, on synthetic pictures and with next to no training."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from conftest import REPOSITORY
from wsseg.models.package import ModelPackage


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks" / "methods")
    return pytest.importorskip("textdiff", reason="matplotlib is not installed")


def test_shuffled_is_never_the_true_sentence(benchmark: ModuleType) -> None:
    texts = ["even"] * 8 + ["sparse"] * 3 + ["dense"]
    for seed in range(5):
        found = benchmark.sentences(texts, "shuffled", seed)
        assert all(one != true for one, true in zip(found, texts, strict=True))
        assert set(found) <= set(texts)
    assert set(benchmark.sentences(texts, "none", 0)) == {""}
    assert list(benchmark.sentences(texts, "true", 0)) == texts


@pytest.mark.long
def test_scores_are_kept_by_steps_and_model(
    benchmark: ModuleType, nuclei: ModelPackage, pictures: Path, tmp_path: Path
) -> None:
    bench = benchmark.Bench(nuclei, pictures, pictures, tmp_path, steps=2)
    method = bench._method(benchmark.Run("textdiff", "none", 2, 0))
    rows = slice(0, 2)
    small = bench.pool.images[rows]
    again = [method.features(small, small) for _ in range(2)]
    assert len(method.known) == 2
    for one, other in zip(*again, strict=True):
        assert one.equal(other)
    for kind in ("textdiff", "u-net", "no pretraining"):
        found = bench.score(benchmark.Run(kind, "none", 2, 0))
        assert 0 <= found.iou <= found.dice <= 1
    assert len(list(tmp_path.glob(f"2-{bench.frozen}-*.json"))) == 3
