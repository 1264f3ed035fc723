"""What awaits Deferreds in tasks serves again: nobody may notice. And what `Deferred.callback` leaves behind."""

from __future__ import annotations

import pytest

OURS = "interloop"


def test_nothing_is_kept(program):
    """What was awaited is gone as soon as the program has let go of it, without a collection."""
    assert (
        program(
            OURS,
            """
        import asyncio
        import gc
        import weakref
        import interloop
        from twisted.internet.defer import Deferred

        class Value:
            pass

        async def wait(box):
            # An exception has the frame, and the Deferred the exception.
            return await box.pop()

        async def one(fire):
            deferred, value = Deferred(), Value()
            kept = [weakref.ref(deferred), weakref.ref(value)]
            task = asyncio.create_task(wait([deferred]))
            kept.append(weakref.ref(task))
            await asyncio.sleep(0)
            fire(deferred, task, value)
            await asyncio.wait([task])
            assert task.cancelled() or task.exception() or task.result() is value or task.result()[0] is value
            return kept

        FIRES = {
            "value": lambda deferred, task, value: deferred.callback(value),
            "two callbacks": lambda deferred, task, value: deferred.addCallback(list).callback([value]),
            "failure": lambda deferred, task, value: deferred.errback(ZeroDivisionError()),
            "cancelled": lambda deferred, task, value: task.cancel(),
            "fired and cancelled": lambda deferred, task, value: (deferred.callback(value), task.cancel()),
        }

        async def main():
            gc.disable()
            for _ in range(3):
                for how, fire in FIRES.items():
                    kept = await one(fire)
                    await asyncio.sleep(0)
                    alive = [type(ref()).__name__ for ref in kept if ref() is not None]
                    if alive:
                        print(how, alive)
            before = sum(type(it).__name__ == "DeferredAwaiter" for it in gc.get_objects())
            for _ in range(200):
                for fire in FIRES.values():
                    await one(fire)
            after = sum(type(it).__name__ == "DeferredAwaiter" for it in gc.get_objects())
            print(after - before < 5)
            # In one task, and in many at once: no more than it keeps.
            for _ in range(3):
                deferreds = [Deferred() for _ in range(500)]
                tasks = [asyncio.create_task(wait([deferred])) for deferred in deferreds]
                await asyncio.sleep(0)
                for index, deferred in enumerate(deferreds):
                    deferred.callback(index)
                print(await asyncio.gather(*tasks) == list(range(500)))
            del deferreds, tasks, deferred
            await asyncio.sleep(0)
            left = sum(type(it).__name__ == "DeferredAwaiter" for it in gc.get_objects())
            print(left <= 64)
        interloop.run(main())
        """,
        )
        == ["True"] * 5
    )


def test_an_iterator_that_somebody_has_is_not_used_again(program):
    assert program(
        OURS,
        """
        import asyncio
        import interloop
        from twisted.internet.defer import Deferred

        class Kept:
            def __init__(self, deferred, to):
                self.deferred, self.to = deferred, to

            def __await__(self):
                iterator = self.deferred.__await__()
                self.to.append(iterator)
                return (yield from iterator)

        async def rounds(count, to):
            loop = asyncio.get_running_loop()
            for index in range(count):
                deferred = Deferred()
                loop.call_soon(deferred.callback, index)
                assert await Kept(deferred, to) == index

        async def main():
            to = []
            await rounds(100, to)
            print(len({id(it) for it in to}))
            for iterator in to:
                try:
                    next(iterator)
                except RuntimeError as error:
                    assert str(error) == "cannot reuse already awaited Deferred.__await__()"
            print(to[0], to[0].done(), to[0]._asyncio_future_blocking)
            # Others do serve again, one after the other.
            few = []
            for _ in range(100):
                last = []
                await rounds(1, last)
                few.append(id(last.pop()))
            print(len(set(few)) < 10)
            # Somebody has but its method, or what stood among the callbacks for it.
            adders, entries = [], []
            for index in range(20):
                deferred = Deferred()
                iterator = deferred.__await__()
                adders.append(iterator.add_done_callback)
                task = asyncio.create_task(asyncio.wait_for(Kept(deferred, []), None))
                await asyncio.sleep(0)
                entries.extend(deferred._callbacks)
                deferred.callback(index)
                del iterator
                assert await task == index
            print(len({id(adder.__self__) for adder in adders}), len({id(both[0][0]) for both in entries}))

        interloop.run(main())
        """,
    ) == ["100", "<awaited> True False", "True", "20 20"]


