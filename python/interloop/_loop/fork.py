"""Loops in forked children: each gets a poller of its own, so that the parent's is not touched."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class _Forkable(Protocol):
    def _after_fork(self) -> None: ...


_loops: weakref.WeakSet[_Forkable] = weakref.WeakSet()
_registered = False


def _in_child() -> None:
    for loop in list(_loops):
        loop._after_fork()


def follow(loop: _Forkable) -> None:
    """Renew the loop's poller in every child that `os.fork` makes from now on.

    The hook is registered with the first loop, not at import, and cannot be taken back (`os` offers no way); without
    loops it does nothing.
    """
    global _registered
    if not _registered:
        os.register_at_fork(after_in_child=_in_child)
        _registered = True
    _loops.add(loop)
