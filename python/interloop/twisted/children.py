"""Child processes: a pidfd each where the kernel has them, so that SIGCHLD may be anybody's.

Twisted reaps on SIGCHLD, for which a reactor needs the signal's handler, the process's one wakeup fd and
the main thread. All three have other takers beside it: asyncio's `add_signal_handler`, Tornado's
`Subprocess`, the program around `interloop.run()`. A pidfd is a descriptor like any other.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twisted.internet import process
from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.python.failure import Failure

_log = Logger()


def _kernel_has_pidfds() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


HAS_PIDFDS = _kernel_has_pidfds()


class _Child:
    """Reads the end of a child from its pidfd: an IReadDescriptor of the reactor's own."""

    def __init__(self, reactor: Any, pid: int, fd: int) -> None:
        self._reactor = reactor
        self._pid = pid
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return f"child {self._pid}"

    def doRead(self) -> None:
        self._reactor._removeInternalReader(self)
        self.connectionLost(None)
        # Somebody may have reaped it before: SIGCHLD, or the end of its pipes.
        handler: Any = process.reapProcessHandlers.get(self._pid)
        if handler is not None:
            handler.reapProcess()

    def connectionLost(self, reason: Failure | None) -> None:
        if self._fd != -1:
            os.close(self._fd)
            self._fd = -1


class Children(PosixReactorBase):
    """IReactorProcess."""

    def spawnProcess(
        self,
        processProtocol: Any,
        executable: Any,
        args: Any = (),
        env: Any = {},  # noqa: B006  # Twisted's: an empty environment, None being the parent's
        path: Any = None,
        uid: int | None = None,
        gid: int | None = None,
        usePTY: Any = 0,
        childFDs: Any = None,
    ) -> Any:
        """Start a child; see IReactorProcess. The loop's own thread, which need not be the main one.

        Counterpart: `PosixReactorBase.spawnProcess`, whose children are only reaped after
        `run(installSignalHandlers=True)`.
        """
        transport = super().spawnProcess(  # type: ignore[no-untyped-call]
            processProtocol, executable, args, env, path, uid, gid, usePTY, childFDs
        )
        # None: it has ended, and was reaped at once.
        if HAS_PIDFDS and transport.pid is not None:
            try:
                fd = os.pidfd_open(transport.pid)
            except OSError as error:
                _log.warn(
                    "child {pid} will be reaped when SIGCHLD comes or its pipes close: {error}",
                    pid=transport.pid,
                    error=error,
                )
            else:
                child: Any = _Child(self, transport.pid, fd)
                self._addInternalReader(child)
        return transport
