"""Twisted's line receiver, whose `dataReceived` is native on our connections."""

from __future__ import annotations

from typing import Any

from twisted.protocols.basic import LineReceiver

__all__ = ["LineReceiver", "data_received"]

# What the native one does in its stead. One that does anything else is called as it is.
_KNOWN = {
    "_busyReceiving",
    "_buffer",
    "paused",
    "line_mode",
    "split",
    "delimiter",
    "ValueError",
    "len",
    "MAX_LENGTH",
    "lineLengthExceeded",
    "lineReceived",
    "transport",
    "disconnecting",
    "rawDataReceived",
}


def _known(function: Any) -> Any:
    code = getattr(function, "__code__", None)
    return function if code is not None and set(code.co_names) == _KNOWN else None


data_received: Any = _known(vars(LineReceiver)["dataReceived"])
