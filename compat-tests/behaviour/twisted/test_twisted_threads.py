"""callFromThread and the thread pool."""

from __future__ import annotations

import contextvars
import threading

import pytest
from tw_support import run, turns
from twisted.internet.threads import blockingCallFromThread, deferToThreadPool
from twisted.logger import formatEvent
from twisted.python import threadable


def in_thread(f) -> None:
    """Runs f in a thread to its end."""
    thread = threading.Thread(target=f)
    thread.start()
    thread.join()


def test_calls_are_made_in_order(reactor):
    made = []
    in_thread(lambda: [reactor.callFromThread(made.append, number) for number in range(100)])
    reactor.callFromThread(made.append, 100)
    reactor.callFromThread(reactor.stop)
    run(reactor)
    assert made == list(range(101))


def test_a_call_wakes_a_reactor_that_sleeps(reactor):
    asleep = threading.Event()
    made_in = []

    def wake():
        asleep.wait()
        # The reactor may still be on its way to sleep, which is the case that a lost wake-up would show.
        reactor.callFromThread(lambda: (made_in.append(threading.current_thread()), reactor.stop()))

    thread = threading.Thread(target=wake)
    thread.start()
    reactor.callWhenRunning(asleep.set)
    run(reactor)
    thread.join()
    assert made_in == [threading.main_thread()]


def test_no_call_of_many_threads_is_lost_and_each_keeps_its_order(reactor):
    count, threads = 2000, 4
    made = []

    def call(thread, number):
        made.append((thread, number))
        if len(made) == count * threads:
            reactor.stop()

    def calls(thread):
        for number in range(count):
            reactor.callFromThread(call, thread, number)

    workers = [threading.Thread(target=calls, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        reactor.callWhenRunning(worker.start)
    run(reactor)
    for worker in workers:
        worker.join()
    for thread in range(threads):
        assert [number for by, number in made if by == thread] == list(range(count))


def test_what_a_call_asks_for_waits_for_what_is_due(reactor):
    made = []

    def first():
        reactor.callFromThread(lambda: (made.append("thread call"), reactor.stop()))
        reactor.callLater(0, made.append, "timer")

    reactor.callFromThread(first)
    run(reactor)
    assert made == ["timer", "thread call"]


def test_a_call_that_keeps_asking_for_more_stops_nobody_else(reactor):
    def again():
        if reactor.running:
            reactor.callFromThread(again)

    reactor.callWhenRunning(again)
    reactor.callWhenRunning(reactor.callLater, 0.01, reactor.stop)
    run(reactor)


def test_calls_from_before_the_start_are_made_after_it(reactor):
    made = []
    reactor.callFromThread(made.append, "thread call")
    reactor.callFromThread(reactor.stop)
    reactor.callWhenRunning(made.append, "startup")
    run(reactor)
    assert made == ["startup", "thread call"]


def test_iterate_makes_them(reactor):
    made = []
    in_thread(lambda: reactor.callFromThread(made.append, 1))
    turns(reactor)
    assert made == [1]


def test_a_call_that_raises_is_logged_and_stops_nothing(reactor, twisted_log):
    made = []
    reactor.callFromThread(lambda: 1 / 0)
    reactor.callFromThread(made.append, 1)
    turns(reactor)
    assert made == [1]
    assert formatEvent(twisted_log.take(ZeroDivisionError)) == "while calling from thread"


def test_it_takes_callables_only(reactor):
    with pytest.raises(AssertionError, match="is not callable"):
        reactor.callFromThread(1)


def test_stop_can_be_called_from_a_thread(reactor):
    thread = threading.Thread(target=lambda: reactor.callFromThread(reactor.stop))
    reactor.callWhenRunning(thread.start)
    run(reactor)
    thread.join()


def test_wake_up_ends_a_sleep(reactor):
    # What was done to the reactor behind its back is seen then.
    noticed = threading.Event()
    thread = threading.Thread(target=lambda: (noticed.wait(), reactor.wakeUp()))
    reactor.callWhenRunning(thread.start)
    reactor.startRunning(installSignalHandlers=False)
    # Due in the turn that then sleeps: an earlier turn might use the wake-up itself.
    reactor.callLater(0, noticed.set)
    reactor.iterate(3600)
    thread.join()
    reactor.crash()


def test_the_thread_pool(reactor):
    made = []

    def work():
        made.append(threading.current_thread() is not threading.main_thread())
        made.append(blockingCallFromThread(reactor, lambda: threading.current_thread()))
        return "result"

    def start():
        return deferToThreadPool(reactor, reactor.getThreadPool(), work).addBoth(ended)

    def ended(result):
        made.extend([result, threading.current_thread()])
        reactor.stop()

    reactor.suggestThreadPoolSize(2)
    reactor.callWhenRunning(start)
    run(reactor)
    main = threading.main_thread()
    assert made == [True, main, "result", main]
    assert reactor.threadpool is None


def test_call_in_thread(reactor):
    seen = []

    def work(*args, **kw):
        seen.append((args, kw, threadable.isInIOThread()))
        reactor.callFromThread(reactor.stop)

    reactor.callInThread(work, 1, two=2)
    run(reactor)
    assert seen == [((1,), {"two": 2}, False)]


def test_a_call_is_made_in_the_callers_context(ours):
    variable = contextvars.ContextVar("variable", default="none")
    seen = []

    def call(value):
        variable.set(value)
        ours.callFromThread(lambda: seen.append(variable.get()))

    in_thread(lambda: call("thread"))
    contextvars.copy_context().run(call, "loop")
    turns(ours)
    assert seen == ["thread", "loop"]
    assert variable.get() == "none"


def test_a_reactor_run_by_another_thread_than_its_makers(kind, program):
    # As Scrapy's shell does, whose main thread is the user's.
    assert program(
        kind,
        """
        import threading
        from twisted.internet import reactor, threads

        runner = threading.Thread(target=reactor.run, args=(False,))
        runner.start()
        print(threads.blockingCallFromThread(reactor, threading.current_thread) is runner)
        reactor.callFromThread(reactor.stop)
        runner.join()
        print(reactor.running)
        """,
    ) == ["True", "False"]
