"""The whole surface: every public name of asyncio's loop, transports, servers and handles, with the same parameters.

Compared with what stock has on this very interpreter: its concrete classes, and beneath them the abstract ones, whose
methods only raise NotImplementedError.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import ssl
import sys
from asyncio import base_events

import pytest
from aio_support import Recorder, connected, tcp_pair, turns

import interloop

ABSTRACT = (
    asyncio.AbstractEventLoop,
    asyncio.BaseTransport,
    asyncio.ReadTransport,
    asyncio.WriteTransport,
    asyncio.Transport,
    asyncio.DatagramTransport,
    asyncio.SubprocessTransport,
    asyncio.AbstractServer,
)


def public(cls):
    return [name for name in dir(cls) if not name.startswith("_")]


def shown(callable_):
    """Name, kind and default of each parameter; what stands there about types is not compared."""
    try:
        signature = inspect.signature(callable_)
    except ValueError:
        return "no signature"
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))


def only_raises(abstract, name):
    """Whether it is one of the abstract class's methods that wait to be implemented; some are not."""
    code = getattr(vars(abstract).get(name), "__code__", None)
    return code is not None and "NotImplementedError" in code.co_names


def is_abstract(cls, name):
    """Whether `name` of `cls` is the abstract class's own, which only raises."""
    found = inspect.getattr_static(cls, name)
    return any(
        vars(abstract).get(name) is found and only_raises(abstract, name) for abstract in ABSTRACT
    )


def surface(obj):
    """What a program can see of an object: by name, None or how it is called."""
    found = {}
    for name in public(type(obj)):
        value = getattr(obj, name)
        if not callable(value):
            found[name] = None
        elif is_abstract(type(obj), name):
            found[name] = "only raises"
        else:
            found[name] = shown(value)
    return found


def differences(ours, stock):
    """What a program that knows stock's surface would miss in ours."""
    return {
        name: (ours.get(name, "missing"), theirs)
        for name, theirs in stock.items()
        if ours.get(name, "missing") != theirs and not (name in ours and theirs == "only raises")
    }


@contextlib.contextmanager
def loops():
    with contextlib.closing(interloop.new_event_loop()) as ours:
        with contextlib.closing(asyncio.SelectorEventLoop()) as stock:
            yield ours, stock


def test_loop_has_all_that_stock_has():
    with loops() as (ours, stock):
        assert differences(surface(ours), surface(stock)) == {}


def test_loop_methods_can_be_inspected_on_the_class():
    """Tools that write documentation, and mock.create_autospec, look at the class."""
    unknown = [
        name
        for name in public(interloop.Loop)
        if callable(getattr(interloop.Loop, name))
        and shown(getattr(interloop.Loop, name))[0] != "("
    ]
    assert unknown == []


def test_nothing_of_the_abstract_loop_is_left_to_raise():
    left = [name for name in public(asyncio.AbstractEventLoop) if is_abstract(interloop.Loop, name)]
    assert left == []


# Native functions cannot be marked, so that `mock.patch.object(loop, "sock_recv")` makes no AsyncMock unless told to.
NATIVE_COROUTINES = {
    "sock_accept",
    "sock_connect",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendto",
}


def test_loop_functions_are_coroutines_where_stock_has_coroutines():
    """`inspect.iscoroutinefunction` decides in frameworks whether a result is awaited."""
    others = {
        name
        for name in public(asyncio.SelectorEventLoop)
        if inspect.iscoroutinefunction(getattr(asyncio.SelectorEventLoop, name))
        and not inspect.iscoroutinefunction(getattr(interloop.Loop, name))
    }
    assert others == NATIVE_COROUTINES


async def handles(stack):
    loop = asyncio.get_running_loop()
    handle = loop.call_soon(int)
    timer = loop.call_later(3600, int)
    stack.callback(timer.cancel)
    return {"handle": handle, "timer": timer}


async def stream(stack):
    transport, _, _ = await stack.enter_async_context(connected(tcp_pair))
    return {"transport": transport}


async def tls(stack):
    """Of a connection whose handshake does not end: the transport is there from the beginning."""
    loop = asyncio.get_running_loop()
    one, other = tcp_pair()
    stack.enter_context(other)
    protocol = Recorder()
    context = ssl.create_default_context()
    transport = loop._make_ssl_transport(one, protocol, context, server_hostname="localhost")
    await turns()

    async def end():
        transport.abort()
        # A protocol that was never told of its connection is not told of its end either.
        while one.fileno() != -1:
            await asyncio.sleep(0)

    stack.push_async_callback(end)
    return {"transport": transport}


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.lost = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc):
        self.lost.set_result(exc)


async def datagram(stack):
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        Datagrams, local_addr=("127.0.0.1", 0)
    )

    async def end():
        transport.close()
        await protocol.lost

    stack.push_async_callback(end)
    return {"transport": transport}


async def pipes(stack):
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    reader, read_protocol = await loop.connect_read_pipe(Recorder, open(reading, "rb", 0))
    writer, write_protocol = await loop.connect_write_pipe(Recorder, open(writing, "wb", 0))

    async def end():
        reader.close()
        await read_protocol.lost
        writer.close()
        await write_protocol.lost

    stack.push_async_callback(end)
    return {"reading": reader, "writing": writer}


class Child(asyncio.SubprocessProtocol):
    def __init__(self):
        self.lost = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc):
        self.lost.set_result(exc)


async def subprocess(stack):
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(Child, sys.executable, "-S", "-c", "")

    async def end():
        await protocol.lost
        transport.close()

    stack.push_async_callback(end)
    return {"transport": transport}


async def server(stack):
    loop = asyncio.get_running_loop()
    made = await loop.create_server(Recorder, "127.0.0.1", 0)
    stack.callback(made.close)
    assert isinstance(made, base_events.Server)
    return {"server": made}


KINDS = {
    "handles": handles,
    "stream": stream,
    "tls": tls,
    "datagram": datagram,
    "pipes": pipes,
    "subprocess": subprocess,
    "server": server,
}


@pytest.mark.parametrize("kind", KINDS)
def test_objects_have_all_that_stock_s_have(kind):
    """No method missing, no parameter missing, nothing left abstract that stock implements."""

    async def surfaces():
        async with contextlib.AsyncExitStack() as stack:
            return {name: surface(made) for name, made in (await KINDS[kind](stack)).items()}

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        stock = runner.run(surfaces())
    with asyncio.Runner(loop_factory=interloop.Loop) as runner:
        ours = runner.run(surfaces())
    for name, theirs in stock.items():
        assert differences(ours[name], theirs) == {}, name
