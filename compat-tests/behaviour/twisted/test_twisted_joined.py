"""The installed reactor in loops that somebody else runs: it is running there, without a call to run()."""

from __future__ import annotations

import textwrap

import pytest

HEAD = """
import asyncio, interloop, threading
from twisted.internet import reactor
from twisted.internet.defer import Deferred

def tell(*what):
    print(*what, "running" if reactor.running else "not running", flush=True)

def trigger(phase, event):
    reactor.addSystemEventTrigger(phase, event, tell, phase, event)

async def wait(deferred):
    return await deferred.asFuture(asyncio.get_running_loop())

def later(delay=0.001):
    deferred = Deferred()
    reactor.callLater(delay, deferred.callback, "later")
    return deferred
"""


@pytest.fixture
def joined(program):
    """joined(source): what a program with our reactor printed; see HEAD for what it can use."""

    def joined(source: str) -> list[str]:
        return program("interloop", HEAD + textwrap.dedent(source))

    return joined


def test_it_runs_from_before_main_until_the_loop_ends(joined):
    assert joined(
        """
        for event in "startup", "shutdown":
            for phase in "before", "during", "after":
                trigger(phase, event)
        reactor.callWhenRunning(tell, "called when running")

        async def main():
            tell("main")
            reactor.callWhenRunning(tell, "at once")
            print(await wait(later()))
            try:
                return "result"
            finally:
                tell("main ends")

        print(interloop.run(main()))
        """
    ) == [
        "before startup not running",
        "during startup running",
        "after startup running",
        "called when running running",
        "main running",
        "at once running",
        "later",
        "main ends running",
        "before shutdown running",
        "during shutdown not running",
        "after shutdown not running",
        "result",
    ]


def test_it_runs_at_once_where_it_is_installed_in_a_running_loop(program):
    assert program(
        None,
        """
        import asyncio, interloop

        async def main():
            import interloop.twisted
            installed = interloop.twisted.install()
            assert installed._asyncioEventloop is asyncio.get_running_loop()
            from twisted.internet import reactor, task
            assert installed is reactor
            print(reactor.running)
            print(await task.deferLater(reactor, 0, lambda: "later").asFuture(asyncio.get_running_loop()))
            reactor.addSystemEventTrigger("during", "shutdown", print, "shutdown")

        interloop.run(main())
        from twisted.internet import reactor
        print(reactor.running)
        """,
    ) == ["True", "later", "shutdown", "False"]


def test_it_follows_one_loop_after_another(joined):
    assert joined(
        """
        from twisted.internet import threads
        loops = []

        async def main(number):
            loops.append(asyncio.get_running_loop())
            trigger("before", "shutdown")
            assert reactor._asyncioEventloop is loops[-1]
            tell(number, await wait(later()), await wait(threads.deferToThread(lambda: "thread")))

        for number in range(3):
            reactor.callWhenRunning(tell, "startup", number)
            interloop.run(main(number))
            tell("between")
        assert len(set(map(id, loops))) == 3
        """
    ) == [
        line
        for number in range(3)
        for line in (
            f"startup {number} running",
            f"{number} later thread running",
            "before shutdown running",
            "between not running",
        )
    ]


def test_it_can_run_by_itself_between_two(joined):
    assert (
        joined(
            """
        async def main():
            tell(await wait(later()))

        for _ in range(2):
            interloop.run(main())
            reactor.callLater(0, tell, "alone")
            reactor.callLater(0, reactor.stop)
            reactor.run()
            tell("stopped")
        """
        )
        == ["later running", "alone running", "stopped not running"] * 2
    )


