"""Requests of a Twisted client by `wrapClientTLS`: its CPU time for each. The server is another process, on another core."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import asyncio_micro
from twisted_micro import _reactors, run

SERVER = Path(__file__).resolve().parent.parent / "servers" / "tls_echo.py"
CONNECTIONS = 10

clients = []


@contextmanager
def echo_server():
    """The port of a TLS echo server, the same for all reactors."""
    command = [sys.executable, str(SERVER), "--loop", "stock"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
        elsewhere = set(range(os.cpu_count())) - os.sched_getaffinity(0)
        if elsewhere:
            os.sched_setaffinity(child.pid, elsewhere)
        yield int(child.stdout.readline())
        child.stdin.close()


def connect(reactor, port):
    """Makes the connections, with the handshake over."""
    from twisted.internet import endpoints, protocol, ssl

    class Client(protocol.Protocol):
        def start(self, size, count, done):
            self.message = os.urandom(size)
            self.left = count
            self.missing = size
            self.done = done
            self.transport.write(self.message)

        def dataReceived(self, data):
            at = len(self.message) - self.missing
            if data != self.message[at : at + len(data)]:
                raise SystemExit("the server's answer is wrong")
            self.missing -= len(data)
            if self.missing:
                return
            self.left -= 1
            if not self.left:
                self.done()
                return
            self.missing = len(self.message)
            self.transport.write(self.message)

    endpoint = endpoints.wrapClientTLS(
        ssl.CertificateOptions(), endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", port)
    )
    failures = []

    def failed(failure):
        failures.append(failure)
        reactor.crash()

    def made(client):
        clients.append(client)
        if len(clients) == CONNECTIONS:
            reactor.crash()

    for _ in range(CONNECTIONS):
        factory = protocol.Factory.forProtocol(Client)
        factory.noisy = False
        endpoint.connect(factory).addCallbacks(made, failed)
    run(reactor)
    if failures:
        failures[0].raiseException()


def requests(reactor, count, size):
    each = max(1, count // CONNECTIONS)
    busy = CONNECTIONS

    def done():
        nonlocal busy
        busy -= 1
        if not busy:
            reactor.crash()

    for client in clients:
        reactor.callLater(0, client.start, size, each, done)
    run(reactor)
    return each * CONNECTIONS


def request_1KiB(reactor, count):
    """10 connections, each with one request of 1 KiB under way."""
    return requests(reactor, count, 1024)


def request_100KiB(reactor, count):
    """The same with 100 KiB."""
    return requests(reactor, count, 100 * 1024)


BENCHMARKS = {function.__name__: function for function in (request_1KiB, request_100KiB)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reactor", choices=_reactors.NAMES, required=True)
    options = asyncio_micro.parse(parser, BENCHMARKS)
    _reactors.install(options.reactor)
    from twisted.internet import reactor

    with echo_server() as port:
        connect(reactor, port)
        # What a handshake leaves behind.
        requests(reactor, CONNECTIONS, 1024)
        kind = _reactors.kind(reactor)
        asyncio_micro.serve(reactor, kind, BENCHMARKS[options.bench], options, CONNECTIONS)


if __name__ == "__main__":
    main()
