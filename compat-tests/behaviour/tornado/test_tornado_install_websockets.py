"""What is ours alone: which frames of websockets are taken natively, and from when to when."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tornado import httpserver, netutil, web, websocket
from tornado.websocket import WebSocketProtocol13

import interloop
import interloop.tornado
from interloop.tornado import websockets

tornados = WebSocketProtocol13._receive_frame


@pytest.fixture(autouse=True)
def put_back():
    yield
    interloop.tornado.uninstall()
    assert WebSocketProtocol13._receive_frame is tornados


class Echo(websocket.WebSocketHandler):
    async def on_message(self, message):
        await self.write_message(message)


def echo():
    """Sends a message through a websocket and back, on our loop."""

    async def main():
        server = httpserver.HTTPServer(web.Application([("/", Echo)]))
        (listener,) = netutil.bind_sockets(0, "127.0.0.1")
        server.add_socket(listener)
        url = "ws://{}:{}/".format(*listener.getsockname())
        connection = await websocket.websocket_connect(url)
        await connection.write_message("message")
        answer = await connection.read_message()
        connection.close()
        assert await connection.read_message() is None
        server.stop()
        await server.close_all_connections()
        return answer

    assert interloop.run(main()) == "message"


def test_usual_frames(monkeypatch):
    first_bytes = []

    async def for_the_others(protocol):
        first_bytes.append(protocol.stream._read_buffer[0])
        await tornados(protocol)

    interloop.tornado.install()
    with monkeypatch.context() as patch:
        patch.setattr(websockets, "_stock", for_the_others)
        echo()
    # The frame that says goodbye, on both sides.
    assert first_bytes == [0x88, 0x88]


def test_uninstall():
    interloop.tornado.install()
    assert WebSocketProtocol13._receive_frame is not tornados
    interloop.tornado.uninstall()
    assert WebSocketProtocol13._receive_frame is tornados
    echo()


def test_somebodys_own_reader_stays(monkeypatch):
    seen = []

    async def mine(protocol):
        seen.append(protocol)
        await tornados(protocol)

    with monkeypatch.context() as patch:
        patch.setattr(WebSocketProtocol13, "_receive_frame", mine)
        interloop.tornado.install()
        assert WebSocketProtocol13._receive_frame is mine
        echo()
        assert len(seen) == 4
        interloop.tornado.uninstall()
        assert WebSocketProtocol13._receive_frame is mine


def test_a_reader_that_is_replaced_later_stays(monkeypatch):
    monkeypatch.setattr(WebSocketProtocol13, "_receive_frame", tornados)
    interloop.tornado.install()
    ours = WebSocketProtocol13._receive_frame
    left_to_tornado = []

    async def mine(protocol):
        await ours(protocol)

    async def for_the_others(protocol):
        left_to_tornado.append(protocol)
        await tornados(protocol)

    WebSocketProtocol13._receive_frame = mine
    interloop.tornado.uninstall()
    assert WebSocketProtocol13._receive_frame is mine
    # What was ours lets all pass.
    monkeypatch.setattr(websockets, "_stock", for_the_others)
    echo()
    assert len(left_to_tornado) == 4
    WebSocketProtocol13._receive_frame = tornados


def test_install_does_not_import_websockets():
    """They bring all of Tornado's web framework. A program that imports them later has ours nevertheless."""
    program = """if True:
        import sys
        import interloop.tornado
        interloop.tornado.install()
        assert "tornado.websocket" not in sys.modules
        assert "tornado.web" not in sys.modules
        from tornado.websocket import WebSocketProtocol13
        tornados = WebSocketProtocol13._receive_frame
        import socket
        import interloop
        import tornado.iostream

        async def main():
            one, other = socket.socketpair()
            with other:
                tornado.iostream.IOStream(one).close()

        interloop.run(main())
        assert WebSocketProtocol13._receive_frame.__module__ == "interloop.tornado.websockets"
        interloop.tornado.uninstall()
        assert WebSocketProtocol13._receive_frame is tornados
    """
    subprocess.run([sys.executable, "-c", program], check=True)
