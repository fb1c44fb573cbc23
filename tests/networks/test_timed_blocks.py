"""Our blocks against diffusers', under the same random weights."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.unets.unet_2d_blocks import DownBlock2D
from torch import Tensor, nn

from wsseg.diffusion.schedule import NoiseSchedule
from wsseg.networks.classifier import NoisyClassifier
from wsseg.networks.unet import TimedUNet

WIDTHS = (32, 64, 96)


def _diffusers(channels: int, condition: bool) -> UNet2DModel:
    return UNet2DModel(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        class_embed_type="identity" if condition else None,
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=32,
        attn_norm_num_groups=32,
    )


def _scattered(network: nn.Module) -> nn.Module:
    """Every weight is random, so that none may be left out."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    return network.eval()


@pytest.mark.parametrize(("channels", "condition"), [(1, True), (3, False)])
@torch.no_grad()
def test_the_unet_is_diffusers(channels: int, condition: bool) -> None:
    theirs, ours = _scattered(_diffusers(channels, condition)), TimedUNet(WIDTHS, channels).eval()
    ours.load_state_dict(theirs.state_dict())
    noisy, steps = torch.randn(2, channels, 16, 24), torch.tensor([3, 977])
    vectors = torch.randn(2, 4 * WIDTHS[0]) if condition else None
    expected: Tensor = theirs(noisy, steps, class_labels=vectors).sample
    torch.testing.assert_close(ours(noisy, steps, vectors), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_classifiers_blocks_are_diffusers() -> None:
    ours = _scattered(NoisyClassifier((16, 24), classes=1))
    assert isinstance(ours, NoisyClassifier)
    noisy, steps = torch.randn(2, 1, 16, 16), torch.tensor([3, 977])
    time = TimestepEmbedding(16, 64)
    time.load_state_dict(ours.time.state_dict())
    embedded = time(Timesteps(16, flip_sin_to_cos=True, downscale_freq_shift=0)(steps))
    hidden, levels = ours.stem(noisy), []
    for level, (before, after) in enumerate([(16, 16), (16, 24)]):
        settings = {"num_layers": 1, "resnet_groups": 8, "resnet_time_scale_shift": "scale_shift"}
        block = DownBlock2D(before, after, 64, add_downsample=level == 0, **settings)
        block.load_state_dict(ours.blocks[level].state_dict())
        hidden, (found, *_) = block(hidden, embedded)
        levels.append(found)
    for own, expected in zip(ours.encode(noisy, steps), levels, strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["squaredcos_cap_v2", "linear"])
def test_the_schedule_is_diffusers(kind: str) -> None:
    products = DDPMScheduler(1000, beta_schedule=kind).alphas_cumprod
    assert torch.equal(NoiseSchedule(kind).alpha, products.sqrt())  # type: ignore[arg-type]
    assert torch.equal(NoiseSchedule(kind).sigma, (1 - products).sqrt())  # type: ignore[arg-type]
