"""A `twisted.web` site over our connections: what its channel promises, whoever takes its lines."""

from __future__ import annotations

import contextlib
import functools
import select
import socket
import ssl
import sys

import pytest
from tw_connections import until
from tw_tls import context, identity
from twisted.internet import interfaces
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.protocols import basic
from twisted.web import http, resource, server
from zope.interface import directlyProvides

# Twisted's own certificates pass them.
pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")


class Page(resource.Resource):
    """Answers with what it was asked, and keeps the names in its callers' frames."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.frames = set()

    def answer(self, request):
        frame = sys._getframe(1)
        while frame is not None:
            self.frames.add(frame.f_code.co_name)
            frame = frame.f_back
        return request.method + b" " + request.uri + b": " + request.content.read()

    def render_GET(self, request):
        return self.answer(request)

    render_POST = render_GET


class Site(server.Site):
    noisy = False

    def log(self, request):
        """No access log."""


class Served:
    """A site, one blocking connection to it, and the protocol at its other end."""

    def __init__(self, reactor, channel=http.HTTPChannel, bare=False, tls=False, **settings):
        self.reactor = reactor
        self.page = Page()
        site = Site(self.page, reactor=reactor, **settings)
        self.made = []
        self.reason = None
        self.tls = tls

        class Front(http._GenericHTTPChannelProtocol):
            def connectionLost(front, reason):
                self.reason = reason
                return super().connectionLost(reason)

        def protocol():
            self.made.append(channel() if bare else Front(channel()))
            return self.made[-1]

        site.protocol = protocol
        if tls:
            port = reactor.listenSSL(0, site, identity().options(), interface="127.0.0.1")
        else:
            port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.end = socket.create_connection(("127.0.0.1", port.getHost().port))
        if tls:
            self.end = self.encrypted(self.end)
        self.file = self.end.makefile("rb")
        until(reactor, lambda: self.made and self.channel.transport is not None)
        port.stopListening()
        until(reactor, lambda: not port.connected)

    def encrypted(self, end):
        end = context(server=False).wrap_socket(
            end, server_hostname="localhost", do_handshake_on_connect=False
        )
        end.setblocking(False)

        def is_over():
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
                return True

        until(self.reactor, is_over)
        # The server has seen it as well.
        until(self.reactor, lambda: self.channel.transport._handshakeDone)
        end.setblocking(True)
        return end

    @property
    def front(self):
        return self.made[0]

    @property
    def channel(self):
        return getattr(self.made[0], "_channel", self.made[0])

    def close(self):
        self.file.close()
        self.end.close()

    def send(self, data):
        """Returns once it was read."""
        transport = self.channel.transport
        self.end.sendall(data)
        assert select.select([transport], [], [], 60)[0]
        # One turn to see it, one to read it, one to make records of the answer, one to send them.
        for _ in range(4):
            self.reactor.iterate(0)

    def answer(self):
        """The status and the body of one answer."""
        status = int(self.file.readline().split()[1])
        length = 0
        for line in iter(self.file.readline, b"\r\n"):
            name, value = line.split(b":", 1)
            if name.lower() == b"content-length":
                length = int(value)
        return status, self.file.read(length)


@pytest.fixture
def serve(reactor):
    served = []

    def serve(*args, **kwargs):
        served.append(Served(reactor, *args, **kwargs))
        return served[-1]

    yield serve
    for one in served:
        one.close()
    for one in served:
        until(reactor, lambda one=one: not one.channel.transport.connected)


@pytest.fixture(params=[False, True], ids=["tcp", "tls"])
def serve_either(request, kind, reactor, seam, serve):
    """`serve`, with and without TLS."""
    if request.param:
        seam(kind, reactor)
    return functools.partial(serve, tls=request.param)


def test_a_request_in_pieces(serve_either):
    one = serve_either()
    one.send(b"GET /a HTTP/1.1\r\nHo")
    one.send(b"st: x\r\n")
    one.send(b"\r")
    assert one.channel._buffer == b"\r"
    one.send(b"\n")
    assert one.answer() == (200, b"GET /a: ")
    one.send(b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n")
    assert one.answer() == (200, b"GET /b: ")
    assert one.channel._busyReceiving is False


@pytest.mark.parametrize("bare", [False, True])
def test_bodies_and_requests_behind_them(serve_either, bare):
    """What has come early waits for its turn."""
    one = serve_either(bare=bare)
    post = b"POST /c HTTP/1.1\r\nContent-Length: 6\r\n\r\n"
    one.send(post + b"one")
    one.send(b"two" + post + b"threes")
    assert one.answer() == (200, b"POST /c: onetwo")
    one.send(b"POST /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    assert one.answer() == (200, b"POST /c: threes")
    one.send(b"0\r\n\r\n")
    assert one.answer() == (200, b"POST /d: abc")


def test_no_http_at_all(serve):
    one = serve()
    one.send(b"nonsense\r\nmore\r\n")
    assert one.answer()[0] == 400
    until(one.reactor, lambda: one.reason is not None)
    assert one.reason.check(ConnectionDone)


def test_a_line_that_is_too_long(serve):
    """Is no request: the connection ends."""
    one = serve()
    one.send(b"GET /" + b"x" * (http.HTTPChannel.MAX_LENGTH + 10))
    until(one.reactor, lambda: one.reason is not None)
    assert one.file.read() == b""


def test_the_last_request_of_a_connection(serve):
    """What comes behind it is not looked at."""
    one = serve()
    one.send(b"GET /a HTTP/1.0\r\n\r\nGET /b HTTP/1.0\r\n\r\n")
    assert one.answer() == (200, b"GET /a: ")
    until(one.reactor, lambda: one.reason is not None)
    assert one.file.read() == b""


def test_each_piece_resets_the_timeout(serve_either):
    """By the channel's method, which programs replace."""
    calls = []

    class Channel(http.HTTPChannel):
        def resetTimeout(self):
            calls.append("class")
            super().resetTimeout()

    one = serve_either(Channel, timeout=60)
    one.send(b"GET /a HTTP/1.1\r\n")
    one.send(b"Host: x\r\n\r\n")
    assert one.answer()[0] == 200 and calls == ["class"] * 2
    one.channel.resetTimeout = lambda: calls.append("instance")
    one.send(b"GET /a HTTP/1.1\r\n\r\n")
    assert one.answer()[0] == 200 and calls[2:] == ["instance"]


