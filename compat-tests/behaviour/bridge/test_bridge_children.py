"""Children of all three hosts in one process and one loop: none takes another's, and nobody needs SIGCHLD alone."""

from __future__ import annotations

import subprocess
import sys
import textwrap

PROGRAM = """
import asyncio
import sys

import interloop
import interloop.tornado
import interloop.twisted

interloop.twisted.install()
interloop.tornado.install()

import tornado.process
from twisted.internet import protocol, reactor


class Ended(protocol.ProcessProtocol):
    def __init__(self):
        self.future = asyncio.get_running_loop().create_future()
        self.out = b""

    def outReceived(self, data):
        self.out += data

    def processEnded(self, reason):
        self.future.set_result((self.out, reason.value.exitCode))


def script(name, code):
    return ("/bin/sh", "-c", f"echo {name}; exit {code}")


async def by_twisted(code):
    ended = Ended()
    reactor.spawnProcess(ended, "/bin/sh", script("twisted", code), env={})
    return await ended.future


async def by_tornado(code):
    child = tornado.process.Subprocess(
        script("tornado", code), stdout=tornado.process.Subprocess.STREAM
    )
    out = await child.stdout.read_until_close()
    return out, await child.wait_for_exit(raise_error=False)


async def by_asyncio(code):
    child = await asyncio.create_subprocess_exec(
        *script("asyncio", code), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await child.communicate()
    return out, child.returncode


async def main():
    hosts = (by_twisted, by_tornado, by_asyncio)
    found = await asyncio.gather(*(host(code) for code in range(10) for host in hosts))
    wanted = [
        (name, code) for code in range(10) for name in (b"twisted\\n", b"tornado\\n", b"asyncio\\n")
    ]
    assert found == wanted, found
    tornado.process.Subprocess.uninitialize()


interloop.run(main())
print("done")
"""


def test_children_of_three_hosts():
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(PROGRAM)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)
