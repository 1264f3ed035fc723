"""Websockets of Tornado's on our streams.

A frame that is a whole message and has arrived whole is taken from the stream at once. Tornado's own method reads all others,
and does everything where a subclass or a program has replaced what it reads with.
"""

from __future__ import annotations

from typing import Any

from tornado.websocket import WebSocketProtocol13

from interloop import _core

# As they are in Tornado.
READ_BYTES = WebSocketProtocol13._read_bytes
_stock: Any = WebSocketProtocol13._receive_frame

# What ours does in its stead, for those frames. One that does anything else stays.
_KNOWN = {
    "_abort",
    "_decompressor",
    "_fragmented_message_buffer",
    "_fragmented_message_opcode",
    "_frame_compressed",
    "_frame_length",
    "_frame_mask",
    "_handle_message",
    "_read_bytes",
    "_websocket_mask",
    "FIN",
    "OPCODE_MASK",
    "RSV1",
    "RSV_MASK",
    "bool",
    "bytearray",
    "bytes",
    "close",
    "extend",
    "len",
    "max_message_size",
    "params",
    "struct",
    "unpack",
}


_installed = False


async def _receive_frame(self: Any) -> None:
    """`WebSocketProtocol13._receive_frame`, which it calls for what is not usual."""
    frame = _core.next_frame(self) if _installed else None
    if frame is not None and type(frame) is not tuple:
        frame = await frame
    if frame is None:
        await _stock(self)
        return
    opcode, mask, data, head = frame
    self._wire_bytes_in += head + len(data)
    if len(data) < 126:
        self._frame_length = len(data)
    if mask is not None:
        self._frame_mask = mask
    handled = self._handle_message(opcode, data)
    if handled is not None:
        await handled


def _is_known(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and set(code.co_names) == _KNOWN


def install() -> None:
    """Frames come from here, unless somebody has replaced Tornado's method already."""
    global _installed
    _installed = True
    if WebSocketProtocol13._receive_frame is _stock and _is_known(_stock):
        WebSocketProtocol13._receive_frame = _receive_frame  # type: ignore[method-assign]


def uninstall() -> None:
    """Undo :func:`install`. Connections go on with Tornado's method, from the next frame on, as does what somebody has
    kept of ours."""
    global _installed
    _installed = False
    if WebSocketProtocol13._receive_frame is _receive_frame:
        WebSocketProtocol13._receive_frame = _stock  # type: ignore[method-assign]
