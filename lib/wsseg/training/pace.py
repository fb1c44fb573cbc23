"""How to compute a step fastest on the processor at hand."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

TRIES = 2
"""Timed steps of each setting, after one that is not."""


def quickest(step: Callable[[bool], None], mixed: bool) -> bool:
    """Time a step in every setting, keep the quickest: number of threads, and whether in bf16, which is returned.

    On cores that others use too, threads wait for each other: one may be
    faster than two. bf16 is slower where parts of a network have no kernel for it.

    Args:
        step: forward and backward, told whether in bf16.
        mixed: whether the processor computes in bf16 at all.
    """
    most = torch.get_num_threads()
    settings = [(threads, bf16) for threads in sorted({1, most}) for bf16 in ([True, False] if mixed else [False])]
    threads, bf16 = min(settings, key=lambda setting: _seconds(step, *setting))
    torch.set_num_threads(threads)
    return bf16


def _seconds(step: Callable[[bool], None], threads: int, bf16: bool) -> float:
    torch.set_num_threads(threads)
    step(bf16)
    begin = time.perf_counter()
    for _ in range(TRIES):
        step(bf16)
    return time.perf_counter() - begin
