"""install() lets each side await the other's; uninstall() takes that back. And which contexts the reactor's calls run in."""

from __future__ import annotations

import contextvars

import pytest

OURS = "interloop"


def test_install_and_uninstall(program):
    assert program(
        None,
        """
        import asyncio
        import interloop, interloop.twisted
        from twisted.internet import defer
        from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks

        def patched():
            return (Deferred.__await__, Deferred.callback, defer._inlineCallbacks, tuple(defer._DEFERRED_SUBCLASSES))

        # Decorated before.
        @inlineCallbacks
        def generator():
            result = yield asyncio.sleep(0, "slept")
            return result

        before = patched()
        interloop.twisted.install()
        installed = patched()
        interloop.twisted.install()
        print(installed == patched(), [new is old for new, old in zip(installed, before)])
        print(all(issubclass(one, Deferred) for one in defer._DEFERRED_SUBCLASSES))

        async def main():
            from twisted.internet import reactor
            print(await generator())
            deferred = Deferred()
            reactor.callLater(0, deferred.callback, "deferred")
            print(await deferred)

        interloop.run(main())
        interloop.twisted.uninstall()
        print(patched() == before)
        interloop.twisted.uninstall()

        async def again():
            await Deferred()

        try:
            interloop.run(again())
        except RuntimeError as error:
            print(str(error).partition(":")[0])

        interloop.twisted.install()
        interloop.run(main())
        interloop.twisted.uninstall()
        """,
    ) == [
        "True [False, False, False, False]",
        "True",
        "slept",
        "deferred",
        "True",
        "Task got bad yield",
        "slept",
        "deferred",
    ]


def test_what_somebody_else_replaced_since_is_left(program):
    assert program(
        None,
        """
        import interloop.twisted
        from twisted.internet.defer import Deferred
        interloop.twisted.install()
        theirs = lambda self, result: None
        Deferred.callback = theirs
        interloop.twisted.uninstall()
        print(Deferred.callback is theirs)
        """,
    ) == ["True"]


def test_what_is_under_way_survives(program):
    """Coroutines that wait when install() and uninstall() are called, each for either kind."""
    assert program(
        None,
        """
        import asyncio
        import interloop, interloop.twisted
        from interloop.twisted import awaiting
        from twisted.internet.defer import Deferred, ensureDeferred

        async def twisted(first, second, third):
            return [await first, await second, await third]

        async def task(deferred):
            return await deferred

        async def main():
            loop = asyncio.get_running_loop()
            one, two, three = Deferred(), loop.create_future(), Deferred()
            begun = ensureDeferred(twisted(one, two, three))
            interloop.twisted.install()
            one.callback(1)
            four = Deferred()
            waits = asyncio.ensure_future(task(four))
            five, six, seven = loop.create_future(), Deferred(), loop.create_future()
            other = ensureDeferred(twisted(five, six, seven))
            await asyncio.sleep(0)
            awaiting.disable()
            four.callback(4)
            print(await waits)
            for number, each in enumerate((two, five, seven), 1):
                each.set_result(number)
                await asyncio.sleep(0)
            six.callback(6)
            three.callback(3)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for deferred in begun, other:
                deferred.addCallback(print)
            awaiting.enable()

        interloop.run(main())
        interloop.twisted.uninstall()
        """,
    ) == ["4", "[1, 1, 3]", "[2, 6, 3]"]


def test_installed_by_a_coroutine_that_twisted_drives(program):
    """Its step is one of Twisted's own driver's, which meets the awaiter."""
    assert program(
        None,
        """
        import asyncio
        import interloop, interloop.twisted
        from twisted.internet.defer import Deferred, ensureDeferred

        async def twisted(deferred):
            interloop.twisted.install()
            return await deferred

        async def main():
            for cancel in False, True:
                deferred = Deferred()
                result = ensureDeferred(twisted(deferred))
                if cancel:
                    result.cancel()
                else:
                    deferred.callback("fired")
                result.addBoth(lambda result: print(getattr(result, "type", result)))
                interloop.twisted.awaiting.disable()

        import interloop.twisted.awaiting
        interloop.run(main())
        interloop.twisted.uninstall()
        """,
    ) == ["fired", "<class 'twisted.internet.defer.CancelledError'>"]


def test_trials_assertions_on_coroutines(program):
    assert program(
        OURS,
        """
        from twisted.internet.defer import Deferred, ensureDeferred
        from twisted.trial.unittest import SynchronousTestCase

        async def value(deferred):
            return await deferred

        class Test(SynchronousTestCase):
            def test(self):
                fired, endless = Deferred(), Deferred()
                fired.callback(1)
                self.assertEqual(self.successResultOf(value(fired)), 1)
                self.assertNoResult(value(endless))
                failed = Deferred()
                failed.errback(ValueError())
                self.failureResultOf(value(failed), ValueError)

        result = Test("test").defaultTestResult()
        Test("test").run(result)
        print(result.testsRun, result.errors, result.failures)
        """,
    ) == ["1 [] []"]


def test_the_reactors_end_finds_no_task(program):
    """A coroutine of Twisted's is none of asyncio's tasks, which the end of the loop would cancel."""
    assert program(
        OURS,
        """
        import asyncio
        from twisted.internet import defer, reactor

        async def twisted():
            print(asyncio.current_task() in asyncio.all_tasks(), len(asyncio.all_tasks()))
            await asyncio.sleep(0)
            reactor.stop()

        reactor.callWhenRunning(lambda: defer.ensureDeferred(twisted()))
        reactor.run()
        """,
    ) == ["False 0"]


