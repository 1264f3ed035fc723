"""Tells Twisted of the reactor, for `--reactor=interloop` of trial, twist and twistd.

Twisted finds this module by its place and imports it whenever it lists reactors; what the reactor needs
is imported when it is chosen. There is no __init__.py here or above: see `twisted.plugin`.
"""

from twisted.application.reactors import Reactor

interloop = Reactor(
    "interloop",
    "interloop.twisted",
    "interloop: one event loop in Rust, shared with asyncio and Tornado.",
)
