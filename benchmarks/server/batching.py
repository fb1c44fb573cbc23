"""How much faster both branches and all slices in one batch are than one after the other.

The published code runs two sequential passes for each slice; wsseg runs both
branches of many slices together. Same network, steps, pixels, dtype and noise,
the sequential passes in PyTorch's default memory format and ours in the
channels-last format that the product computes in; a first pass of each does
not count. The product infers in float32.

    python benchmarks/server/batching.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor

from wsseg.diffusion.derivative import Contrast, difference
from wsseg.diffusion.schedule import NoiseSchedule
from wsseg.inference.device import slices_per_pass
from wsseg.methods.cdm import CDM, CDMSettings
from wsseg.networks.unet import ConditionalUNet

SCHEDULE = NoiseSchedule()


def sequential(network: ConditionalUNet, noisy: Tensor, step: int) -> Tensor:
    """One slice and one branch at a time, as the published code runs."""
    found = []
    for plane in noisy.split(1):
        steps = torch.tensor([step])
        branches = [
            SCHEDULE.clean_of(plane, network(plane, steps, network.row(k, plane)).float(), steps) for k in (1, 0)
        ]
        found.append(branches[0] - branches[1])
    return torch.cat(found)


def batched(network: ConditionalUNet, noisy: Tensor, step: int) -> Tensor:
    """Both branches and as many slices at once as wsseg computes on a CPU."""
    chunk = slices_per_pass(torch.device("cpu"), noisy.shape[-1], CDM.pixel_bytes)
    contrast = Contrast(network, SCHEDULE, network.row(1, noisy), network.row(0, noisy))
    return torch.cat([difference(contrast, part, step, tau=0.0) for part in noisy.split(chunk)])


def seconds(run: Callable[[], Tensor], repeats: int) -> float:
    """Best of several, after one that does not count."""
    run()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    network = ConditionalUNet(CDMSettings().widths, rows=3).requires_grad_(False).eval()
    torch.nn.init.normal_(network.unet.conv_out.weight, std=0.1)  # its last layer starts at zero
    ours = deepcopy(network).to(memory_format=torch.channels_last)
    print(f"{arguments.slices} slices, one step, {torch.get_num_threads()} threads")
    print(
        "| pixels | dtype | sequential s | batched s | times faster | largest difference |\n|---|---|---|---|---|---|"
    )
    for size in (64, 128):
        noisy = torch.randn(arguments.slices, 1, size, size)
        for dtype in (torch.float32, torch.bfloat16):
            _row(network, ours, noisy, dtype, arguments.repeats)


def _row(network: ConditionalUNet, ours: ConditionalUNet, noisy: Tensor, dtype: torch.dtype, repeats: int) -> None:
    step = SCHEDULE.step_of(0.7)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        one = seconds(lambda: sequential(network, noisy, step), repeats)
        many = seconds(lambda: batched(ours, noisy, step), repeats)
        apart = (sequential(network, noisy, step) - batched(ours, noisy, step)).abs().max()
    print(f"| {noisy.shape[-1]} | {dtype} | {one:.2f} | {many:.2f} | {one / many:.2f} | {apart:.1e} |", flush=True)


if __name__ == "__main__":
    main()