@pytest.mark.parametrize("how", ["task", "coroutine"])
@pytest.mark.parametrize("fails", [False, True])
def test_fired_before_the_driver_waits(program, how, fails):
    """Between the yield of what is awaited and the driver's answer stands whatever is around the `await`."""
    assert (
        program(
            OURS,
            f"""
        import asyncio
        import interloop
        from twisted.internet.defer import Deferred, ensureDeferred

        class Around:
            def __init__(self, deferred):
                self.iterator, self.deferred = deferred.__await__(), deferred

            def __await__(self):
                return self

            def __iter__(self):
                return self

            def __next__(self):
                yielded = next(self.iterator)
                if {fails}:
                    self.deferred.errback(ZeroDivisionError())
                else:
                    self.deferred.callback("value")
                return yielded

        async def wait(deferred):
            try:
                return await Around(deferred)
            except ZeroDivisionError as error:
                return error

        async def main():
            for _ in range(3):
                deferred = Deferred()
                if {how == "task"}:
                    print(repr(await asyncio.create_task(wait(deferred))))
                else:
                    print(repr(await ensureDeferred(wait(deferred))))

        interloop.run(main())
        """,
        )
        == ["ZeroDivisionError()" if fails else "'value'"] * 3
    )


def test_a_task_that_lets_the_yield_pass(program):
    """Who neither waits nor closes: the Deferred's result goes to those who come after."""
    assert program(
        OURS,
        """
        from twisted.internet.defer import Deferred

        deferred = Deferred()
        iterator = deferred.__await__()
        print(next(iterator) is iterator, next(iterator) is iterator)
        deferred.addCallback(lambda result: print("after", result))
        deferred.callback(1)
        print(iterator.done(), iterator.result())
        del iterator
        failing = Deferred()
        next(failing.__await__())
        failing.errback(ZeroDivisionError("seen"))
        failing.addErrback(lambda failure: print(failure.value))
        """,
    ) == ["True True", "after 1", "True 1", "seen"]


def test_the_awaiters_own_methods(program):
    assert program(
        OURS,
        """
        import asyncio
        import contextvars
        import interloop
        from twisted.internet.defer import Deferred

        def tell(call):
            try:
                print(call())
            except Exception as error:
                print(type(error).__name__, error)

        async def main():
            loop = asyncio.get_running_loop()
            deferred = Deferred()
            iterator = deferred.__await__()
            print(iterator._asyncio_future_blocking, asyncio.isfuture(iterator))
            iterator._asyncio_future_blocking = False
            print(iterator._asyncio_future_blocking, asyncio.isfuture(iterator))
            for value in 1, "true":
                try:
                    iterator._asyncio_future_blocking = value
                except TypeError:
                    print("TypeError")
            for name in "_asyncio_future_blocking", "done", "other":
                try:
                    delattr(iterator, name)
                except (AttributeError, TypeError):
                    print("cannot be deleted")
            try:
                iterator.other = 1
            except AttributeError:
                print("AttributeError")
            print(hasattr(iterator, "other"), hasattr(iterator, "".join(["get", "_loop"])))
            print(iterator.get_loop() is loop, type(iterator).get_loop(iterator) is loop)
            for call in (
                lambda: iterator.add_done_callback(),
                lambda: iterator.add_done_callback(print, None),
                lambda: iterator.add_done_callback(print, contex=None),
                lambda: iterator.add_done_callback(print, context=None, other=1),
                lambda: iterator.add_done_callback(fn=seen.append, context=None),
                lambda: type(iterator).add_done_callback(iterator, seen.append),
                lambda: iterator.add_done_callback(seen.append, **{"".join(["con", "text"]): contextvars.copy_context()}),
            ):
                seen = []
                tell(call)
            print(iterator.remove_done_callback(seen.append), iterator.remove_done_callback(seen.append))
            iterator.add_done_callback(seen.append)
            deferred.callback(5)
            await asyncio.sleep(0)
            print([it.result() for it in seen], seen == [iterator])

        interloop.run(main())
        print(Deferred().__await__().get_loop())
        """,
    ) == [
        "None False",
        "False True",
        "TypeError",
        "TypeError",
        *["cannot be deleted"] * 3,
        "AttributeError",
        "False True",
        "True True",
        "TypeError DeferredAwaiter.add_done_callback() missing 1 required positional argument: 'fn'",
        "TypeError DeferredAwaiter.add_done_callback() takes 1 positional arguments but 2 were given",
        "TypeError DeferredAwaiter.add_done_callback() got an unexpected keyword argument 'contex'",
        "TypeError DeferredAwaiter.add_done_callback() got an unexpected keyword argument 'other'",
        *["None"] * 3,
        "1 0",
        "[5] True",
        "None",
    ]