# Contexts.

variable = contextvars.ContextVar("variable", default="unset")


def in_context(value, function, *args, **kwargs):
    def call():
        variable.set(value)
        return function(*args, **kwargs)

    return contextvars.copy_context().run(call)


@pytest.mark.parametrize("delay", [0, 0.001])
def test_delayed_calls(ours, delay):
    from tw_connections import until

    seen = []
    in_context("scheduled", ours.callLater, delay, lambda: seen.append(variable.get()))
    until(ours, lambda: seen)
    assert seen == ["scheduled"]


def test_calls_from_a_thread(program):
    assert program(
        OURS,
        """
        import contextvars
        from twisted.internet import reactor, threads
        variable = contextvars.ContextVar("variable", default="unset")

        told = {}

        def tell(where):
            told[where] = variable.get()

        def start():
            variable.set("scheduled")
            reactor.callFromThread(tell, "called")
            deferred = threads.deferToThread(tell, "thread")
            deferred.addCallback(lambda _: tell("result"))
            deferred.addCallback(lambda _: reactor.stop())

        reactor.callWhenRunning(lambda: contextvars.copy_context().run(start))
        reactor.run()
        print(sorted(told.items()))
        """,
    ) == ["[('called', 'scheduled'), ('result', 'scheduled'), ('thread', 'scheduled')]"]


def test_tracebacks_are_twisteds(kind, program):
    """trial cuts its reports where it finds these frames, and twisted.web's errors quote them."""
    told = program(
        kind,
        """
        from twisted.internet import defer, reactor

        def fails(_):
            raise ZeroDivisionError

        async def at_once():
            await defer.succeed(None).addCallback(fails)

        waiting = defer.Deferred().addCallback(fails)

        async def later():
            await waiting

        def tell(failure):
            # But for the driver's own: ours is native.
            driver = ("_inlineCallbacks", "throwExceptionIntoGenerator")
            print(*(frame[0] for frame in failure.frames if frame[0] not in driver))

        def run():
            for coroutine in (at_once, later):
                defer.ensureDeferred(coroutine()).addErrback(tell)
            waiting.callback(None)
            reactor.stop()

        reactor.callWhenRunning(run)
        reactor.run()
        """,
    )
    assert told == [
        "at_once __iter__ raiseException _runCallbacks fails",
        "later __iter__ _runCallbacks fails",
    ]


def test_an_aiohttp_request_in_twisteds_coroutines(program):
    """A library of asyncio's with all it uses: timeouts, tasks, connections, its own cleaning up."""
    assert program(
        None,
        """
        import asyncio
        import interloop.twisted

        interloop.twisted.install()

        import aiohttp
        import sniffio
        from aiohttp import web
        from twisted.internet import reactor
        from twisted.internet.defer import ensureDeferred, inlineCallbacks

        async def hello(request):
            await asyncio.sleep(0)
            return web.Response(text="hello")

        async def serve():
            application = web.Application()
            application.router.add_get("/", hello)
            runner = web.AppRunner(application)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            return runner, "http://127.0.0.1:%d/" % runner.addresses[0][1]

        async def ask(url):
            async with asyncio.timeout(60), aiohttp.ClientSession() as session:
                async with session.get(url) as answer:
                    return await answer.text()

        async def ask_together(url):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(ask(url)) for _ in range(3)]
            return [task.result() for task in tasks]

        @inlineCallbacks
        def ask_in_a_generator(url):
            session = aiohttp.ClientSession()
            answer = yield session.get(url)
            text = yield answer.text()
            yield session.close()
            return text

        async def main():
            runner, url = await serve()
            print(sniffio.current_async_library(), asyncio.current_task() is not None)
            print(await ask(url))
            print(await ask_together(url))
            print(await ask_in_a_generator(url))
            await runner.cleanup()
            print(len(asyncio.all_tasks()))

        def run():
            ensureDeferred(main()).addErrback(lambda failure: failure.printTraceback()).addBoth(
                lambda _: reactor.stop()
            )

        reactor.callWhenRunning(run)
        reactor.run()
        """,
    ) == ["asyncio True", "hello", "['hello', 'hello', 'hello']", "hello", "0"]


def test_a_task_group_is_cancelled_from_twisteds_side(program):
    """While its body waits for a Deferred: the children end first, and who cancelled sees Twisted's CancelledError."""
    assert program(
        None,
        """
        import asyncio
        import interloop.twisted

        interloop.twisted.install()

        from twisted.internet import reactor
        from twisted.internet.defer import Deferred, ensureDeferred

        async def child():
            try:
                await asyncio.Event().wait()
            finally:
                print("child ends")

        async def main():
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                await Deferred()

        async def fails():
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                await asyncio.sleep(0)
                raise ZeroDivisionError

        def tell(failure):
            print(failure.type.__module__, failure.type.__name__)

        async def run():
            cancelled = ensureDeferred(main()).addErrback(tell)
            reactor.callLater(0.01, cancelled.cancel)
            await cancelled
            await ensureDeferred(main()).addTimeout(0.01, reactor).addErrback(tell)
            await ensureDeferred(fails()).addErrback(tell)
            reactor.stop()

        reactor.callWhenRunning(lambda: ensureDeferred(run()))
        reactor.run()
        """,
    ) == [
        "child ends",
        "twisted.internet.defer CancelledError",
        "child ends",
        "twisted.internet.defer TimeoutError",
        "child ends",
        "builtins ExceptionGroup",
    ]
