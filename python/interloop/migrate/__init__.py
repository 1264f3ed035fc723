"""The migration kit: what serves an application of one host in the server of another.

    interloop.migrate.asgi_in_tornado      an ASGI application under a prefix of a Tornado application
    interloop.migrate.tornado_as_asgi      a Tornado application as an ASGI application
    interloop.migrate.twisted_in_tornado   a Twisted resource under a prefix of a Tornado application
    interloop.migrate.tornado_in_twisted   a Tornado application as a Twisted resource

Each module imports the hosts that it joins and no others; this package imports none. They stand between the hosts' own
interfaces (Tornado's ``HTTPMessageDelegate`` and ``HTTPConnection``, ASGI's ``receive`` and ``send``, Twisted's ``Request``), parse nothing,
and run on any asyncio loop; Twisted's parts need its reactor on that loop, as ``interloop.twisted.install()`` puts it there.
"""
