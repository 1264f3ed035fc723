"""Point 35: datagram endpoints over UDP and Unix sockets, connected and not."""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import sys

import pytest
from aio_datagrams import Receiver, endpoint, plain_socket
from aio_support import Contexts, polls, resource_warnings, turns

variable = contextvars.ContextVar("variable", default="unset")

# On 3.13 an empty datagram became something to send.
SENDS_EMPTY = sys.version_info >= (3, 13)


def families():
    yield socket.AF_INET
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return
    yield socket.AF_INET6


HOSTS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}

every_family = pytest.mark.parametrize("family", list(families()), ids=lambda family: family.name)


@every_family
def test_echo(run, family):
    """A datagram comes with its sender's address, as the socket module writes it, and an answer goes back there."""

    async def main():
        host = HOSTS[family]
        async with (
            endpoint(local_addr=(host, 0), echo=True) as (server, server_protocol),
            endpoint(local_addr=(host, 0)) as (client, client_protocol),
        ):
            address = server.get_extra_info("sockname")
            for text in (b"first", b"second", bytes(1000)):
                client.sendto(text, address)
                assert await client_protocol.next() == (text, address)
            assert server_protocol.got[0] == (b"first", client.get_extra_info("sockname"))
            # The same address, not the same object; and with the host written another way.
            client.sendto(b"third", (host, address[1]))
            assert await client_protocol.next() == (b"third", address)

    run(main)


def test_a_host_name(run):
    """A name is looked up by the socket itself."""

    async def main():
        with plain_socket() as peer:
            async with endpoint(local_addr=("127.0.0.1", 0)) as (transport, _protocol):
                transport.sendto(b"by name", ("localhost", peer.getsockname()[1]))
                await polls(1)
                assert peer.recv(100) == b"by name"

    run(main)


@every_family
def test_connected(run, family):
    """With remote_addr datagrams go there, and only from there they come."""

    async def main():
        host = HOSTS[family]
        with plain_socket(family) as peer, plain_socket(family) as stranger:
            async with endpoint(remote_addr=peer.getsockname()[:2]) as (transport, protocol):
                remote = transport.get_extra_info("peername")
                assert remote == peer.getsockname()
                ours = transport.get_extra_info("sockname")
                for address in ((), (None,), (remote,), ((*remote,),)):
                    transport.sendto(b"hello", *address)
                    await polls(1)
                    assert peer.recvfrom(100) == (b"hello", ours)
                with pytest.raises(ValueError, match="Invalid address: must be None or"):
                    transport.sendto(b"elsewhere", stranger.getsockname())
                with pytest.raises(ValueError):
                    transport.sendto(b"elsewhere", (host, remote[1] + 1))
                stranger.sendto(b"unwanted", ours)
                peer.sendto(b"wanted", ours)
                assert await protocol.next() == (b"wanted", remote)
                assert len(protocol.got) == 1

    run(main)


def test_extra_info_and_kind(run):
    """What it is for isinstance, what it knows, what its repr shows."""

    async def main():
        loop = asyncio.get_running_loop()
        async with endpoint(local_addr=("127.0.0.1", 0)) as (transport, protocol):
            assert isinstance(transport, asyncio.Transport)
            if sys.version_info >= (3, 12):
                assert isinstance(transport, asyncio.DatagramTransport)
            sock = transport.get_extra_info("socket")
            assert sock.type == socket.SOCK_DGRAM
            assert transport.get_extra_info("sockname") == sock.getsockname()
            assert transport.get_extra_info("peername") is None
            assert transport.get_extra_info("nothing", "default") == "default"
            assert transport.get_protocol() is protocol
            assert transport._sock is not None and transport._loop is loop
            assert transport._address is None and not transport._buffer
            assert transport.get_write_buffer_limits() == (16384, 65536)
            assert transport.is_reading() and not transport.is_closing()
            shown = repr(transport)
            assert f"fd={sock.fileno()}" in shown and "read=polling" in shown
            assert "bufsize=0" in shown
            with pytest.raises(RuntimeError, match="is used by transport"):
                loop.add_reader(sock.fileno(), print)
            transport.set_write_buffer_limits(high=10)
            assert transport.get_write_buffer_limits() == (2, 10)
            with pytest.raises(ValueError):
                transport.set_write_buffer_limits(high=1, low=2)
            transport.close()
            assert transport.is_closing() and "closing" in repr(transport)
            await protocol.lost
            await turns(1)
            assert "closed" in repr(transport)

    run(main)


def test_data(run):
    """Anything bytes-like, as it was when it was sent; TypeError for the rest."""

    async def main():
        async with (
            endpoint(local_addr=("127.0.0.1", 0)) as (server, protocol),
            endpoint(remote_addr=server.get_extra_info("sockname")) as (client, _),
        ):
            changing = bytearray(b"before")
            client.sendto(changing)
            changing[:] = b"after!"
            client.sendto(memoryview(b"a view")[2:])
            for text in (b"before", b"view"):
                assert (await protocol.next())[0] == text
            with pytest.raises(TypeError, match="must be a bytes-like object, not 'str'"):
                client.sendto("text")
            with pytest.raises(TypeError):
                client.sendto(None)

    run(main)


