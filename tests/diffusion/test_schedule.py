from __future__ import annotations

import pytest
import torch

from wsseg.diffusion.schedule import NoiseSchedule

SCHEDULE = NoiseSchedule()


@pytest.mark.parametrize("sigma", [0.17, 0.32, 0.6, 0.9])
def test_levels_are_found_by_sigma(sigma: float) -> None:
    assert SCHEDULE.sigma[SCHEDULE.step_of(sigma)] == pytest.approx(sigma, abs=2e-3)


def test_cosine_step_400_is_the_published_level() -> None:
    """The published code has sqrt(alpha_bar) 0.804 at step 400 of its cosine schedule of 1000."""
    assert SCHEDULE.alpha[400] == pytest.approx(0.804, abs=5e-4)


def test_velocity_gives_back_the_clean_slice() -> None:
    clean, noise = torch.rand(4, 1, 8, 8), torch.randn(4, 1, 8, 8)
    steps = torch.tensor([10, 400, 700, 990])
    noisy = SCHEDULE.add_noise(clean, noise, steps)
    velocity = SCHEDULE.velocity(clean, noise, steps)
    torch.testing.assert_close(SCHEDULE.clean_of(noisy, velocity, steps), clean)
    torch.testing.assert_close(SCHEDULE.noise_of(noisy, clean, steps), noise, atol=1e-4, rtol=1e-4)


def test_training_levels_stay_in_their_range() -> None:
    steps = SCHEDULE.timesteps_between(0.2, 0.9, torch.tensor([0.0, 0.5, 0.999999]))
    assert steps[0] == SCHEDULE.step_of(0.2)
    assert steps[2] == SCHEDULE.step_of(0.9)
    assert steps[0] < steps[1] < steps[2]
