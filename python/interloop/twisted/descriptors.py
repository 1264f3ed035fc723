"""IReactorFDSet on the loop's own watchers: who is watched is asked of the loop, and kept nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from twisted.internet import main
from twisted.internet.posixbase import _NO_FILEDESC, PosixReactorBase
from twisted.python import log
from twisted.python.failure import Failure

from interloop._core import TwistedConnection
from interloop.twisted import datagrams, ports, unix

if TYPE_CHECKING:
    from interloop import Loop

# Twisted's selectables are duck-typed: a socket without a logPrefix() will do.
Selectable = Any

# Without annotations in Twisted.
callWithLogger: Any = log.callWithLogger

_PORTS: frozenset[Any] = frozenset(
    {
        ports.Port,
        unix.Port,
        datagrams.Port,
        datagrams.MulticastPort,
        datagrams.DatagramPort,
        datagrams.ConnectedDatagramPort,
    }
)

# What an event is about. There is no third: the loop reports a hang-up or an error as readiness to read
# and to write, like select(), so it is the selectable's doRead or doWrite that finds out.
_IN = 0
_OUT = 1


def _event(
    state: dict[str, Any], reactor: Descriptors, selectable: Selectable, fd: int, event: int
) -> None:
    """What our watchers call. `state` tells whose they are, see `Descriptors`."""
    callWithLogger(selectable, reactor._doReadOrWrite, selectable, fd, event)


class Descriptors(PosixReactorBase):
    """Readers and writers. All of it belongs to the loop's own thread.

    A watcher of ours is known by its callback and by the reactor's `__dict__` in its arguments. Not by
    the reactor itself: Twisted's ReactorBuilder lends the dict of a reactor under test to the global
    one, and code under test registers with either.
    """

    _asyncioEventloop: Loop
    _continuousPolling: Any
    # The connections on the loop's own streams, and the ports on its listeners.
    _connections: set[Any]
    _ports: set[Any]

    def addReader(self, reader: Selectable) -> None:
        """Call `reader.doRead()` whenever its descriptor can be read. Again for the same one: nothing.

        A plain file, which the kernel cannot wait for, is read continuously, as epollreactor does.
        Raises ValueError for a `fileno()` of -1, OSError for a descriptor that is not open.
        """
        self._add(reader, _IN, self._asyncioEventloop._add_reader)

    def addWriter(self, writer: Selectable) -> None:
        """Call `writer.doWrite()` whenever its descriptor can be written; else as `addReader`."""
        self._add(writer, _OUT, self._asyncioEventloop._add_writer)

    def _add(self, selectable: Selectable, event: int, watch: Callable[..., object]) -> None:
        if isinstance(selectable, TwistedConnection) and selectable._joined:
            if event == _IN:
                selectable.startReading()
            else:
                selectable.startWriting()
            return
        if event == _IN and selectable.__class__ in _PORTS:
            selectable.startReading()
            return
        fd = selectable.fileno()
        # Transports ask for writability with every write: known ones must cost little.
        if self._watched(fd, event) is selectable:
            return
        try:
            watch(fd, _event, self.__dict__, self, selectable, fd, event)
        except PermissionError:
            if event == _IN:
                self._continuousPolling.addReader(selectable)
            else:
                self._continuousPolling.addWriter(selectable)

    def removeReader(self, reader: Selectable) -> None:
        """Undo `addReader`; nothing for a reader that is not known."""
        if isinstance(reader, TwistedConnection) and reader._joined:
            reader.stopReading()
        elif reader.__class__ in _PORTS and reader._listening:
            reader.stopReading()
        elif self._continuousPolling.isReading(reader):
            self._continuousPolling.removeReader(reader)
        elif (fd := self._descriptor(reader, _IN)) is not None:
            self._asyncioEventloop._remove_reader(fd)

    def removeWriter(self, writer: Selectable) -> None:
        """Undo `addWriter`; nothing for a writer that is not known."""
        if isinstance(writer, TwistedConnection) and writer._joined:
            writer.stopWriting()
        elif self._continuousPolling.isWriting(writer):
            self._continuousPolling.removeWriter(writer)
        elif (fd := self._descriptor(writer, _OUT)) is not None:
            self._asyncioEventloop._remove_writer(fd)

    def removeAll(self) -> list[Selectable]:
        """Remove everything but the reactor's own readers; what was removed, each once."""
        loop = self._asyncioEventloop
        removed: dict[Selectable, None] = {}
        for fd, reader, writer in tuple(self._registered()):
            if reader is not None and reader not in self._internalReaders:
                loop._remove_reader(fd)
                removed[reader] = None
            if writer is not None:
                loop._remove_writer(fd)
                removed[writer] = None
        for connection in tuple(self._connections):
            # One that neither reads nor writes is not registered with any other reactor either.
            if connection._reading or connection._waiting:
                connection._leave()
                self._connections.discard(connection)
                removed[connection] = None
        for port in tuple(self._ports):
            port.stopReading()
            removed[port] = None
        return [*removed, *self._continuousPolling.removeAll()]

    def _disconnect_rest(self) -> None:
        """End every connection that is left, as `disconnectAll` ends those that `removeAll` answers."""
        for connection in tuple(self._connections):
            connection._leave()
            self._connections.discard(connection)
            callWithLogger(connection, connection.connectionLost, Failure(main.CONNECTION_LOST))  # type: ignore[no-untyped-call]

    def _held(self) -> list[Selectable]:
        """All that `disconnectAll` and `_disconnect_rest` would end, each once."""
        held: dict[Selectable, None] = dict.fromkeys(self._connections)
        for selectable in (*self.getReaders(), *self.getWriters()):
            if selectable not in self._internalReaders:
                held[selectable] = None
        return list(held)

    def _disconnect(self, selectables: list[Selectable]) -> None:
        """End these as `disconnectAll` ends all: nobody is told before all of them are taken out."""
        for selectable in selectables:
            self.removeReader(selectable)
            self.removeWriter(selectable)
            if selectable in self._connections:
                selectable._leave()
                self._connections.discard(selectable)
        for selectable in selectables:
            callWithLogger(selectable, selectable.connectionLost, Failure(main.CONNECTION_LOST))  # type: ignore[no-untyped-call]

    def getReaders(self) -> list[Selectable]:
        """The readers, the reactor's own included."""
        readers = [reader for _, reader, _ in self._registered() if reader is not None]
        readers += [connection for connection in self._connections if connection._reading]
        return [*readers, *self._ports, *self._continuousPolling.getReaders()]

    def getWriters(self) -> list[Selectable]:
        """The writers."""
        writers = [writer for _, _, writer in self._registered() if writer is not None]
        writers += [connection for connection in self._connections if connection._waiting]
        return [*writers, *self._continuousPolling.getWriters()]

    def _doReadOrWrite(self, selectable: Selectable, fd: int, event: int) -> None:
        """What is done about an event, as in Twisted's `_PollLikeMixin`."""
        why: BaseException | None = None
        read = False
        try:
            number = selectable.fileno()
            if number == -1:
                why = _NO_FILEDESC
            elif number != fd:
                self._forget(fd, event)
            elif event == _IN:
                why = selectable.doRead()
                read = True
            else:
                why = selectable.doWrite()
        except BaseException as error:
            why = error
            log.err()  # type: ignore[no-untyped-call]
        if why:
            self._disconnectSelectable(selectable, why, read)  # type: ignore[no-untyped-call]

    def _forget(self, fd: int, event: int) -> None:
        """A selectable closed `fd` without a word and has another descriptor now.

        Nobody will remove this watcher, and reading or writing would be about the wrong descriptor.
        """
        if event == _IN:
            self._asyncioEventloop._remove_reader(fd)
        else:
            self._asyncioEventloop._remove_writer(fd)

    def _descriptor(self, selectable: Selectable, event: int) -> int | None:
        """The number under which a selectable is watched."""
        try:
            fd: int = selectable.fileno()
        except Exception:
            # It cannot tell any more. What could be wrong with it is not the matter here: without
            # being removed it would be called for ever.
            fd = -1
        if fd != -1:
            return fd if self._watched(fd, event) is selectable else None
        for number, *selectables in self._registered():
            if selectables[event] is selectable:
                return number
        return None

    def _watched(self, fd: int, event: int) -> Selectable | None:
        return self._selectable(self._asyncioEventloop._watcher_of(fd)[event])

    def _registered(
        self, loop: Loop | None = None
    ) -> Iterator[tuple[int, Selectable | None, Selectable | None]]:
        """Descriptor, reader and writer of every watcher on `loop` (default: the reactor's)."""
        for fd, reader, writer in (loop or self._asyncioEventloop)._watchers():
            yield fd, self._selectable(reader), self._selectable(writer)

    def _selectable(self, handle: Any) -> Selectable | None:
        """The selectable of a watcher's handle; None for no handle, and for somebody else's."""
        if handle is None or handle._callback is not _event:
            return None
        state, _, selectable, *_ = handle._args
        return selectable if state is self.__dict__ else None

    def _take_descriptors(self, old: Loop) -> None:
        """Watch on the reactor's loop what was watched on `old`, and take the connections along."""
        for connection in self._connections:
            connection._move(self._asyncioEventloop)
        for port in tuple(self._ports):
            port.stopReading()
            port.startReading()
        for fd, reader, writer in tuple(self._registered(old)):
            if reader is not None:
                old._remove_reader(fd)
            if writer is not None:
                old._remove_writer(fd)
            try:
                if reader is not None:
                    self.addReader(reader)
                if writer is not None:
                    self.addWriter(writer)
            except (OSError, ValueError) as error:
                # Its descriptor was closed while no loop was there to notice.
                selectable = writer if reader is None else reader
                callWithLogger(
                    selectable, self._disconnectSelectable, selectable, error, reader is not None
                )