def test_empty_datagrams(run):
    """Received on every version, sent from 3.13 on."""

    async def main():
        with plain_socket() as peer:
            async with endpoint(local_addr=("127.0.0.1", 0)) as (transport, protocol):
                peer.sendto(b"", transport.get_extra_info("sockname"))
                assert await protocol.next() == (b"", peer.getsockname())
                transport.sendto(b"", peer.getsockname())
                transport.sendto(b"full", peer.getsockname())
                await polls(1)
                if SENDS_EMPTY:
                    assert peer.recv(10) == b""
                assert peer.recv(10) == b"full"

    run(main)


def test_refused(run):
    """What ICMP says of an earlier datagram goes to error_received(); the transport stays open."""

    async def main():
        with plain_socket() as gone:
            address = gone.getsockname()
        async with endpoint(remote_addr=address) as (transport, protocol):
            transport.sendto(b"into the void")
            assert isinstance(await protocol.error(), ConnectionRefusedError)
            # Reported to the next send, if it comes before the loop looks: not sent, and told at once.
            with plain_socket(address=address) as back:
                transport.sendto(b"anybody?")
                await polls(1)
                assert back.recv(100) == b"anybody?"
                back.sendto(b"here", transport.get_extra_info("sockname"))
                assert (await protocol.next())[0] == b"here"
            assert not transport.is_closing()

    run(main)


def test_too_large(run):
    """EMSGSIZE goes to error_received(), inside sendto()."""

    async def main():
        with plain_socket() as peer:
            async with endpoint(local_addr=("127.0.0.1", 0)) as (transport, protocol):
                transport.sendto(bytes(70_000), peer.getsockname())
                assert len(protocol.errors) == 1 and isinstance(protocol.errors[0], OSError)
                transport.sendto(bytes(60_000), peer.getsockname())
                await polls(1)
                assert len(peer.recv(70_000)) == 60_000

    run(main)


def test_an_address_that_is_none(run):
    """What the socket cannot even understand is fatal: told, and the end."""

    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        async with endpoint(local_addr=("127.0.0.1", 0)) as (transport, protocol):
            transport.sendto(b"where to?", "nowhere")
            assert isinstance(await protocol.lost, TypeError)
            [context] = contexts
            assert context["message"] == "Fatal write error on datagram transport"
            assert context["transport"] is transport and context["protocol"] is protocol

    run(main)


def test_bursts(run):
    """Many at once: all of them, in order."""

    async def main():
        with plain_socket() as peer:
            async with endpoint(local_addr=("127.0.0.1", 0)) as (transport, protocol):
                address = transport.get_extra_info("sockname")
                for round_ in range(5):
                    texts = [b"%d of %d" % (n, round_) for n in range(100)]
                    for text in texts:
                        peer.sendto(text, address)
                    assert [(await protocol.next())[0] for _ in texts] == texts

    run(main)


def test_many_senders(run):
    """Each datagram has its own sender's address."""

    async def main():
        async with endpoint(local_addr=("127.0.0.1", 0), echo=True) as (transport, protocol):
            address = transport.get_extra_info("sockname")
            peers = [plain_socket() for _ in range(50)]
            try:
                for _ in range(3):
                    for number, peer in enumerate(peers):
                        peer.sendto(b"from %d" % number, address)
                    for number, peer in enumerate(peers):
                        assert await protocol.next() == (b"from %d" % number, peer.getsockname())
                    await polls(1)
                    for number, peer in enumerate(peers):
                        assert peer.recvfrom(100) == (b"from %d" % number, address)
            finally:
                for peer in peers:
                    peer.close()

    run(main)


def test_broadcast(run):
    """allow_broadcast with remote_addr: the socket has no peer, datagrams go to the address all the same."""

    async def main():
        with plain_socket() as listening:
            listening.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
            listening.setblocking(False)
            listening.bind(("0.0.0.0", 0))
            address = ("127.255.255.255", listening.getsockname()[1])
            async with endpoint(remote_addr=address, allow_broadcast=True) as (transport, _):
                assert transport.get_extra_info("peername") is None
                transport.sendto(b"to all")
                transport.sendto(b"to all again", address)
                await polls(1)
                assert [listening.recv(100) for _ in range(2)] == [b"to all", b"to all again"]
                with pytest.raises(ValueError, match="Invalid address"):
                    transport.sendto(b"to one", ("127.0.0.1", address[1]))

    run(main)


def test_reuse_port(run):
    """Two endpoints of one port; a datagram comes to one of them."""

    async def main():
        async with endpoint(local_addr=("127.0.0.1", 0), reuse_port=True) as (one, first):
            address = one.get_extra_info("sockname")
            async with endpoint(local_addr=address, reuse_port=True) as (_, second):
                with plain_socket() as peer:
                    peer.sendto(b"to either", address)
                    await asyncio.wait(
                        [first.waiting(), second.waiting()], return_when="FIRST_COMPLETED"
                    )
                    assert first.got + second.got == [(b"to either", peer.getsockname())]

    run(main)


