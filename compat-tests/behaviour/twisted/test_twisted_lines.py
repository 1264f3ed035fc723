"""`LineReceiver` over TCP and UNIX sockets: what its `dataReceived` promises, whoever runs it."""

from __future__ import annotations

import os
import select
import socket
import sys

import pytest
from tw_connections import until
from twisted.internet import protocol
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IFileDescriptorReceiver
from twisted.protocols import basic
from zope.interface import implementer


class Lines(basic.LineReceiver):
    """A line receiver that keeps what it is told."""

    MAX_LENGTH = 100

    def __init__(self):
        self.got = []
        self.reason = None

    def connectionLost(self, reason):
        self.reason = reason

    def lineReceived(self, line):
        self.got.append(("line", line))
        return self.on_line(line)

    def on_line(self, line):
        """What a test does with it."""

    def rawDataReceived(self, data):
        self.got.append(("raw", data))

    def lineLengthExceeded(self, line):
        self.got.append(("too long", line))
        return super().lineLengthExceeded(line)


def listen(reactor, way, factory):
    """A port, and a blocking socket that is connected to it."""
    if way == "unix":
        port = reactor.listenUNIX("s", factory)
        end = socket.socket(socket.AF_UNIX)
        end.connect("s")
        return port, end
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    return port, socket.create_connection(("127.0.0.1", port.getHost().port))


@pytest.fixture(params=["tcp", "unix"])
def way(request, path):
    return request.param


@pytest.fixture
def serve(reactor, way):
    """serve(cls): a connection to a server of that protocol: (the protocol, send); `send` answers what it was told by then."""
    ends = []

    def serve(cls):
        made = []
        factory = protocol.Factory.forProtocol(lambda: made.append(cls()) or made[-1])
        port, end = listen(reactor, way, factory)
        ends.append(end)
        until(reactor, lambda: made and made[0].transport is not None)
        port.stopListening()
        until(reactor, lambda: not port.connected)
        lines = made[0]
        lines.first_transport, lines.end = lines.transport, end

        def send(data, descriptors=()):
            if descriptors:
                socket.send_fds(end, [data], descriptors)
            else:
                end.sendall(data)
            assert select.select([lines.first_transport], [], [], 60)[0]
            # One turn to see that, and one to read it, on reactors that need two.
            reactor.iterate(0)
            reactor.iterate(0)
            return list(lines.got)

        return lines, send

    yield serve
    for end in ends:
        end.close()


def test_lines_in_pieces(serve):
    lines, send = serve(Lines)
    assert send(b"one\r\ntwo\r\nthr") == [("line", b"one"), ("line", b"two")]
    assert lines._buffer == b"thr"
    assert send(b"ee\r") == [("line", b"one"), ("line", b"two")]
    assert send(b"\n\r\n")[2:] == [("line", b"three"), ("line", b"")]
    assert (lines._buffer, lines._busyReceiving) == (b"", False)
    assert send(b"whole\r\n")[4:] == [("line", b"whole")]
    assert (lines._buffer, lines._busyReceiving) == (b"", False)


@pytest.mark.parametrize("delimiter", [b"\n", b"END", b"\x00"])
def test_delimiters(serve, delimiter):
    """Of the class, and another one from within a line."""
    lines, send = serve(type("Own", (Lines,), {"delimiter": delimiter}))
    assert send(b"a" + delimiter + b"b" + delimiter) == [("line", b"a"), ("line", b"b")]

    def change(line):
        lines.delimiter = b"|"

    lines.on_line = change
    assert send(b"c" + delimiter + b"d|e" + delimiter + b"|")[2:] == [
        ("line", b"c"),
        ("line", b"d"),
        ("line", b"e" + delimiter),
    ]


def test_what_is_no_delimiter(serve):
    """An empty one never ends a line; one that is no bytes raises what `bytes.split` raises."""
    lines, send = serve(type("Own", (Lines,), {"delimiter": b"", "MAX_LENGTH": 5}))
    assert send(b"1234") == []
    assert send(b"5") == [("too long", b"12345")]
    assert lines.transport.disconnecting or lines.reason is not None


def test_a_delimiter_of_another_type(reactor, serve, twisted_log):
    lines, send = serve(type("Own", (Lines,), {"delimiter": "\n"}))
    send(b"a\n")
    twisted_log.take(TypeError)
    until(reactor, lambda: lines.reason is not None)
    assert lines.reason.check(TypeError)
    assert (lines._buffer, lines._busyReceiving) == (b"a\n", False)


def test_a_buffer_of_another_type(serve):
    lines, send = serve(Lines)
    lines._buffer = bytearray(b"x")
    assert send(b"y\r\nz\r\n") == [("line", b"xy"), ("line", b"z")]
    assert lines._buffer == b""


