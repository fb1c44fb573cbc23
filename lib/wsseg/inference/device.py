"""Where to compute, and how many slices at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

import torch

from wsseg.errors import WssegError

Result = TypeVar("Result")

_CPU_BYTES = 1 << 28
"""What activations may take on a CPU: little enough for its caches; with 1 GiB, 128 pixels take 1.5 times as long."""


def pick_device(name: str | None) -> torch.device:
    """The named device, or a GPU where there is one, else the CPU."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise WssegError(f'device "{name}" is unknown, use cpu, cuda or cuda:N') from error
    if device.type not in ("cpu", "cuda"):
        raise WssegError(f'device "{name}" is not supported, use cpu, cuda or cuda:N')
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise WssegError(f'device "{name}" is not there, this machine has {torch.cuda.device_count()} GPUs')
    return device


def has_bf16(device: torch.device) -> bool:
    """Whether a device computes in bf16: a recent GPU, or a CPU with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@contextmanager
def mixed_precision(device: torch.device, wanted: bool = True) -> Iterator[None]:
    """Networks compute in bf16 where the device does, which takes about half of float32's seconds."""
    with torch.autocast(device.type, torch.bfloat16, enabled=wanted and has_bf16(device)):
        yield


def slices_per_pass(device: torch.device, size: int, pixel_bytes: int) -> int:
    """How many slices of ``size`` pixels to compute at once: half of a GPU's free memory, 256 MiB on a CPU.

    Args:
        pixel_bytes: activations of a method, see :class:`wsseg.methods.base.Method`.
    """
    budget = _CPU_BYTES if device.type == "cpu" else torch.cuda.mem_get_info(device)[0] // 2
    return int(max(1, budget // (pixel_bytes * size * size)))


def with_less_memory(predict: Callable[[int], Result], chunk: int) -> Result:
    """Call with a chunk, and with half of it for as long as the GPU's memory runs out.

    Raises:
        WssegError: a single slice is too much.
    """
    from accelerate.utils import find_executable_batch_size  # takes its time to load, and CPUs need not wait for it

    sizes = [chunk >> halvings for halvings in range(chunk.bit_length())]
    trying = iter(sizes[1:])
    fitting = find_executable_batch_size(predict, chunk, reduce_batch_size_fn=lambda: next(trying, 0))
    try:
        return cast(Result, fitting())
    except RuntimeError as error:
        if "No executable batch size" not in str(error):
            raise
        raise WssegError("the GPU has too little free memory for a single slice, use the CPU") from error