def test_a_timeout(serve, reactor):
    one = serve(timeout=60)
    one.send(b"GET /a HTTP/1.1\r\n")
    (call,) = [
        call
        for call in reactor.getDelayedCalls()
        if getattr(call.func, "__self__", None) is one.channel
    ]
    call.reset(0)
    until(reactor, lambda: one.reason is not None)
    assert one.file.read() == b""


def test_a_header_that_raises(serve_either, twisted_log):
    class Channel(http.HTTPChannel):
        def headerReceived(self, line):
            raise ZeroDivisionError

    one = serve_either(Channel)
    one.send(b"GET / HTTP/1.1\r\nA: b\r\nC: d\r\n")
    twisted_log.take(ZeroDivisionError)
    until(one.reactor, lambda: one.reason is not None)
    # With TLS the reason is that of the connection beneath, which is not ended by a close_notify.
    assert one.reason.check(ConnectionLost if one.tls else ZeroDivisionError)
    assert one.channel._busyReceiving is False


def test_what_programs_replace(serve_either, monkeypatch):
    """A `dataReceived` of a subclass, of an instance and of each class: they are the ones called."""
    calls = []

    class Channel(http.HTTPChannel):
        def dataReceived(self, data):
            calls.append("subclass")
            super().dataReceived(data)

    def ask(one):
        calls.clear()
        one.send(b"GET / HTTP/1.1\r\n\r\n")
        assert one.answer()[0] == 200
        return list(calls)

    def replace(owner, name):
        stock = vars(owner)["dataReceived"]

        def replaced(self, data):
            calls.append(name)
            return stock(self, data)

        monkeypatch.setattr(owner, "dataReceived", replaced)

    assert ask(serve_either(Channel)) == ["subclass"]
    one = serve_either()
    assert ask(one) == []
    for name, owner in (("front", one.front), ("channel", one.channel)):
        method = owner.dataReceived

        def replaced(data, method=method, name=name):
            calls.append(name)
            return method(data)

        owner.dataReceived = replaced
    assert ask(one) == ["front", "channel"]
    del one.front.dataReceived, one.channel.dataReceived
    assert ask(one) == []
    replace(basic.LineReceiver, "lines")
    assert ask(one) == ["lines"]
    replace(http.HTTPChannel, "channel")
    assert ask(one) == ["channel", "lines"]
    replace(http._GenericHTTPChannelProtocol, "front")
    assert ask(one) == ["front", "channel", "lines"]
    monkeypatch.undo()
    assert ask(one) == []


def test_a_channel_of_another_kind(serve_either):
    """An upgrade puts another protocol in the channel's place."""
    one = serve_either()
    one.send(b"GET / HTTP/1.1\r\n\r\n")
    assert one.answer()[0] == 200
    got = []

    class Upgraded:
        transport = one.channel.transport

        def dataReceived(self, data):
            got.append(data)

        def connectionLost(self, reason):
            got.append("lost")

    upgraded = Upgraded()
    directlyProvides(upgraded, interfaces.IProtocol)
    one.front._channel, old = upgraded, one.channel
    old.setTimeout(None)
    one.send(b"anything")
    assert got == [b"anything"]
    one.close()
    until(one.reactor, lambda: one.reason is not None)
    assert got == [b"anything", "lost"]


def test_an_answer_of_many_pieces(serve):
    """`writeSequence` of more than is copied into one piece, in order with what is written beside it."""
    one = serve()
    pieces = [bytes([65 + n % 26]) * n for n in range(200)]
    transport = one.channel.transport
    transport.write(b"<")
    transport.writeSequence(pieces[:50])
    transport.writeSequence(tuple(pieces[50:]))
    transport.writeSequence([])
    transport.writeSequence((b"", b">"))
    expected = b"<" + b"".join(pieces) + b">"
    got = b""
    one.reactor.iterate(0)
    while len(got) < len(expected):
        one.reactor.iterate(0)
        got += one.end.recv(65536)
    assert got == expected
    for wrong in ([b"a", "b"], [b"a", None]):
        with pytest.raises(TypeError, match=r"Data must be bytes|must not be unicode"):
            transport.writeSequence(wrong)


@pytest.mark.parametrize("tls", [False, True])
def test_ours_is_native(ours, seam, tls):
    """Twisted's methods do not run, which their frames would show; the first piece of a connection goes through them."""
    one = Served(seam("interloop", ours), tls=tls)
    with contextlib.closing(one):
        for seen in ({"dataReceived"}, set()):
            one.page.frames.clear()
            one.send(b"GET / HTTP/1.1\r\n\r\n")
            assert one.answer()[0] == 200
            assert one.page.frames & {"dataReceived"} == seen
            assert "lineReceived" in one.page.frames
    until(ours, lambda: not one.channel.transport.connected)
