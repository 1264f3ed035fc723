"""`loop.sendfile` and `loop.sock_sendfile`: CPU time of the sender per file, in a process of its own.

Another process takes what comes and throws it away in the kernel.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile

import asyncio_micro

SMALL = 16 * 1024
LARGE = 1024 * 1024


def sink():
    """A connection whose other end is a process that reads and discards."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    if os.fork() == 0:
        try:
            ours.close()
            while theirs.recv(1 << 20, socket.MSG_TRUNC):
                pass
        finally:
            os._exit(0)
    theirs.close()
    ours.setblocking(False)
    return ours


OURS = sink()
FILE = tempfile.TemporaryFile()
FILE.write(os.urandom(LARGE))
FILE.flush()


def by_transport(loop, count, size):
    async def main():
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=OURS.dup())
        for _ in range(count):
            if await loop.sendfile(transport, FILE, 0, size, fallback=False) != size:
                raise SystemExit("not all of the file was sent")
        transport.abort()
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    return count


def by_socket(loop, count, size):
    async def main():
        for _ in range(count):
            if await loop.sock_sendfile(OURS, FILE, 0, size, fallback=False) != size:
                raise SystemExit("not all of the file was sent")

    loop.run_until_complete(main())
    return count


def sendfile_16KiB(loop, count):
    return by_transport(loop, count, SMALL)


def sendfile_1MiB(loop, count):
    return by_transport(loop, count, LARGE)


def sock_sendfile_16KiB(loop, count):
    return by_socket(loop, count, SMALL)


def sock_sendfile_1MiB(loop, count):
    return by_socket(loop, count, LARGE)


BENCHMARKS = {}
for function in (sendfile_16KiB, sendfile_1MiB, sock_sendfile_16KiB, sock_sendfile_1MiB):
    function.in_company = True
    BENCHMARKS[function.__name__] = function


def check(loop):
    """Nothing to be done before: each benchmark looks at what it is answered."""


if __name__ == "__main__":
    asyncio_micro.main(BENCHMARKS, check, 10, __doc__)
    OURS.close()
    os.wait()
