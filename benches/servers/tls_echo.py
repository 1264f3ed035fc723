"""Echo server with TLS on an asyncio loop; the TLS is the loop's own or aiofastnet's."""

from __future__ import annotations

import argparse
import asyncio
import functools
import ssl
import tempfile

import _certificate
import _control
import _loops
import asyncio_echo


def context() -> ssl.SSLContext:
    """A server's context with a certificate made for this run, which no client looks at."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(_certificate.make())
        file.flush()
        made.load_cert_chain(file.name)
    return made


async def serve(loop, tls):
    listener = asyncio_echo.listen(None)
    if tls == "aiofastnet":
        import aiofastnet

        create = functools.partial(aiofastnet.create_server, loop)
    else:
        create = loop.create_server
    server = await create(
        asyncio_echo.Echo, sock=listener, ssl=context(), backlog=asyncio_echo.BACKLOG
    )
    _control.announce(listener.getsockname()[1])
    return server


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=_loops.NAMES, required=True)
    parser.add_argument("--tls", choices=("own", "aiofastnet"), default="own")
    options = parser.parse_args()

    _control.raise_descriptor_limit()
    loop = _loops.new_event_loop(options.loop)
    asyncio.set_event_loop(loop)
    server = loop.run_until_complete(serve(loop, options.tls))
    _control.start(
        stop=lambda: loop.call_soon_threadsafe(loop.stop),
        facts=lambda: {
            "loop": _loops.kind(loop),
            "tls": options.tls,
            "connections": asyncio_echo.open_connections,
        },
    )
    loop.run_forever()
    # The process ends here, and the connections that are open with it.
    del server


if __name__ == "__main__":
    main()
