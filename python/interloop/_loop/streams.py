"""asyncio's streams on transports of ours: the methods that run per read, write and `drain()` are native.

A `StreamReader`, a `StreamWriter` and their protocol are made by asyncio itself (`start_server`, `open_connection`). When a
transport of ours gets such a protocol, they change to the subclasses here: same state, same behaviour, and what is
inherited is the interpreter's own. Subclasses of a program's own, and a program that patches the stock classes, keep what
they have. The writer of `open_connection()` is made last, when nothing asks us any more, and stays as it is.

The interpreter calls methods of an object that has changed its class at three times the cost. So a server's, which nobody
else holds yet, are made again.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from typing import Any, TypeVar, cast

from interloop._core import LoopCore, ReaderMethods, ReaderProtocolMethods, WriterMethods
from interloop._loop.native import NoLoop


# asyncio's class comes first and gives the layout: an object can change to a class that adds nothing to it. The native
# methods, which look whether they belong to the object's class, are named one by one.
class Reader(asyncio.StreamReader, ReaderMethods):
    """`asyncio.StreamReader` whose `read()` is a native coroutine."""

    read = ReaderMethods.read
    _wait_for_data = ReaderMethods._wait_for_data


class Writer(asyncio.StreamWriter, WriterMethods):
    """`asyncio.StreamWriter` whose `write()` and `drain()` are native."""

    write = WriterMethods.write
    drain = WriterMethods.drain


class ReaderProtocol(asyncio.StreamReaderProtocol, ReaderProtocolMethods):
    """`asyncio.StreamReaderProtocol` that feeds a `Reader`."""

    data_received = ReaderProtocolMethods.data_received

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        state = vars(self)
        connected = state["_client_connected_cb"]
        if connected is None:
            super().connection_made(cast(Any, transport))
            return

        # What is told of a new connection is the only one to whom its writer is shown.
        def show(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Any:
            if type(writer) is asyncio.StreamWriter and not _is_patched(asyncio.StreamWriter):
                first, writer = writer, _again(writer, Writer)
                # It does not complain that it was not closed.
                cast(Any, first).__class__ = _Replaced
                if state.get("_stream_writer") is first:
                    state["_stream_writer"] = writer
            return connected(reader, writer)

        state["_client_connected_cb"] = show
        try:
            super().connection_made(cast(Any, transport))
        finally:
            state["_client_connected_cb"] = connected


class _Replaced(asyncio.StreamWriter):
    """A writer that another one replaces."""

    def __del__(self, warnings: Any = None) -> None:
        pass


# For their repr.
for _class in (Reader, Writer, ReaderProtocol):
    _class.__name__ = _class.__qualname__ = _class.__mro__[1].__name__


def _plain() -> tuple[int, int]:
    """How many attributes a new reader has, and a new protocol."""
    loop: Any = NoLoop()
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, lambda *_: None, loop=loop)
    return len(vars(reader)), len(vars(protocol))


PLAIN = _plain()


def _methods(cls: type, *names: str) -> tuple[type, dict[str, Any]]:
    return cls, {name: vars(cls)[name] for name in names}


_STOCK: dict[type, dict[str, Any]] = dict(
    (
        _methods(
            asyncio.StreamReader,
            "read",
            "feed_data",
            "exception",
            "_wait_for_data",
            "_wakeup_waiter",
            "_maybe_resume_transport",
        ),
        _methods(asyncio.StreamReaderProtocol, "data_received", "connection_made"),
        _methods(asyncio.StreamWriter, "write", "drain"),
    )
)


def _is_patched(cls: type) -> bool:
    found = vars(cls)
    return any(found.get(name) is not method for name, method in _STOCK[cls].items())


def _change(instance: Any, cls: type) -> None:
    instance.__class__ = cls
    # Its dict shares its keys with those of its former class: each look at such a one costs three times as much.
    instance.__dict__ = {**vars(instance)}


_Kind = TypeVar("_Kind")


def _again(instance: Any, cls: type[_Kind]) -> _Kind:
    """An object with the state of another one."""
    new = cls.__new__(cls)
    # One by one: then methods are found without a look at its dict.
    for name, value in vars(instance).items():
        setattr(new, name, value)
    return new


def _references(protocol: asyncio.StreamReaderProtocol) -> tuple[int, int, int]:
    """How many references there are to its reader, those of this function included, and how many weak ones to both."""
    reader: Any = cast(Any, protocol)._stream_reader
    return (
        sys.getrefcount(reader),
        weakref.getweakrefcount(reader),
        weakref.getweakrefcount(protocol),
    )


def _made_by_a_server() -> asyncio.StreamReaderProtocol:
    loop: Any = NoLoop()
    return asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), lambda *_: None, loop=loop)


_ALONE = _references(_made_by_a_server())


def again(protocol: asyncio.StreamReaderProtocol) -> asyncio.StreamReaderProtocol:
    """What a server's protocol, of asyncio's own class and held by the caller alone, is replaced by."""
    if (
        not _may_change(protocol)
        # Without it somebody else holds the reader.
        or vars(protocol).get("_strong_reader") is None
        or _references(protocol) != _ALONE
    ):
        return protocol
    new = _again(protocol, ReaderProtocol)
    state = vars(new)
    reader = _again(cast(Any, protocol)._stream_reader, Reader)
    state["_strong_reader"] = reader
    state["_stream_reader_wr"] = weakref.ref(reader)
    # The collector ends what is older first, and the protocol's end must come before that of a Future whose exception
    # nobody asks for: then it does.
    state["_closed"] = state["_loop"].create_future()
    return new


def _may_change(protocol: asyncio.StreamReaderProtocol) -> bool:
    """Whether it and its reader may have the native methods."""
    state: dict[str, Any] = vars(protocol)
    reader: Any = cast(Any, protocol)._stream_reader
    loop = state["_loop"]
    return (
        type(reader) is asyncio.StreamReader
        and vars(reader)["_loop"] is loop
        and not _is_patched(asyncio.StreamReader)
        and not _is_patched(asyncio.StreamReaderProtocol)
        and "data_received" not in state
        and isinstance(loop, LoopCore)
    )


def adopt(protocol: asyncio.StreamReaderProtocol) -> None:
    """Make a protocol of asyncio's own class, and its reader, use the native methods."""
    if not _may_change(protocol):
        return
    # A server's has this one; with it all have the same number, see `PLAIN`.
    vars(protocol).setdefault("_strong_reader", None)
    _change(cast(Any, protocol)._stream_reader, Reader)
    _change(protocol, ReaderProtocol)
