"""Point 7: what Handle and TimerHandle are, hold, compare as and say of themselves."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import sys
import weakref

import pytest

MAKERS = {
    "call_soon": lambda loop, *args, **kw: loop.call_soon(*args, **kw),
    "call_soon_threadsafe": lambda loop, *args, **kw: loop.call_soon_threadsafe(*args, **kw),
    "call_later": lambda loop, *args, **kw: loop.call_later(1000, *args, **kw),
    "call_at": lambda loop, *args, **kw: loop.call_at(loop.time() + 1000, *args, **kw),
}
TIMERS = {"call_later", "call_at"}

every_maker = pytest.mark.parametrize("maker", MAKERS)


def noop(*args):
    """A callback with a name to look for."""


@every_maker
def test_type(new_loop, maker):
    """A handle is an asyncio.Handle; a timer's is an asyncio.TimerHandle too, the others' is not."""
    handle = MAKERS[maker](new_loop(), noop)
    assert isinstance(handle, asyncio.Handle)
    assert isinstance(handle, asyncio.TimerHandle) == (maker in TIMERS)
    assert issubclass(handle.__class__, asyncio.Handle)


@every_maker
def test_what_it_holds(new_loop, maker):
    """_callback, _args, _cancelled, _source_traceback, _loop and _context are read by libraries and tests."""
    loop = new_loop()
    context = contextvars.copy_context()
    handle = MAKERS[maker](loop, noop, 1, "two", context=context)
    assert handle._callback is noop
    assert tuple(handle._args) == (1, "two")
    assert handle._cancelled is False and handle.cancelled() is False
    assert handle._source_traceback is None
    assert handle._loop is loop
    assert handle._context is context
    if maker in TIMERS:
        assert handle._when == handle.when() and handle._scheduled is True


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Handle.get_context() came with 3.12")
@every_maker
def test_get_context(new_loop, maker):
    """get_context() is the context given, or the copy made."""
    loop = new_loop()
    context = contextvars.copy_context()
    assert MAKERS[maker](loop, noop, context=context).get_context() is context
    copied = MAKERS[maker](loop, noop).get_context()
    assert isinstance(copied, contextvars.Context) and copied is not context


@every_maker
def test_cancel_drops_callback_and_arguments(new_loop, maker):
    """Cancelled, a handle holds neither callback nor arguments, though itself kept and still queued."""

    class Held:
        pass

    argument, target = Held(), Held()
    alive = weakref.ref(argument), weakref.ref(target)
    handle = MAKERS[maker](new_loop(), functools.partial(noop, target), argument)
    del argument, target
    handle.cancel()
    gc.collect()
    assert [ref() for ref in alive] == [None, None]
    assert handle._callback is None and handle._args is None
    assert handle.cancelled() and handle._cancelled is True


@every_maker
def test_weak_reference(new_loop, maker):
    """Handles can be weakly referenced, and a handle run or cancelled goes away."""
    loop = new_loop()
    handle = MAKERS[maker](loop, noop)
    ref = weakref.ref(handle)
    assert ref() is handle
    handle.cancel()
    del handle
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    gc.collect()
    assert ref() is None


def test_the_loop_does_not_keep_what_has_run(new_loop):
    """A callback that ran, and its arguments, are let go of while the loop goes on."""
    loop = new_loop()

    class Held:
        pass

    async def main():
        held = [Held(), Held(), Held()]
        refs = [weakref.ref(item) for item in held]
        loop.call_soon(noop, held[0])
        loop.call_soon_threadsafe(noop, held[1])
        loop.call_later(0, noop, held[2])
        held.clear()
        await asyncio.sleep(0.001)
        gc.collect()
        return [ref() for ref in refs]

    assert loop.run_until_complete(main()) == [None, None, None]


@every_maker
def test_repr(new_loop, maker):
    """repr has the class, the callback's qualified name and its arguments; cancelled, it says so."""
    handle = MAKERS[maker](new_loop(), noop, 1, "x")
    text = repr(handle)
    name = "TimerHandle" if maker in TIMERS else "Handle"
    assert text.startswith(f"<{name} ") and text.endswith(">")
    assert "noop(1, 'x')" in text or "noop()" in text
    assert "test_aio_handles.py:" in text
    assert "cancelled" not in text
    if maker in TIMERS:
        assert f"when={handle.when()}" in text
    handle.cancel()
    text = repr(handle)
    assert text.startswith(f"<{name} cancelled")
    assert "noop" not in text
    if maker in TIMERS:
        assert f"when={handle.when()}" in text


@every_maker
def test_repr_in_debug_mode(new_loop, maker):
    """In debug mode it tells where it was created, and keeps the callback's name though cancelled."""
    loop = new_loop()
    loop.set_debug(True)
    handle = MAKERS[maker](loop, noop, 1)
    assert "created at " in repr(handle) and "test_aio_handles.py" in repr(handle)
    assert handle._source_traceback
    handle.cancel()
    assert "noop" in repr(handle)


