"""What others expect of `loop._selector`.

We have none, but stock's datagram and pipe transports look into it for their repr, and Twisted's asyncioreactor
unregisters descriptors there that were closed without a word.
"""

from __future__ import annotations

import selectors
from typing import Any, Protocol


class _Watching(Protocol):
    def _watchers(self) -> list[tuple[int, Any, Any]]: ...
    def _remove_reader(self, fd: Any) -> bool: ...
    def _remove_writer(self, fd: Any) -> bool: ...


class SelectorView:
    """The loop's watchers, read through the interface of `selectors`."""

    def __init__(self, loop: _Watching) -> None:
        self._loop = loop

    def get_map(self) -> dict[int, selectors.SelectorKey]:
        """Every watched descriptor; a snapshot."""
        found = {}
        for fd, reader, writer in self._loop._watchers():
            events = (selectors.EVENT_READ if reader else 0) | (
                selectors.EVENT_WRITE if writer else 0
            )
            found[fd] = selectors.SelectorKey(fd, fd, events, (reader, writer))
        return found

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """KeyError when the descriptor is not watched."""
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        try:
            return self.get_map()[fd]
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Stop watching; KeyError when the descriptor is not watched."""
        key = self.get_key(fileobj)
        self._loop._remove_reader(key.fd)
        self._loop._remove_writer(key.fd)
        return key
