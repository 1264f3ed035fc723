"""Awaiting where it is deep, goes round in a circle, or raises what is no common exception."""

from __future__ import annotations

import sys

import pytest

OURS = "interloop"


@pytest.mark.parametrize("function", ["coroutine", "generator"])
@pytest.mark.parametrize("stack", [0, 1 << 20])
def test_a_chain_that_is_too_long(kind, program, function, stack):
    """Where it breaks, the error is in a Deferred that was to resume the next one; those after it wait for ever."""
    if (kind, function, sys.version_info[:2]) == ("stock", "coroutine", (3, 12)):
        pytest.skip(
            "right there, but the interpreter tells stderr of a generator that had no stack left to be closed"
        )
    assert program(
        kind,
        f"""
        import threading
        from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks
        from twisted.python.failure import Failure

        async def wait(deferred):
            return await deferred

        def coroutine(deferred):
            return ensureDeferred(wait(deferred))

        @inlineCallbacks
        def generator(deferred):
            result = yield deferred
            return result

        def chain(length):
            all = [Deferred()]
            for _ in range(length):
                all.append({function}(all[-1]))
            all[0].callback("result")
            return all

        def run():
            print(chain(150)[-1].result)
            all = chain(20000)
            fired = [deferred for deferred in all if deferred.called]
            print(all[:len(fired)] == fired, 150 < len(fired) < 20000)
            failed = [deferred for deferred in fired if isinstance(deferred.result, Failure)]
            # The next one has fired already if it was one of its own calls that was one too many.
            print([deferred.result.type.__name__ for deferred in failed], failed[0] in fired[-2:])
            failed[0].addErrback(lambda _: None)

        threading.stack_size({stack})
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        """,
    ) == ["result", "True True", "['RecursionError'] True"]


CIRCLE = """
import asyncio
import os

async def wait(tasks, other):
    tasks.append(asyncio.current_task())
    await asyncio.sleep(0)
    await tasks[other]

async def main(start):
    tasks = []
    kept = [start(wait(tasks, 1)), start(wait(tasks, 0))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    try:
        {what}
    except RecursionError as error:
        print(type(error).__name__)
    # Nobody can end these two.
    os.sys.stdout.flush()
    os._exit(0)

if {ours}:
    import interloop, interloop.twisted
    from twisted.internet.defer import ensureDeferred
    interloop.twisted.install()
    interloop.run(main(ensureDeferred))
else:
    asyncio.run(main(asyncio.create_task))
"""


@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("tasks[0].cancel()", ["RecursionError"]),
        ("print('wait_for=' in repr(tasks[0]))", ["True"]),
    ],
    ids=["cancel", "repr"],
)
def test_two_that_await_each_other(program, ours, what, told):
    """Coroutines of Twisted's as tasks of asyncio's do."""
    assert program(None, CIRCLE.format(ours=ours, what=what)) == told


@pytest.mark.parametrize("how", ["asyncio.create_task", "ensureDeferred"])
def test_a_turn_within_a_step(program, how):
    """`reactor.iterate()` in a coroutine: tasks go on in it, and it is the current one again after that, whatever happens."""
    assert program(
        None,
        f"""
        import asyncio
        import interloop, interloop.twisted
        from twisted.internet.defer import ensureDeferred

        class Stop(KeyboardInterrupt):
            pass

        def fatal():
            raise Stop

        async def other():
            print(asyncio.current_task() is not None)
            await asyncio.sleep(0)
            print("other")

        async def turns(reactor):
            loop, me = asyncio.get_running_loop(), asyncio.current_task()
            reactor.callLater(0, lambda: print("no task", asyncio.current_task()))
            task = asyncio.create_task(other())
            ensureDeferred(other())
            for _ in range(3):
                reactor.iterate(0)
            print(task.done(), asyncio.current_task() is me)
            loop.call_soon(fatal)
            try:
                reactor.iterate(0)
            except Stop:
                print("raised", asyncio.current_task() is me)
            await asyncio.sleep(0)
            print(asyncio.current_task() is me)

        async def main():
            await {how}(turns(interloop.twisted.install()))

        interloop.run(main())
        """,
    ) == [
        "True",
        "no task None",
        "True",
        "other",
        "other",
        "True True",
        "raised True",
        "True",
    ]


def test_callbacks_argument_has_a_name(kind, program):
    assert program(
        kind,
        """
        import inspect
        from twisted.internet.defer import Deferred

        for call in (
            lambda deferred: deferred.callback(1),
            lambda deferred: deferred.callback(result=1),
            lambda deferred: Deferred.callback(deferred, result=1),
            lambda deferred: deferred.callback(*(), **{"result": 1}),
        ):
            deferred = Deferred()
            print(call(deferred), deferred.result)
        for call in (
            lambda deferred: deferred.callback(),
            lambda deferred: deferred.callback(1, 2),
            lambda deferred: deferred.callback(1, result=2),
            lambda deferred: deferred.callback(other=1),
        ):
            try:
                call(Deferred())
            except TypeError as error:
                print(error)
        print(*inspect.signature(Deferred.callback).parameters)
        parameters = inspect.signature(Deferred().callback).parameters.values()
        print([(one.name, one.kind.name, one.default is one.empty) for one in parameters])
        """,
    ) == [
        *["None 1"] * 4,
        "Deferred.callback() missing 1 required positional argument: 'result'",
        "Deferred.callback() takes 2 positional arguments but 3 were given",
        "Deferred.callback() got multiple values for argument 'result'",
        "Deferred.callback() got an unexpected keyword argument 'other'",
        "self result",
        "[('result', 'POSITIONAL_OR_KEYWORD', True)]",
    ]


