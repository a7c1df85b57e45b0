"""Keeps what a call frees at hand for the next one, where malloc is glibc's."""

from __future__ import annotations

import torch

LARGEST = 2**25 - 2**13
"""Bytes: just below glibc's DEFAULT_MMAP_THRESHOLD_MAX on 64 bits, its header and torch's alignment included."""


def keep_freed_memory() -> None:
    """Let the heap keep 64 MiB of free memory at its end.

    A call frees all its buffers as it ends. What lies at the end of the heap glibc then hands back to the system, and
    the next call waits for fresh pages: a fifth to a third of its time on 12 to 18 wires. It keeps twice the size of
    the largest block, of 32 MiB at most, that was ever mapped by itself and freed (mallopt(3), M_MMAP_THRESHOLD), so
    one that is never written to and freed at once is all it takes. Any program that drops a tensor of that size is in
    the same state. An M_TRIM_THRESHOLD that the user has set stays as it is; other allocators take no notice.
    """
    torch.empty(LARGEST, dtype=torch.uint8, device="cpu")