def test_sock(run):
    """A socket that is passed stays what it is, and is closed with the transport. A stream socket is refused."""

    async def main():
        loop = asyncio.get_running_loop()
        sock = plain_socket()
        async with endpoint(sock=sock) as (transport, _protocol):
            assert transport.get_extra_info("socket").fileno() == sock.fileno()
        assert sock.fileno() == -1
        with socket.socket() as stream:
            with pytest.raises(ValueError, match=r"A (datagram|UDP) [sS]ocket was expected, got"):
                await loop.create_datagram_endpoint(Receiver, sock=stream)

    run(main)


def test_context(run):
    """Every callback runs in the context in which the endpoint was made; error_received inside sendto in the caller's."""

    async def main():
        seen = []

        class Seeing(Receiver):
            def connection_made(self, transport):
                super().connection_made(transport)
                seen.append(variable.get())

            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                seen.append(variable.get())

        variable.set("maker's")
        async with endpoint(Seeing, local_addr=("127.0.0.1", 0)) as (transport, protocol):
            variable.set("somebody else's")
            with plain_socket() as peer:
                peer.sendto(b"x", transport.get_extra_info("sockname"))
                await protocol.next()
        assert seen == ["maker's", "maker's"]

    run(main)


def test_keyboard_interrupt(new_loop):
    """It leaves the run; what came behind is received in the next."""
    loop = new_loop()

    class Interrupted(Receiver):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if data == b"stop":
                raise KeyboardInterrupt

    async def main():
        return await loop.create_datagram_endpoint(Interrupted, local_addr=("127.0.0.1", 0))

    transport, protocol = loop.run_until_complete(main())
    with plain_socket() as peer:
        for text in (b"stop", b"second", b"third"):
            peer.sendto(text, transport.get_extra_info("sockname"))
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()

        async def rest():
            await protocol.next()
            texts = [(await protocol.next())[0] for _ in range(2)]
            transport.close()
            await protocol.lost
            return texts

        assert loop.run_until_complete(rest()) == [b"second", b"third"]
    loop.run_until_complete(turns(1))


def test_left_open(loop_factory):
    """A ResourceWarning that names it; the socket is closed."""
    with resource_warnings() as texts:
        loop = loop_factory()

        async def main():
            return await loop.create_datagram_endpoint(Receiver, local_addr=("127.0.0.1", 0))

        transport, protocol = loop.run_until_complete(main())
        loop.close()
        del transport, protocol
    assert any("unclosed transport" in text for text in texts), texts


def test_unix_paths(run, tmp_path):
    """Unix datagram sockets at paths: an answer goes to the sender's path; one without has none."""

    async def main():
        here, there = str(tmp_path / "here"), str(tmp_path / "there")
        async with endpoint(local_addr=here, family=socket.AF_UNIX, echo=True) as (_, server):
            async with endpoint(local_addr=there, remote_addr=here, family=socket.AF_UNIX) as (
                client,
                protocol,
            ):
                client.sendto(b"hello")
                assert await protocol.next() == (b"hello", here)
                assert server.got == [(b"hello", there)]
                client.sendto(b"again", here)
                assert await protocol.next() == (b"again", here)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless:
                nameless.sendto(b"who am I", here)
                server.echo = False
                await server.next()
                await server.next()
                assert await server.next() == (b"who am I", None)
        async with endpoint(local_addr=str(tmp_path / "x"), family=socket.AF_UNIX) as (
            lost,
            protocol,
        ):
            lost.sendto(b"to nobody", str(tmp_path / "nobody"))
            assert isinstance(protocol.errors[0], FileNotFoundError)

    run(main)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="abstract names")
def test_unix_abstract_names(run):
    """Names that begin with a zero byte, as str and as bytes."""

    async def main():
        name = f"\0interloop-{os.getpid()}-here"
        async with endpoint(local_addr=name, family=socket.AF_UNIX, echo=True) as (server, got):
            assert server.get_extra_info("sockname") == name.encode()
            other = f"\0interloop-{os.getpid()}-there"
            async with endpoint(local_addr=other, family=socket.AF_UNIX) as (client, protocol):
                for address in (name, name.encode()):
                    client.sendto(b"hello", address)
                    assert await protocol.next() == (b"hello", name.encode())
                assert got.got[0] == (b"hello", other.encode())

    run(main)


def test_large_unix_datagrams(run, tmp_path):
    """A hundred kilobytes arrive whole."""

    async def main():
        here = str(tmp_path / "here")
        data = os.urandom(100_000)
        async with endpoint(local_addr=here, family=socket.AF_UNIX) as (_, protocol):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
                peer.sendto(data, here)
                peer.sendto(b"small", here)
                assert (await protocol.next())[0] == data
                assert (await protocol.next())[0] == b"small"

    run(main)
