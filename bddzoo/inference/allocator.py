"""Keep freed memory instead of giving it back to the system and asking for it again.

A forward pass on a CPU frees and allocates tensors of tens of megabytes by the hundred. The C library
returns each of them to the system at once, so that every page of the next one has to be mapped and
cleared again; on the zoo's networks that is a quarter to a third of all CPU time. PyTorch has no cache
for CPU memory, and the C library's own settings are usually made with environment variables, before
the process starts. `mallopt` makes them later.
"""

from __future__ import annotations

import sys
from functools import cache

# Parameters of mallopt(3), from glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_MAX = -4
TOP_PAD_BYTES = 256 << 20
NEVER = (1 << 31) - 1


@cache
def keep_freed_memory() -> bool:
    """Tell the C library to keep freed memory for the rest of the process.

    Resident memory then stays near its peak, which it reaches within the first picture; it does not grow
    with the number of pictures.

    Returns:
        Whether it was done: only GNU's C library knows these settings.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  (musl has mallopt's name, without its effect)
        mallopt = libc.mallopt
    except (OSError, AttributeError):
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER), (M_TOP_PAD, TOP_PAD_BYTES))
    return all(mallopt(name, value) == 1 for name, value in settings)
