"""Where networks compute, and in what."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wsseg.evaluation.metrics import dice_of
from wsseg.images.folder import scan_files
from wsseg.images.scan import read_scan
from wsseg.inference import device
from wsseg.inference.segmenter import Segmenter


@pytest.mark.long
@pytest.mark.parametrize(
    ("model", "data"),
    [
        ("cldf-glioma-flair", "lgg"),
        ("pclmix-cardiac-cine", "acdc"),
        ("union-abdomen-mr", "abdomen_t2"),
        ("union-headneck-ct", "headneck_ct"),
    ],
)
def test_a_mask_is_the_same_in_bf16_and_in_float32(
    model: str, data: str, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine without bf16 it is emulated: slowly, with the same numbers."""
    scan, masks = read_scan(next(iter(scan_files(shared / data / "val").values()))), []
    for there in (False, True):
        monkeypatch.setattr(device, "has_bf16", lambda _, there=there: there)
        masks.append(Segmenter(model, "cpu")(scan).mask.voxels)
    assert (masks[0] != masks[1]).any(), "computed twice in the same"
    assert min(dice_of(masks[0] == k, masks[1] == k) for k in range(1, int(masks[0].max()) + 1)) >= 0.98


def test_a_network_computes_in_bf16_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    network, there = torch.nn.Linear(2, 2), torch.device("cpu")
    monkeypatch.setattr(device, "has_bf16", lambda _: True)
    with device.mixed_precision(there):
        assert network(torch.ones(1, 2)).dtype == torch.bfloat16
    with device.mixed_precision(there, wanted=False):
        assert network(torch.ones(1, 2)).dtype == torch.float32
    monkeypatch.setattr(device, "has_bf16", lambda _: False)
    with device.mixed_precision(there):
        assert network(torch.ones(1, 2)).dtype == torch.float32
