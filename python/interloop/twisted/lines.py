"""Twisted's line receiver, whose `dataReceived` is native on our connections."""

from __future__ import annotations

from typing import Any

from twisted.protocols.basic import LineReceiver

__all__ = ["LineReceiver", "data_received", "known"]


def known(function: Any, names: set[str]) -> Any:
    """
    A function of Twisted's own whose native counterpart does what these names (its globals and attributes) say; None for one
    that does anything else, which is called as it is.
    """
    code = getattr(function, "__code__", None)
    return function if code is not None and set(code.co_names) == names else None


data_received: Any = known(
    vars(LineReceiver)["dataReceived"],
    {
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
    },
)
