"""Tornado on the Rust loop.

Three ways, from the least to the most:

* inside ``interloop.run()`` nothing is needed: ``IOLoop.current()`` is Tornado's own
  ``AsyncIOMainLoop`` around the Rust loop;
* ``interloop.tornado.IOLoop()``, or ``interloop.tornado.IOLoop(asyncio_loop=loop)`` with a loop of
  your own, is an IOLoop whose handlers stand directly on the Rust watchers;
* after :func:`install`, every ``tornado.ioloop.IOLoop()`` and every ``IOLoop.current()`` on a Rust
  loop is such an IOLoop, without a change in the application. :func:`uninstall` undoes it.
"""

from interloop.tornado._install import install, uninstall
from interloop.tornado.ioloop import IOLoop, MainIOLoop
from interloop.tornado.streams import IOStream, SSLIOStream

__all__ = ["IOLoop", "IOStream", "MainIOLoop", "SSLIOStream", "install", "uninstall"]
