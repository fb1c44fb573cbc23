from __future__ import annotations

import torch

from wsseg.methods.shared.poses import POSES, posed, unposed


def test_eight_poses_all_differ_and_each_has_its_way_back() -> None:
    images = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    seen = [posed(images, pose) for pose in POSES]
    assert len({tuple(view.flatten().tolist()) for view in seen}) == 8
    assert [tuple(view.shape[2:]) for view in seen] == [(4, 6)] * 2 + [(6, 4)] * 2 + [(4, 6)] * 2 + [(6, 4)] * 2
    for pose, view in zip(POSES, seen, strict=True):
        assert unposed(view, pose).equal(images)
