from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wsseg.diffusion.derivative import Contrast, difference, exact, trajectory
from wsseg.diffusion.schedule import NoiseSchedule
from wsseg.networks.unet import ConditionalUNet

SCHEDULE = NoiseSchedule()
STEP = SCHEDULE.step_of(0.6)


@pytest.fixture(scope="module")
def network() -> ConditionalUNet:
    torch.manual_seed(0)
    unet = ConditionalUNet((32, 32, 32), rows=2)
    for parameter in unet.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return unet.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def noisy() -> Tensor:
    return torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(1))


def test_difference_is_linear_in_its_formula(network: ConditionalUNet, noisy: Tensor) -> None:
    """The batched difference is that of two separate passes."""
    absent, present = network.row(0, noisy), network.row(1, noisy)
    steps = torch.full((3,), STEP)
    one = SCHEDULE.clean_of(noisy, network(noisy, steps, present.expand(3, -1)), steps)
    mixed = 0.95 * present + 0.05 * absent
    other = SCHEDULE.clean_of(noisy, network(noisy, steps, mixed.expand(3, -1)), steps)
    found = difference(Contrast(network, SCHEDULE, present, absent), noisy, STEP, tau=0.95)
    torch.testing.assert_close(found, (one - other) / 0.05, atol=2e-4, rtol=1e-3)


def test_exact_is_the_limit_of_the_difference(network: ConditionalUNet, noisy: Tensor) -> None:
    absent, present = network.row(0, noisy), network.row(1, noisy)
    limit = exact(Contrast(network, SCHEDULE, present, absent), noisy, STEP)
    double = Contrast(network.double(), SCHEDULE, present.double(), absent.double())
    close = difference(double, noisy.double(), STEP, tau=0.999)
    network.float()
    assert limit.abs().max() > 1e-3
    torch.testing.assert_close(limit, close.float(), atol=2e-2 * float(limit.abs().max()), rtol=0)


def test_trajectory_runs_both_branches_as_published(network: ConditionalUNet, noisy: Tensor) -> None:
    """One step by hand: x_0 clamped, eps recomputed, DDIM to t - 1, difference over 1 - tau."""
    absent, present = network.row(0, noisy), network.row(1, noisy)
    ends = []
    for condition in (present, 0.95 * present + 0.05 * absent):
        steps = torch.full((3,), STEP)
        clean = SCHEDULE.clean_of(noisy, network(noisy, steps, condition.expand(3, -1)), steps).clamp(-1, 1)
        noise = SCHEDULE.noise_of(noisy, clean, steps)
        ends.append(SCHEDULE.add_noise(clean, noise, steps - 1))
    found = trajectory(Contrast(network, SCHEDULE, present, absent), noisy, STEP, tau=0.95, length=1)
    torch.testing.assert_close(found, (ends[0] - ends[1]) / 0.05, atol=2e-4, rtol=1e-3)


def test_guidance_pulls_the_branches_apart(network: ConditionalUNet, noisy: Tensor) -> None:
    """A classifier that likes bright slices makes the positive branch brighter."""
    contrast = Contrast(network, SCHEDULE, present=network.row(1, noisy), absent=network.row(0, noisy))

    def likes_bright(x: Tensor, steps: Tensor, state: Tensor) -> Tensor:
        return torch.nn.functional.logsigmoid(x.mean(dim=(1, 2, 3)) * torch.where(state == 1, 1.0, -1.0))

    plain = trajectory(contrast, noisy, STEP, tau=0.95, length=2)
    guided = trajectory(contrast, noisy, STEP, tau=0.95, length=2, guide=likes_bright, scale=100.0)
    assert (guided.mean(dim=(1, 2, 3)) > plain.mean(dim=(1, 2, 3)) + 1e-3).all()
