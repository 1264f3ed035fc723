"""One event loop, in Rust, that asyncio coroutines, Twisted protocols and Tornado handlers share.

Importing this package changes nothing and imports neither Twisted nor Tornado. See `run`, `Loop`,
`interloop.twisted.install` and `interloop.tornado.install`.
"""

from interloop.loop import Loop, new_event_loop
from interloop.policy import EventLoopPolicy, install, uninstall
from interloop.runner import run

__all__ = ("EventLoopPolicy", "Loop", "install", "new_event_loop", "run", "uninstall")

__version__ = "0.1.0"