def test_any_way_to_run_a_loop_will_do(joined):
    assert joined(
        """
        async def main():
            tell(await wait(later()))

        with asyncio.Runner(loop_factory=interloop.Loop) as runner:
            runner.run(main())
            tell("between")
            runner.run(main())
        tell("after")

        loop = interloop.new_event_loop()
        trigger("during", "shutdown")
        loop.run_until_complete(main())
        loop.call_later(0.001, loop.stop)
        loop.run_forever()
        tell("closed without shutdown_asyncgens()")
        loop.close()
        tell("closed")
        """
    ) == [
        "later running",
        "between running",
        "later running",
        "after not running",
        "later running",
        "closed without shutdown_asyncgens() running",
        "during shutdown not running",
        "closed not running",
    ]


def test_run_is_refused_and_does_no_harm(joined):
    assert (
        joined(
            """
        from twisted.internet.error import ReactorAlreadyRunning

        async def main():
            for _ in range(2):
                try:
                    reactor.run()
                except ReactorAlreadyRunning:
                    tell("refused")
                tell(await wait(later()))
        interloop.run(main())
        """
        )
        == ["refused running", "later running"] * 2
    )


def test_stop_fires_the_shutdown_triggers_and_leaves_the_loop_alone(joined):
    assert joined(
        """
        from twisted.internet.error import ReactorNotRunning

        for phase in "before", "during", "after":
            trigger(phase, "shutdown")

        async def main():
            reactor.stop()
            tell("stop has returned")
            await asyncio.sleep(0.001)
            tell("the loop goes on")
            try:
                reactor.stop()
            except ReactorNotRunning:
                print("stopped already")
            # Timers need no reactor that runs.
            print(await wait(later()))
        interloop.run(main())
        tell("ended")

        # And it is as new for the next one.
        interloop.run(main())
        """
    ) == [
        "stop has returned running",
        "before shutdown running",
        "during shutdown not running",
        "after shutdown not running",
        "the loop goes on not running",
        "stopped already",
        "later",
        "ended not running",
        "stop has returned running",
        "the loop goes on not running",
        "stopped already",
        "later",
    ]


def test_crash_leaves_the_loop_alone(joined):
    assert joined(
        """
        trigger("before", "shutdown")

        async def main():
            reactor.crash()
            tell("crashed")
            print(await wait(later()))
        interloop.run(main())
        """
    ) == ["crashed not running", "later"]


def test_the_end_waits_for_what_shutdown_triggers_wait_for(joined):
    assert joined(
        """
        def slow():
            tell("asked to wait")
            return later(0.01).addCallback(lambda _: tell("waited"))

        reactor.addSystemEventTrigger("before", "shutdown", slow)
        trigger("during", "shutdown")

        async def main():
            reactor.callLater(0, reactor.stop)
            await asyncio.sleep(0.001)
        interloop.run(main())
        print("ended")
        """
    ) == ["asked to wait running", "waited running", "during shutdown not running", "ended"]


def test_a_main_that_fails_gets_its_shutdown_too(joined):
    assert joined(
        """
        trigger("during", "shutdown")

        async def main():
            raise ZeroDivisionError

        try:
            interloop.run(main())
        except ZeroDivisionError:
            tell("failed")
        """
    ) == ["during shutdown not running", "failed not running"]


def test_only_loops_of_the_installing_thread_are_followed(joined):
    assert joined(
        """
        async def elsewhere():
            await asyncio.sleep(0)
            tell("another thread's loop")

        thread = threading.Thread(target=lambda: interloop.run(elsewhere()))
        thread.start()
        thread.join()

        async def main():
            tell("this thread's")
            await asyncio.to_thread(lambda: interloop.run(elsewhere()))
            assert reactor._asyncioEventloop is asyncio.get_running_loop()
            tell(await wait(later()))
        interloop.run(main())
        """
    ) == [
        "another thread's loop not running",
        "this thread's running",
        "another thread's loop running",
        "later running",
    ]


def test_a_stock_loop_is_not_followed(joined):
    assert joined(
        """
        async def main():
            tell(type(asyncio.get_running_loop()).__name__)
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(main())
        """
    ) == ["_UnixSelectorEventLoop not running"]


