"""The half of autobahn's own suite that is for Twisted, as its justfile runs it."""

from suitekit.on_library import Library

PLAN = Library(
    "autobahn",
    "autobahn.test",
    "autobahn.twisted.test",
    "autobahn.websocket.test",
    "autobahn.rawsocket.test",
    "autobahn.wamp.test",
    "autobahn.nvx.test",
    # trial cannot leave out asyncio's.
    recurse=False,
    environment={"USE_TWISTED": "1"},
)