@pytest.mark.parametrize("limit", [5, 5.5])
def test_too_long(reactor, serve, limit):
    """With its end, and without: all of it is handed over, and the connection ends."""
    lines, send = serve(type("Own", (Lines,), {"MAX_LENGTH": limit}))
    assert send(b"12345\r\n") == [("line", b"12345")]
    assert send(b"123456\r\nrest")[1:] == [("too long", b"123456\r\nrest")]
    until(reactor, lambda: lines.reason is not None)
    assert lines.reason.check(ConnectionDone) and lines._buffer == b""

    lines, send = serve(type("Own", (Lines,), {"MAX_LENGTH": limit}))
    assert send(b"123456") == []
    assert send(b"78") == [("too long", b"12345678")]
    until(reactor, lambda: lines.reason is not None)
    assert lines._busyReceiving is False


def test_a_limit_that_is_no_end(serve):
    """What goes on in spite of a line that is too long."""

    class Patient(Lines):
        MAX_LENGTH = 3

        def lineLengthExceeded(self, line):
            self.got.append(("too long", line))

    _lines, send = serve(Patient)
    assert send(b"abcd\r\nef\r\n") == [("too long", b"abcd\r\nef\r\n")]
    assert send(b"gh\r\n")[1:] == [("line", b"gh")]


def test_raw_and_back(serve):
    lines, send = serve(Lines)

    def switch(line):
        if line == b"raw":
            lines.setRawMode()

    lines.on_line = switch
    assert send(b"raw\r\nsome\r\ndata") == [("line", b"raw"), ("raw", b"some\r\ndata")]
    assert lines._buffer == b""
    lines.setLineMode(b"back\r\nha")
    assert lines.got[2:] == [("line", b"back")]
    assert send(b"lf\r\n")[3:] == [("line", b"half")]


def test_back_from_within_raw_data(serve):
    class Counted(Lines):
        def rawDataReceived(self, data):
            self.got.append(("raw", data[:4]))
            self.setLineMode(data[4:])

    lines, send = serve(Counted)
    lines.setRawMode()
    assert send(b"1234line\r\nmore\r\n") == [("raw", b"1234"), ("line", b"line"), ("line", b"more")]


def test_paused(reactor, serve):
    """No line while it is paused, and none lost."""
    lines, send = serve(Lines)
    lines.on_line = lambda line: lines.pauseProducing() if line == b"stop" else None
    assert send(b"stop\r\nkept\r\n") == [("line", b"stop")]
    assert lines._buffer == b"kept\r\n"
    lines.resumeProducing()
    assert lines.got == [("line", b"stop"), ("line", b"kept")]
    assert send(b"on\r\n")[2:] == [("line", b"on")]


def test_data_from_within_a_line(serve):
    """Is appended, and comes in its turn."""
    lines, send = serve(Lines)
    lines.on_line = lambda line: (line == b"first" and lines.dataReceived(b"third\r\n")) or None
    assert send(b"first\r\nsecond\r\n") == [
        ("line", b"first"),
        ("line", b"second"),
        ("line", b"third"),
    ]


def test_the_buffer_taken_within_a_line(serve):
    lines, send = serve(Lines)
    taken = []
    lines.on_line = lambda line: taken.append(lines.clearLineBuffer())
    assert send(b"first\r\nsecond\r\n") == [("line", b"first")]
    assert taken == [b"second\r\n"] and lines._buffer == b""


@pytest.mark.parametrize("how", ["lost", "answer"])
def test_the_end_within_a_line(reactor, serve, how):
    """Nothing more is told; what has come stays in the buffer."""
    lines, send = serve(Lines)
    lines.on_line = lambda line: lines.transport.loseConnection() if how == "lost" else "why"
    assert send(b"last\r\nunheard\r\n") == [("line", b"last")]
    assert lines._buffer == b"unheard\r\n" and lines._busyReceiving is False
    if how == "lost":
        until(reactor, lambda: lines.reason is not None)
        assert lines.reason.check(ConnectionDone)


def test_a_line_that_raises(reactor, serve, twisted_log):
    lines, send = serve(Lines)
    lines.on_line = lambda line: 1 / 0
    send(b"bad\r\ngood\r\n")
    twisted_log.take(ZeroDivisionError)
    until(reactor, lambda: lines.reason is not None)
    assert lines.reason.check(ZeroDivisionError)
    assert lines.got == [("line", b"bad")]
    assert (lines._buffer, lines._busyReceiving) == (b"good\r\n", False)


def test_no_transport_any_more(serve):
    """A protocol that lets go of its transport still gets its lines."""
    lines, send = serve(Lines)
    lines.on_line = lambda line: setattr(lines, "transport", None)
    assert send(b"a\r\nb\r\n") == [("line", b"a"), ("line", b"b")]
    lines.transport = lines.first_transport