def test_what_was_asked_for_before_moves_to_the_loop(joined):
    assert joined(
        """
        import contextvars, socket
        from twisted.internet.protocol import Factory, Protocol

        class Greeting(Protocol):
            def connectionMade(self):
                self.transport.write(b"hello")
                self.transport.loseConnection()

        variable = contextvars.ContextVar("variable", default="none")
        variable.set("set")
        port = reactor.listenTCP(0, Factory.forProtocol(Greeting), interface="127.0.0.1")
        called = Deferred()
        call = reactor.callLater(0.001, lambda: called.callback(variable.get()))
        moved = reactor.callLater(3600, lambda: None)
        reactor.callFromThread(tell, "thread call")
        variable.set("changed")

        async def main():
            print(await wait(called), call.active())
            reader, writer = await asyncio.open_connection("127.0.0.1", port.getHost().port)
            print(await reader.read())
            writer.close()
            await writer.wait_closed()
            moved.reset(0.001)
            while moved.active():
                await asyncio.sleep(0.001)
            await wait(port.stopListening())
        interloop.run(main())
        """
    ) == ["thread call running", "set False", "b'hello'"]


def test_delayed_calls_outlive_a_loop(joined):
    assert joined(
        """
        async def main():
            reactor.callLater(0.05, tell, "called in the next")
            calls.extend(reactor.getDelayedCalls())
        calls = []
        interloop.run(main())
        assert reactor.getDelayedCalls() == calls
        assert calls[0].active()

        async def next():
            while calls[0].active():
                await asyncio.sleep(0.001)
        interloop.run(next())
        """
    ) == ["called in the next running"]


def test_thread_calls_outlive_a_loop(joined):
    assert joined(
        """
        async def main():
            pass
        interloop.run(main())
        thread = threading.Thread(target=reactor.callFromThread, args=(tell, "called"))
        thread.start()
        thread.join()
        interloop.run(main())
        """
    ) == ["called running"]


def test_connections_of_a_loop_that_ends_are_lost(joined):
    assert joined(
        """
        import socket
        from twisted.internet.protocol import Factory, Protocol

        class Quiet(Protocol):
            def connectionMade(self):
                made.callback(None)
            def connectionLost(self, reason):
                tell(reason.type.__name__)

        made = Deferred()

        async def main():
            port = reactor.listenTCP(0, Factory.forProtocol(Quiet), interface="127.0.0.1")
            global client
            client = socket.create_connection(("127.0.0.1", port.getHost().port))
            await wait(made)
        interloop.run(main())
        print(client.recv(1), reactor.getReaders())
        client.close()
        """
    ) == ["ConnectionLost not running", "b'' []"]


def test_ctrl_c_is_the_owners(joined):
    assert joined(
        """
        import os, signal
        before = signal.getsignal(signal.SIGTERM)
        trigger("during", "shutdown")

        async def main():
            assert signal.getsignal(signal.SIGTERM) is before
            reactor.callLater(0, os.kill, os.getpid(), signal.SIGINT)
            try:
                await asyncio.Event().wait()
            finally:
                tell("cancelled")
        try:
            interloop.run(main())
        except KeyboardInterrupt:
            tell("interrupted")
        """
    ) == ["cancelled running", "during shutdown not running", "interrupted not running"]


def test_run_takes_over_a_loop_that_has_paused(joined):
    assert joined(
        """
        import os, signal
        loop = asyncio.get_event_loop_policy().get_event_loop()
        assert loop is reactor._asyncioEventloop
        trigger("during", "startup")
        trigger("during", "shutdown")

        async def setup():
            tell(await wait(later()))
        loop.run_until_complete(setup())
        tell("paused")
        reactor.callLater(0, os.kill, os.getpid(), signal.SIGTERM)
        reactor.run()
        print(reactor._exitSignal == signal.SIGTERM)
        """
    ) == [
        "during startup running",
        "later running",
        "paused running",
        "during shutdown not running",
        "True",
    ]
