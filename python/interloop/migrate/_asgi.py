"""ASGI's words, as types. ASGI is an interface of plain functions and dicts: there is no package to take them from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[object]]

VERSION = "3.0"


class ClientDisconnected(OSError):
    """The client is gone. What ASGI's ``send`` raises then is an OSError; frameworks know what to make of that."""
