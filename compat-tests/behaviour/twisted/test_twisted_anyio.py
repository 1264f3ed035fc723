"""anyio in Twisted's own coroutines: scopes, groups, streams and threads find the loop and a current task."""

from __future__ import annotations


def test_anyio_in_twisteds_coroutines(program):
    assert program(
        None,
        """
        import asyncio

        import interloop.twisted

        interloop.twisted.install()

        import anyio
        import sniffio
        from twisted.internet import reactor
        from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks
        from twisted.internet.task import deferLater

        async def child(name, seconds, *, task_status=anyio.TASK_STATUS_IGNORED):
            task_status.started(name)
            await anyio.sleep(seconds)
            await deferLater(reactor, 0, lambda: None)
            return name

        async def group():
            async with anyio.create_task_group() as tg:
                got = await tg.start(child, "started", 0)
                tg.start_soon(child, "soon", 0)
            return got

        async def timeout():
            with anyio.move_on_after(0.01) as scope:
                await Deferred()
            return scope.cancelled_caught

        async def fail():
            try:
                with anyio.fail_after(0.01):
                    await anyio.sleep_forever()
            except TimeoutError:
                return "timed out"

        async def exceptions():
            async def bad():
                raise ValueError("bad")
            try:
                async with anyio.create_task_group() as tg:
                    tg.start_soon(bad)
                    await Deferred()
            except BaseException as e:
                return repr(e)

        async def streams():
            async def handle(client):
                async with client:
                    await client.send(await client.receive())
            listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            async with anyio.create_task_group() as tg:
                tg.start_soon(listener.serve, handle)
                async with await anyio.connect_tcp("127.0.0.1", port) as client:
                    await client.send(b"hello")
                    got = await client.receive()
                tg.cancel_scope.cancel()
            await listener.aclose()
            return got

        async def thread():
            return await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(child, "from thread", 0))

        async def locks():
            lock = anyio.Lock()
            async with lock:
                pass
            ev = anyio.Event()
            async with anyio.create_task_group() as tg:
                async def setter():
                    ev.set()

                tg.start_soon(setter)
                await ev.wait()
            send, receive = anyio.create_memory_object_stream(1)
            async with send, receive:
                await send.send(1)
                return await receive.receive()

        async def cancelled():
            seen = []
            async def wait():
                try:
                    async with anyio.create_task_group() as tg:
                        tg.start_soon(anyio.sleep_forever)
                        await anyio.sleep_forever()
                except BaseException as e:
                    seen.append(type(e).__module__)
                    raise
            d = ensureDeferred(wait())
            await deferLater(reactor, 0, lambda: None)
            d.cancel()
            try:
                await d
            except BaseException as e:
                seen.append(type(e).__module__)
            return seen

        @inlineCallbacks
        def generator():
            a = yield ensureDeferred(group())
            return a

        async def main():
            print(sniffio.current_async_library())
            for f in (group, timeout, fail, exceptions, streams, thread, locks, cancelled):
                print(f.__name__, await f())
            print(await generator())
            print(len(asyncio.all_tasks()))

        def run():
            ensureDeferred(main()).addErrback(lambda f: f.printTraceback()).addBoth(lambda _: reactor.stop())
        reactor.callWhenRunning(run)
        reactor.run()
        """,
    ) == [
        "asyncio",
        "group started",
        "timeout True",
        "fail timed out",
        "exceptions ExceptionGroup('unhandled errors in a TaskGroup', [ValueError('bad')])",
        "streams b'hello'",
        "thread from thread",
        "locks 1",
        "cancelled ['asyncio.exceptions', 'twisted.internet.defer']",
        "started",
        "0",
    ]
