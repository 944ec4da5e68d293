"""What a process of ours asks of the operating system about its own life."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

# Loaded at import: a child between fork and exec must not load libraries.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process when the thread that forked it ends; does nothing where it cannot be asked.

    Call it after any change of user, which cancels the wish, and give the parent's process id where it is
    known: a parent that died before the call would go unnoticed otherwise. SIGKILL, because a process that
    still waits for a parent may never get to handle a gentler signal.
    """
    if _LIBC is None:
        return
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