def test_repr_names_methods_partials_and_lambdas(new_loop):
    """The name is that of the function inside partials and bound methods."""

    class Class:
        def method(self):
            pass

    loop = new_loop()
    assert "Class.method" in repr(loop.call_soon(Class().method))
    assert "noop" in repr(loop.call_soon(functools.partial(noop, 1)))
    assert "<lambda>" in repr(loop.call_soon(lambda: None))


@every_maker
def test_run(new_loop, maker, asyncio_log):
    """_run() calls the callback in the handle's context and reports what it raises; tests drive handles so."""
    loop = new_loop()
    var = contextvars.ContextVar("var")
    context = contextvars.copy_context()
    handle = MAKERS[maker](loop, var.set, "value", context=context)
    handle._run()
    assert context[var] == "value"
    MAKERS[maker](loop, lambda: 1 / 0)._run()
    asyncio_log.take("Exception in callback")
    with pytest.raises(SystemExit):
        MAKERS[maker](loop, sys.exit)._run()
    loop.close()


def test_timer_order(new_loop):
    """Timers compare by due time, as heaps of them need; equal are those of equal time, callback and state."""
    loop = new_loop()
    early, late = loop.call_at(10, noop), loop.call_at(20, noop)
    same = loop.call_at(10, noop)
    assert early < late and late > early and early <= late and late >= early
    assert not late < early and not early > late
    assert early == same and early <= same and early >= same and hash(early) == hash(same)
    assert early != late
    assert early != loop.call_at(10, print)
    same.cancel()
    assert early != same
    assert early != 10 and (early == "x") is False
    with pytest.raises(TypeError):
        early < 10  # noqa: B015
    with pytest.raises(TypeError):
        early >= loop.call_soon(noop)  # noqa: B015


def test_timer_order_against_asyncios_own(new_loop):
    """The same against a TimerHandle made by asyncio's class, as time machines of tests mix them."""
    loop = new_loop()
    loops = loop.call_at(10, noop)
    asyncios = asyncio.TimerHandle(20, noop, (), loop)
    assert loops < asyncios and asyncios > loops and loops != asyncios
    assert loops == asyncio.TimerHandle(10, noop, (), loop)


def test_scheduled_is_a_list_of_timers(new_loop):
    """Point 15: Home Assistant walks loop._scheduled for TimerHandles, reads when() and cancels or runs them."""
    loop = new_loop()
    assert list(loop._scheduled) == []
    timers = [loop.call_later(delay, noop, delay) for delay in (300, 100, 200)]
    scheduled = list(loop._scheduled)
    assert len(scheduled) == 3
    assert all(isinstance(handle, asyncio.TimerHandle) for handle in scheduled)
    assert sorted(handle.when() for handle in scheduled) == sorted(t.when() for t in timers)
    assert {id(handle) for handle in scheduled} == {id(timer) for timer in timers}
    assert scheduled[0] is timers[1]
    assert all(handle._scheduled for handle in scheduled)


def test_scheduled_is_false_once_it_has_run(new_loop):
    """`_scheduled` of a timer tells whether it is in the heap."""
    loop = new_loop()
    timer = loop.call_later(0, loop.stop)
    assert timer._scheduled is True
    loop.run_forever()
    assert timer._scheduled is False


def test_ready_tells_what_waits(new_loop):
    """Point 15: `_ready` has a length, and is empty when there is nothing to run."""
    loop = new_loop()
    assert len(loop._ready) == 0 and not loop._ready
    loop.call_soon(noop)
    loop.call_soon(noop)
    assert len(loop._ready) == 2 and loop._ready
    loop.run_until_complete(asyncio.sleep(0))
    assert len(loop._ready) == 0


def test_run_once(new_loop):
    """Point 15: nest_asyncio drives `_run_once`: one turn, also from within a callback of an outer one."""
    loop = new_loop()
    seen = []

    async def main():
        loop.call_soon(seen.append, "inner")
        loop.call_later(-1, seen.append, "timer")
        loop._run_once()
        assert seen == ["inner", "timer"]
        loop.call_soon(loop.call_soon, seen.append, "next")
        loop._run_once()
        assert seen == ["inner", "timer"]
        await asyncio.sleep(0)
        return seen

    assert loop.run_until_complete(main()) == ["inner", "timer", "next"]


def test_handle_made_by_hand(new_loop):
    """asyncio.Handle itself, made by a library for this loop, runs and reports as ever."""
    loop = new_loop()
    seen = []
    handle = asyncio.Handle(seen.append, (1,), loop)
    handle._run()
    assert seen == [1]
    timer = asyncio.TimerHandle(5.0, noop, (), loop)
    timer.cancel()  # tells the loop, by _timer_handle_cancelled
    assert timer.cancelled()