def test_callback_is_a_function_as_before(kind, program):
    assert program(
        kind,
        """
        import inspect
        from unittest import mock
        from twisted.internet.defer import Deferred

        print(Deferred.callback.__module__, Deferred.callback.__qualname__, inspect.isfunction(Deferred.callback))
        print(inspect.ismethod(Deferred().callback), bool(inspect.getdoc(Deferred.callback)))
        mock.create_autospec(Deferred)().callback(result=1)
        """,
    ) == ["twisted.internet.defer Deferred.callback True", "True True"]


@pytest.mark.parametrize("waits", ["nobody", "coroutine", "callback"])
def test_interrupted_anywhere(kind, program, waits):
    """Ctrl-C can come after any call: a Deferred that counts as called has its result."""
    assert program(
        kind,
        f"""
        import sys
        from twisted.internet.defer import Deferred, ensureDeferred

        class Interrupt(BaseException):
            pass

        async def wait(deferred):
            return await deferred

        def interrupted(at):
            deferred = outer = Deferred(lambda _: None)
            if {waits!r} == "coroutine":
                outer = ensureDeferred(wait(deferred))
            elif {waits!r} == "callback":
                deferred.addCallback(lambda result: result)
            left = at

            def profile(frame, event, argument):
                nonlocal left
                if argument is sys.setprofile:
                    return
                left -= 1
                if left == 0:
                    raise Interrupt

            sys.setprofile(profile)
            try:
                deferred.callback("result")
            except Interrupt:
                pass
            finally:
                sys.setprofile(None)
            if deferred.called:
                deferred.result
                assert deferred._canceller is None
                # In a callback it is a failure like any other.
                deferred.addErrback(lambda _: None)
                outer.addErrback(lambda _: None)
            return left <= 0

        at = 1
        while interrupted(at):
            at += 1
        print(at > 2)
        """,
    ) == ["True"]


def test_debug_mode_names_who_fired_it(kind, program):
    """Twisted leaves out two frames of its own."""
    assert program(
        kind,
        """
        from twisted.internet import defer

        defer.setDebugging(True)

        def fires(deferred):
            deferred.callback(None)

        deferred = defer.Deferred()
        fires(deferred)
        try:
            fires(deferred)
        except defer.AlreadyCalledError as error:
            lines = str(error).splitlines()
            invoked = [line.strip() for line in lines if line.strip().startswith("I:")]
            print([line for line in invoked if "File" in line][-1].rpartition(", in ")[2])
        """,
    ) == ["fires"]


def test_callback_leaves_the_same_attributes(kind, program):
    """Whoever compares two Deferreds, or prints one's attributes, sees no difference. Twisted's own tests do."""
    assert program(
        kind,
        """
        from twisted.internet.defer import Deferred, succeed

        fired = Deferred()
        fired.callback(1)
        print(vars(fired) == vars(succeed(1)), sorted(vars(fired)))
        """,
    ) == ["True ['_callbacks', '_canceller', '_chainedTo', 'called', 'result']"]
