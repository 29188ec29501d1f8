"""The C library's memory: `keep_memory` makes it keep what XLA frees, instead of giving it back to the kernel.

glibc takes a large buffer from the kernel and gives it back when it is freed, so that every step of a training clears
each page of its buffers anew. Three settings end that, for the allocations of all threads together:

    M_MMAP_MAX = 0            no buffer is a mapping of its own, which would be given back when freed
    M_TRIM_THRESHOLD = max    the heap's free end is not given back
    M_ARENA_MAX = 1           all threads use the one heap that grows; a thread's own has at most 64 MB, and what is
                              larger is a mapping of its own whatever M_MMAP_MAX says

A thread stays with the heap that it has. XLA starts its threads, each with a heap, when JAX first looks for devices.

Source: mallopt(3) and malloc/malloc.c, malloc/arena.c of glibc 2.36.
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # malloc.h


def keep_memory() -> bool:
    """Make the C library keep freed memory for this process, from now on; call it before JAX computes anything.

    For loops in Python over steps with buffers of more than 32 MB: it ends their page faults, after some twenty steps
    in which the heap grows. The price: what is freed stays the process's own, and memory in pieces is not put to every
    use, so that the process looks larger, up to about twice in our trials. It cannot be undone. It does nothing to
    memory on a GPU or TPU. The same without a call, for any program: the environment variables MALLOC_MMAP_MAX_=0
    MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_ARENA_MAX=1.

    Returns:
        Whether it took effect. False, with nothing changed: the C library is not glibc (macOS, Windows, musl), or there
        are threads with heaps of their own already, as there are once JAX has looked for devices. An allocator that is
        loaded in the place of glibc's (jemalloc, tcmalloc) is not seen: it has its own settings.

    Example:
        >>> import fnnet
        >>> kept = fnnet.keep_memory()  # first of all

    Source: mallopt(3).
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not all(hasattr(libc, name) for name in ("gnu_get_libc_version", "mallopt", "malloc_info")):
        return False
    if _heaps(libc) > 1:
        return False
    settings = (M_ARENA_MAX, 1), (M_TRIM_THRESHOLD, -1), (M_MMAP_MAX, 0)  # -1 is the largest size
    return all([libc.mallopt(name, value) for name, value in settings])


def _heaps(libc: ctypes.CDLL) -> int:
    """The number of heaps, of all threads: from the report that glibc writes of them."""
    libc.open_memstream.restype = ctypes.c_void_p
    text, size = ctypes.c_void_p(), ctypes.c_size_t()
    file = ctypes.c_void_p(libc.open_memstream(ctypes.byref(text), ctypes.byref(size)))
    libc.malloc_info(0, file)
    libc.fclose(file)
    report = ctypes.string_at(text, size.value)
    libc.free(text)
    return report.count(b"<heap nr=")