def test_closed_while_it_waits(kind, program):
    """Twisted finds out when it has the coroutine go on."""
    assert (
        program(
            kind,
            """
        from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks

        async def wait(deferred):
            try:
                await deferred
            finally:
                print("closed")

        for fire in lambda it: it.callback(None), lambda it: it.errback(ZeroDivisionError()):
            deferred = Deferred()
            coroutine = wait(deferred)
            result = ensureDeferred(coroutine)
            coroutine.close()
            print(result.called)
            fire(deferred)
            print(result.called)
            result.addErrback(lambda failure: print(failure.value))
        """,
        )
        == ["closed", "False", "True", "cannot reuse already awaited coroutine"] * 2
    )


def test_a_stop_iteration(kind, program):
    """A `yield` raises it as it is. An `await` is a generator, which may not let one out."""
    assert program(
        kind,
        """
        from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks

        @inlineCallbacks
        def generator(deferred):
            try:
                yield deferred
            except BaseException as error:
                return repr(error)

        async def coroutine(deferred):
            try:
                await deferred
            except BaseException as error:
                return repr(error)

        for start in generator, lambda deferred: ensureDeferred(coroutine(deferred)):
            deferred = Deferred()
            result = start(deferred)
            deferred.errback(StopIteration(1))
            print(result.result)
        """,
    ) == ["StopIteration(1)", "RuntimeError('generator raised StopIteration')"]


def test_the_traceback_of_a_yield(kind, program):
    """It has no frame of an `await` in it."""
    told = program(
        kind,
        """
        import traceback
        from twisted.internet.defer import Deferred, inlineCallbacks

        def fails(_):
            raise ZeroDivisionError

        @inlineCallbacks
        def generator(deferred):
            yield deferred

        def tell(failure):
            names = [frame.name for frame in traceback.extract_tb(failure.value.__traceback__)]
            # But for the driver's own: ours is native.
            print(*(name for name in names if name not in ("_inlineCallbacks", "throwExceptionIntoGenerator")))

        deferred = Deferred()
        deferred.addCallback(fails)
        generator(deferred).addErrback(tell)
        deferred.callback(None)
        """,
    )
    assert told == ["generator _runCallbacks fails"]


PERSPECTIVE_BROKER = """
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, inlineCallbacks
from twisted.spread import pb

class Root(pb.Root):
    def remote_fails(self):
        raise pb.Error("why")

def tell(how, error):
    print(how, type(error) is pb.RemoteError, error.remoteType, error)

async def coroutine(how, deferred):
    try:
        await deferred
    except BaseException as error:
        tell(how, error)

@inlineCallbacks
def generator(deferred):
    try:
        yield deferred
    except BaseException as error:
        tell("yield", error)

@inlineCallbacks
def run():
    port = reactor.listenTCP(0, pb.PBServerFactory(Root()), interface="127.0.0.1")
    factory = pb.PBClientFactory()
    reactor.connectTCP("127.0.0.1", port.getHost().port, factory)
    root = yield factory.getRootObject()
    yield generator(root.callRemote("fails"))
    yield ensureDeferred(coroutine("await", root.callRemote("fails")))
    {more}
    factory.disconnect()
    yield port.stopListening()
    reactor.stop()

reactor.callWhenRunning(run)
reactor.run()
"""


def test_what_a_perspective_broker_raised(kind, program):
    """It comes from another process: there is a text, and Twisted makes the exception when it is to be raised."""
    assert program(kind, PERSPECTIVE_BROKER.format(more="")) == [
        "yield True b'twisted.spread.pb.Error' why",
        "await True b'twisted.spread.pb.Error' why",
    ]


def test_what_a_perspective_broker_raised_in_a_task(program):
    """The same. So does an await of a Deferred that has failed already, which in Twisted is an AttributeError."""
    more = """
    import asyncio
    from interloop.bridge import as_future

    yield asyncio.create_task(coroutine("task", root.callRemote("fails")))
    yield asyncio.create_task(coroutine("future", as_future(root.callRemote("fails"))))
    failed = root.callRemote("fails")
    while not failed.called:
        yield asyncio.sleep(0)
    yield ensureDeferred(coroutine("failed", failed))
    """
    assert program(OURS, PERSPECTIVE_BROKER.format(more=more)) == [
        f"{how} True b'twisted.spread.pb.Error' why"
        for how in ("yield", "await", "task", "future", "failed")
    ]
