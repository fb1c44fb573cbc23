from __future__ import annotations

import torch
from monai.networks.nets.basic_unet import BasicUNet

from wsseg.networks.shared_unet import SharedUNet

WIDTHS = (8, 12, 16, 24, 32)


@torch.no_grad()
def test_is_monais_under_the_same_weights() -> None:
    torch.manual_seed(0)
    theirs = BasicUNet(2, 3, 4, features=(*WIDTHS, WIDTHS[0]), norm="batch").train()
    theirs(torch.randn(8, 3, 32, 32))  # so that running means are not zero
    ours = SharedUNet(WIDTHS, classes=4, channels=3).eval()
    ours.unet.load_state_dict(theirs.eval().state_dict())
    images = torch.randn(2, 3, 32, 48)
    torch.testing.assert_close(ours(images), theirs(images))