def test_what_programs_replace(serve, monkeypatch):
    """A `dataReceived` of the subclass, of the instance and of the class itself: they are the ones called."""

    class Own(Lines):
        def dataReceived(self, data):
            self.got.append(("data", data))
            super().dataReceived(data)

    lines, send = serve(Own)
    assert send(b"a\r\n") == [("data", b"a\r\n"), ("line", b"a")]

    lines, send = serve(Lines)
    assert send(b"b\r\n") == [("line", b"b")]
    lines.dataReceived = lambda data: lines.got.append(("instance", data))
    assert send(b"c\r\n")[1:] == [("instance", b"c\r\n")]
    del lines.dataReceived
    assert send(b"d\r\n")[2:] == [("line", b"d")]

    stock = basic.LineReceiver.dataReceived

    def patched(self, data):
        self.got.append(("patched", data))
        return stock(self, data)

    monkeypatch.setattr(basic.LineReceiver, "dataReceived", patched)
    assert send(b"e\r\n")[3:] == [("patched", b"e\r\n"), ("line", b"e")]
    monkeypatch.undo()
    lines.lineReceived = lambda line: lines.got.append(("own", line))
    assert send(b"f\r\n")[5:] == [("own", b"f")]


def test_a_protocol_that_hands_over(serve):
    """The transport's protocol may change within a line: to lines of another kind, to no lines at all and back."""

    class Plain(protocol.Protocol):
        got: list

        def dataReceived(self, data):
            self.got.append(("plain", data))

    lines, send = serve(Lines)
    plain, others = Plain(), type("Own", (Lines,), {"delimiter": b";"})()
    plain.got = others.got = lines.got
    transport = lines.transport

    def hand_over(line):
        transport.protocol = plain
        plain.makeConnection(transport)

    lines.on_line = hand_over
    assert send(b"a\r\n") == [("line", b"a")]
    assert send(b"b\r\n")[1:] == [("plain", b"b\r\n")]
    transport.protocol = others
    others.makeConnection(transport)
    assert send(b"c;d;")[2:] == [("line", b"c"), ("line", b"d")]
    transport.protocol = lines
    assert send(b"e\r\n")[4:] == [("line", b"e")]


def test_it_answers(reactor, serve):
    lines, send = serve(Lines)
    lines.on_line = lines.sendLine
    send(b"echo\r\n" * 3)
    reactor.iterate(0)
    got = b""
    while len(got) < 18:
        got += lines.end.recv(100)
    assert got == b"echo\r\n" * 3


@implementer(IFileDescriptorReceiver)
class Passed(Lines):
    """Is given descriptors between its lines."""

    def fileDescriptorReceived(self, descriptor):
        os.close(descriptor)
        self.got.append("descriptor")
        self.on_descriptor()

    def on_descriptor(self):
        """What a test does with it."""


@pytest.mark.parametrize("way", ["unix"], indirect=True)
def test_descriptors_beside_lines(serve):
    """Before the lines that they came with."""
    _lines, send = serve(Passed)
    assert send(b"one\r\n") == [("line", b"one")]
    assert send(b"two\r\nthr", [0, 1])[1:] == ["descriptor", "descriptor", ("line", b"two")]
    assert send(b"ee\r\n")[4:] == [("line", b"three")]


@pytest.mark.parametrize("way", ["unix"], indirect=True)
def test_a_descriptor_that_hands_over(serve):
    """What came with it goes to the protocol that its receiver has put in its place."""
    lines, send = serve(Passed)
    others = type("Own", (Lines,), {"delimiter": b";"})()
    others.got = lines.got

    def hand_over():
        lines.transport.protocol = others
        others.makeConnection(lines.transport)

    lines.on_descriptor = hand_over
    assert send(b"a;b\r\n", [0]) == ["descriptor", ("line", b"a")]
    assert send(b";")[2:] == [("line", b"b\r\n")]


@pytest.mark.parametrize("way", ["unix"], indirect=True)
def test_a_descriptor_that_pauses(serve):
    lines, send = serve(Passed)
    lines.on_descriptor = lines.pauseProducing
    assert send(b"kept\r\n", [0]) == ["descriptor"]
    lines.resumeProducing()
    assert lines.got == ["descriptor", ("line", b"kept")]


def test_ours_is_native(ours, way):
    """Twisted's method does not run, which its frame would show."""
    names = []

    class Framed(Lines):
        def lineReceived(self, line):
            frame = sys._getframe(1)
            names.append(frame.f_code.co_name)

    port, end = listen(ours, way, protocol.Factory.forProtocol(Framed))
    with end:
        end.sendall(b"line\r\n")
        until(ours, lambda: names)
        assert "dataReceived" not in names
    port.stopListening()
    until(ours, lambda: not port.connected)
