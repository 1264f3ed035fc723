"""Twisted on the Rust loop.

    import interloop.twisted
    interloop.twisted.install()        # before anything imports twisted.internet.reactor
    from twisted.internet import reactor

Then either `reactor.run()`, as ever, or nothing at all inside `interloop.run(main())`: there the reactor
is running, with its startup triggers called before `main` begins and its shutdown triggers when the loop
ends. On the command line: `twist --reactor=interloop`, `twistd`, `trial`.
"""

from interloop.twisted._install import install, uninstall
from interloop.twisted.reactor import Reactor

__all__ = ["Reactor", "install", "uninstall"]
