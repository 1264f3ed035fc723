"""asyncio's streams on transports of ours: the methods that run per read are native.

A `StreamReader` and its protocol are made by asyncio itself (`start_server`, `open_connection`). When a transport of ours
gets such a protocol, both objects change to the subclasses here: same state, same behaviour, and what is inherited is
the interpreter's own. Subclasses of a program's own, and a program that patches the stock classes, keep what they have.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from interloop._core import LoopCore, Operation, stream_data_received


class Reader(asyncio.StreamReader):
    """`asyncio.StreamReader` whose `read()` is a native coroutine."""

    _loop: LoopCore

    def read(self, n: int = -1) -> Operation[bytes]:
        return self._loop._read_stream(self, n)

    def _wait_for_data(self, func_name: str) -> Operation[None]:
        return self._loop._wait_for_stream(self, func_name)

    read.__doc__ = asyncio.StreamReader.read.__doc__


class ReaderProtocol(asyncio.StreamReaderProtocol):
    """`asyncio.StreamReaderProtocol` that feeds a `Reader`."""

    _loop: LoopCore

    data_received = stream_data_received


_READER_METHODS = (
    "read",
    "feed_data",
    "_wait_for_data",
    "_wakeup_waiter",
    "_maybe_resume_transport",
)
_stock = [
    (asyncio.StreamReaderProtocol, "data_received", asyncio.StreamReaderProtocol.data_received),
    *((asyncio.StreamReader, name, vars(asyncio.StreamReader)[name]) for name in _READER_METHODS),
]


def adopt(protocol: asyncio.StreamReaderProtocol) -> None:
    """Make a protocol of asyncio's own class, and its reader, use the native methods."""
    state: dict[str, Any] = vars(protocol)
    reader: Any = cast(Any, protocol)._stream_reader
    loop = state["_loop"]
    if type(reader) is not asyncio.StreamReader or vars(reader)["_loop"] is not loop:
        return
    if any(vars(cls).get(name) is not method for cls, name, method in _stock):
        return
    if "data_received" in state or not isinstance(loop, LoopCore):
        return
    protocol.__class__ = ReaderProtocol
    reader.__class__ = Reader
