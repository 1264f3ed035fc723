"""Signal handlers: `loop.add_signal_handler` and its kin.

Python's C-level handler writes the signal's number to the wakeup fd; the loop reads it there. Only one wakeup
fd exists in a process, so the bytes are handed on to the one that was there before: Twisted's SIGCHLD waker must
go on working beside us.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable


class Wakeup:
    """Our end of the process's signal wakeup fd. Made and used in the main thread only."""

    def __init__(self, deliver: Callable[[int], object]) -> None:
        self._deliver = deliver
        self.reader, self._writer = socket.socketpair()
        self.reader.setblocking(False)
        self._writer.setblocking(False)
        try:
            self._previous = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        except BaseException:
            # ValueError in another thread than the main one.
            self.reader.close()
            self._writer.close()
            raise

    def fileno(self) -> int:
        """The descriptor that signals are written to."""
        return self._writer.fileno()

    def retake(self) -> None:
        """Take the wakeup fd again if somebody else has taken it since, and hand bytes on to them."""
        current = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        if current != self._writer.fileno():
            self._previous = current

    def read(self) -> None:
        """Deliver the signals that have arrived."""
        while True:
            try:
                data = self.reader.recv(4096)
            except InterruptedError:
                continue
            except BlockingIOError:
                return
            if not data:
                return
            self._forward(data)
            for signum in data:
                if signum:
                    self._deliver(signum)

    def _forward(self, data: bytes) -> None:
        if self._previous == -1:
            return
        try:
            os.write(self._previous, data)
        except BlockingIOError:
            # Full: its owner has wake-ups enough to read, which is all that a byte there says.
            pass
        except OSError:
            # Closed by its owner without putting ours back: nobody listens there any more.
            self._previous = -1

    def close(self) -> None:
        """Put the previous wakeup fd back, unless somebody has taken it from us."""
        try:
            current = signal.set_wakeup_fd(-1)
            # -1: asyncio's own code has taken ours out already.
            ours = current in (-1, self._writer.fileno())
            restored = self._previous if ours else current
            if restored != -1:
                try:
                    signal.set_wakeup_fd(restored, warn_on_full_buffer=False)
                except (ValueError, OSError):
                    # Its owner has closed it in the meantime.
                    pass
        finally:
            self.reader.close()
            self._writer.close()
