"""run, stop, crash, iterate and the system events of a reactor that runs its loop itself."""

from __future__ import annotations

import asyncio
import gc
import os
import threading

import pytest
from tw_support import Recorder, run, turns
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ReactorAlreadyRunning,
    ReactorNotRestartable,
    ReactorNotRunning,
)
from twisted.internet.interfaces import (
    IReactorCore,
    IReactorDaemonize,
    IReactorFDSet,
    IReactorProcess,
    IReactorTCP,
    IReactorThreads,
    IReactorTime,
    IReactorUDP,
    IReactorUNIX,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.selectreactor import SelectReactor

from interloop.twisted import Reactor


def triggers(reactor, event: str) -> list:
    """What happens at the phases of an event, as a list that fills: (phase, whether the reactor is running)."""
    seen = []
    for phase in ("before", "during", "after"):
        reactor.addSystemEventTrigger(
            phase, event, lambda phase=phase: seen.append((phase, reactor.running))
        )
    return seen


def test_what_a_reactor_provides(reactor):
    for interface in (
        IReactorCore,
        IReactorFDSet,
        IReactorProcess,
        IReactorTCP,
        IReactorThreads,
        IReactorTime,
        IReactorUDP,
        IReactorUNIX,
    ):
        assert interface.providedBy(reactor)


def test_what_ours_is_besides(ours):
    from twisted.internet.asyncioreactor import AsyncioSelectorReactor

    import interloop

    assert isinstance(ours, AsyncioSelectorReactor)
    assert isinstance(ours._asyncioEventloop, interloop.Loop)
    assert IReactorDaemonize.providedBy(ours)
    # For those who go by the class's name, or look for install() in the reactor's module.
    assert type(ours).__name__ == "AsyncioSelectorReactor"
    assert ours.__module__ == "interloop.twisted"
    assert repr(ours).startswith("<interloop.twisted.Reactor object")


def test_what_reactor_builder_touches(reactor):
    for name in (
        "_internalReaders",
        "_uninstallHandler",
        "_initThreads",
        "disconnectAll",
        "getDelayedCalls",
        "_startedBefore",
        "_justStopped",
        "_exitSignal",
        "threadCallQueue",
    ):
        assert hasattr(reactor, name)
    reactor._uninstallHandler()


def test_a_reactor_can_lend_its_dict_and_class_to_another(ours, sockets):
    # As Twisted's ReactorBuilder has it: the code under test uses the one, the test the other.
    lent = Reactor()
    own = lent.__dict__
    lent.__dict__ = ours.__dict__
    try:
        one, other = (Recorder(ours, sock) for sock in sockets())
        call = lent.callLater(60, lambda: None)
        lent.addReader(one)
        ours.addReader(other)
        assert ours.getDelayedCalls() == lent.getDelayedCalls() == [call]
        assert set(ours.getReaders()) == set(lent.getReaders()) == {one, other}
        lent.callWhenRunning(lent.stop)
        run(ours)
        assert not lent.running
    finally:
        lent.__dict__ = own
    assert ours.getDelayedCalls() == [call]
    assert lent.getDelayedCalls() == []
    lent._life.leave()


def test_a_reactor_of_another_class_can_become_it_for_a_while(ours):
    # ReactorBuilder again: the installed reactor, whichever it is, with dict and class of the one under test.
    installed = SelectReactor()
    own = installed.__dict__, installed.__class__
    installed.__dict__, installed.__class__ = ours.__dict__, ours.__class__
    try:
        made = []
        installed.callLater(0, made.append, "timer")
        installed.callFromThread(made.append, "thread call")
        ours.callLater(0, ours.callLater, 0, installed.stop)
        run(ours)
        assert sorted(made) == ["thread call", "timer"]
        assert not installed.running
        installed.callLater(0, installed.stop)
        run(installed)
    finally:
        installed.__dict__, installed.__class__ = own
        for reader in tuple(installed._internalReaders):
            installed._removeInternalReader(reader)
            reader.connectionLost(None)


def test_who_names_the_reactor_by_its_class(program):
    # Scrapy's TWISTED_REACTOR: the name is looked up, install() beside it called, and the class compared.
    assert program(
        None,
        """
        from importlib import import_module
        import interloop
        from twisted.internet.asyncioreactor import AsyncioSelectorReactor

        module, name = "interloop.twisted.Reactor".rsplit(".", 1)
        cls = getattr(import_module(module), name)
        print(issubclass(cls, AsyncioSelectorReactor))
        import_module(module).install()
        from twisted.internet import reactor
        print(reactor.__class__ == cls, isinstance(reactor._asyncioEventloop, interloop.Loop))
        """,
    ) == ["True", "True True"]


def test_many_can_be_built(new_reactor):
    made = []
    for number in range(50):
        reactor = new_reactor()
        reactor.callLater(0, made.append, number)
        reactor.callLater(0, reactor.stop)
        run(reactor)
    assert made == list(range(50))


def test_a_reactor_that_is_dropped_closes_the_loop_it_made():
    loop = Reactor()._asyncioEventloop
    gc.collect()
    assert loop.is_closed()


def test_startup_triggers(reactor):
    seen = triggers(reactor, "startup")
    reactor.callWhenRunning(reactor.stop)
    run(reactor)
    assert seen == [("before", False), ("during", True), ("after", True)]


def test_shutdown_triggers_are_called_after_stop_has_returned(reactor):
    seen = triggers(reactor, "shutdown")

    def stop():
        reactor.stop()
        seen.append("stopped")

    reactor.callWhenRunning(stop)
    run(reactor)
    assert [event if event == "stopped" else event[0] for event in seen] == [
        "stopped",
        "before",
        "during",
        "after",
    ]
    assert not reactor.running


def test_shutdown_waits_for_a_deferred(reactor):
    waited = Deferred()
    seen = []
    reactor.addSystemEventTrigger(
        "before", "shutdown", lambda: (reactor.callLater(0, waited.callback, None), waited)[1]
    )
    waited.addCallback(lambda _: seen.append(("waited", reactor.running)))
    reactor.addSystemEventTrigger("during", "shutdown", seen.append, "during")
    reactor.callWhenRunning(reactor.stop)
    run(reactor)
    assert seen == [("waited", True), "during"]


def test_a_trigger_that_raises_stops_nothing(reactor, twisted_log):
    for event in ("startup", "shutdown"):
        reactor.addSystemEventTrigger("before", event, lambda: 1 / 0)
    reactor.callWhenRunning(reactor.stop)
    run(reactor)
    twisted_log.take(ZeroDivisionError)
    twisted_log.take(ZeroDivisionError)


def test_call_when_running(reactor):
    seen = []

    def running():
        seen.append(reactor.running)
        # Now, since it is.
        assert reactor.callWhenRunning(seen.append, "at once") is None
        reactor.stop()

    assert reactor.callWhenRunning(running) is not None
    assert seen == []
    run(reactor)
    assert seen == [True, "at once"]


def test_stop_needs_a_running_reactor(reactor):
    with pytest.raises(ReactorNotRunning):
        reactor.stop()
    refused = []

    def stop():
        reactor.stop()
        with pytest.raises(ReactorNotRunning):
            reactor.stop()
        refused.append(True)

    reactor.callWhenRunning(stop)
    run(reactor)
    assert refused == [True]


def test_run_within_run_is_refused_and_does_no_harm(reactor):
    seen = []

    def again():
        with pytest.raises(ReactorAlreadyRunning):
            run(reactor)
        seen.append(reactor.running)
        reactor.callLater(0, reactor.stop)

    reactor.callWhenRunning(again)
    run(reactor)
    assert seen == [True]


def test_run_after_stop_is_refused_while_the_stopped_run_lasts(reactor):
    seen = []

    def again():
        with pytest.raises(ReactorNotRestartable):
            run(reactor)
        seen.append("refused")

    reactor.addSystemEventTrigger("after", "shutdown", again)
    reactor.callWhenRunning(reactor.stop)
    run(reactor)
    assert seen == ["refused"]


def test_crash_calls_no_shutdown_triggers_and_run_works_again(reactor):
    seen = triggers(reactor, "shutdown")
    for _ in range(3):
        reactor.callWhenRunning(reactor.crash)
        run(reactor)
        assert not reactor.running
    assert seen == []


def test_crash_before_run_is_no_obstacle(reactor):
    reactor.crash()
    reactor.callLater(0, reactor.stop)
    run(reactor)


def test_it_can_be_driven_by_iterate(reactor):
    seen = triggers(reactor, "shutdown")
    made = []
    reactor.startRunning(installSignalHandlers=False)
    assert reactor.running
    reactor.callLater(0, made.append, 1)
    reactor.callLater(0, reactor.stop)
    while reactor.running:
        reactor.iterate(0)
    assert made == [1]
    assert [phase for phase, _ in seen] == ["before", "during", "after"]


def test_iterate_within_a_callback(reactor):
    made = []

    def outer():
        made.append("outer")
        reactor.callLater(0, made.append, "inner")
        while "inner" not in made:
            reactor.iterate(0)
        made.append("outer again")

    reactor.callLater(0, outer)
    reactor.callLater(0.01, reactor.stop)
    run(reactor)
    assert made == ["outer", "inner", "outer again"]


def test_main_loop_for_those_who_started_it_themselves(reactor):
    reactor.startRunning(installSignalHandlers=False)
    reactor.callLater(0, reactor.stop)
    reactor.mainLoop()
    assert not reactor.running


def test_a_tcp_connection(reactor):
    received = []

    class Echo(Protocol):
        def dataReceived(self, data):
            self.transport.write(data)

    class Client(Protocol):
        def connectionMade(self):
            self.transport.write(b"x" * 100_000)

        def dataReceived(self, data):
            received.append(data)
            if sum(map(len, received)) == 100_000:
                self.transport.loseConnection()

        def connectionLost(self, reason):
            received.append(reason.type.__name__)
            reactor.stop()

    from twisted.internet.endpoints import TCP4ClientEndpoint

    port = reactor.listenTCP(0, Factory.forProtocol(Echo), interface="127.0.0.1")
    client = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
    client.connect(Factory.forProtocol(Client))
    run(reactor)
    assert received.pop() == "ConnectionDone"
    assert b"".join(received) == b"x" * 100_000


# What asyncioreactor, or no other reactor, can do.


def test_it_can_be_run_again_after_stop(ours):
    for _ in range(3):
        started, stopped = triggers(ours, "startup"), triggers(ours, "shutdown")
        ours.callLater(0, ours.stop)
        run(ours)
        phases = ["before", "during", "after"]
        assert [phase for phase, _ in started] == [phase for phase, _ in stopped] == phases
        assert not ours.running


def test_what_it_held_is_let_go_at_every_stop(ours, sockets):
    for _ in range(2):
        selectable = Recorder(ours, sockets()[0])
        ours.callWhenRunning(ours.addReader, selectable)
        ours.callWhenRunning(ours.stop)
        run(ours)
        assert selectable.disconnected
        assert selectable not in ours.getReaders()


def test_startup_triggers_are_called_in_the_loop(ours):
    seen = []
    ours.addSystemEventTrigger("before", "startup", lambda: seen.append(asyncio.get_running_loop()))
    ours.callWhenRunning(ours.stop)
    ours._asyncioEventloop.call_soon(seen.append, "first turn")
    run(ours)
    assert seen == [ours._asyncioEventloop, "first turn"]


def test_asyncio_and_the_reactor_take_turns(ours):
    async def main():
        made = Deferred()
        ours.callLater(0, made.callback, 1)
        result = await made.asFuture(asyncio.get_running_loop())
        await asyncio.sleep(0)
        ours.stop()
        return result

    task = ours._asyncioEventloop.create_task(main())
    run(ours)
    assert task.result() == 1


def test_asyncios_stop_ends_run_and_leaves_it_restartable(ours):
    seen = triggers(ours, "shutdown")
    ours.callLater(0, ours._asyncioEventloop.stop)
    run(ours)
    assert not ours.running
    assert seen == []
    ours.callLater(0, ours.stop)
    run(ours)
    assert len(seen) == 3


def test_what_leaves_the_loop_leaves_run_and_it_can_be_run_again(ours):
    def interrupt():
        raise KeyboardInterrupt

    ours._asyncioEventloop.call_soon(interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(ours)
    assert not ours.running
    ours.callLater(0, ours.stop)
    run(ours)


def test_run_in_a_running_loop_is_refused_and_does_no_harm(ours):
    async def main():
        with pytest.raises(ReactorAlreadyRunning):
            run(ours)
        loop = asyncio.get_running_loop()
        made = Deferred()
        ours.callLater(0, made.callback, "healthy")
        return await made.asFuture(loop) if loop is ours._asyncioEventloop else None

    assert asyncio.run(main()) is None
    assert ours._asyncioEventloop.run_until_complete(main()) == "healthy"


def test_callbacks_of_iterate_find_the_running_loop(ours):
    seen = []
    ours.callLater(0, lambda: seen.append(asyncio.get_running_loop()))
    turns(ours)
    assert seen == [ours._asyncioEventloop]
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()
    assert not ours._asyncioEventloop.is_running()


def test_it_takes_interloops_loop_only():
    loop = asyncio.SelectorEventLoop()
    try:
        with pytest.raises(
            TypeError, match=r"runs on interloop\.Loop, not on <_UnixSelectorEventLoop"
        ):
            Reactor(loop)
    finally:
        loop.close()


def test_it_runs_in_other_threads():
    made = []

    def work():
        reactor = Reactor()
        reactor.callLater(0, made.append, threading.current_thread())
        reactor.callLater(0, reactor.stop)
        run(reactor)
        reactor._life.leave()

    from twisted.python import threadable

    before = threadable.ioThread
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    threadable.ioThread = before
    assert made == [thread]


def test_it_survives_a_fork(ours, sockets):
    one, peer = sockets()
    selectable = Recorder(ours, one)
    ours.addReader(selectable)
    made = []
    ours.callLater(0, made.append, "timer")
    ours.beforeDaemonize()
    child = os.fork()
    if child == 0:
        # Nothing of pytest's may run in here.
        code = 1
        try:
            ours.afterDaemonize()
            peer.send(b"a")
            selectable.on_read = ours.stop
            run(ours)
            code = 0 if made == ["timer"] and selectable.events[0] == "read" else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    # The parent's registration is its own: the byte that the child sent is there for both.
    selectable.on_read = lambda: one.recv(1) and None
    turns(ours)
    assert selectable.events == ["read"]
    assert made == ["timer"]
