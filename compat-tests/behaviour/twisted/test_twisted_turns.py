"""The installed reactor and loops that take turns, none of them closed: as a test runner has one for the session and one for each test."""

from __future__ import annotations

import textwrap

import pytest

HEAD = """
import asyncio, interloop, os, socket, threading
from twisted.internet import defer, reactor, task, threads
from twisted.internet.protocol import Factory, Protocol

loops = {}

class Turn:
    '''A loop that runs now and then.'''

    def __init__(self, name):
        self.name, self.loop = name, interloop.new_event_loop()

    def run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def shut_down(self):
        self.run(self.loop.shutdown_asyncgens())

    def end(self):
        self.shut_down()
        self.loop.close()

A, B = Turn("A"), Turn("B")

def tell(*what):
    loop = asyncio._get_running_loop()
    (name,) = [turn.name for turn in (A, B) if turn.loop is loop] or ["another" if loop else "none"]
    print(*what, "in", name, "running" if reactor.running else "not running", flush=True)

for event in "startup", "shutdown":
    reactor.addSystemEventTrigger("during", event, tell, event)

async def later(seconds=0.001):
    return await task.deferLater(reactor, seconds, lambda: "later")

class Told(Protocol):
    '''Answers, and tells of its end.'''

    def connectionMade(self):
        self.factory.made.callback(self)

    def dataReceived(self, data):
        tell(self.factory.name, data)
        self.transport.write(b"re:" + data)

    def connectionLost(self, reason):
        tell(self.factory.name, reason.type.__name__)

async def connect(name):
    '''A port, an end of a connection to it, and what has the other one.'''
    factory = Factory.forProtocol(Told)
    factory.name, factory.made = name, defer.Deferred()
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    end = socket.create_connection(("127.0.0.1", port.getHost().port))
    return port, end, await factory.made

async def ask(end, data):
    end.sendall(data)
    return await threads.deferToThread(end.recv, 100)
"""


@pytest.fixture
def turns(program):
    """turns(source): what a program with our reactor printed; see HEAD for what it can use."""

    def turns(source: str) -> list[str]:
        return program("interloop", HEAD + textwrap.dedent(source))

    return turns


def test_it_is_on_the_one_that_runs_and_that_is_one_life(turns):
    assert turns(
        """
        async def main():
            assert reactor._asyncioEventloop is asyncio.get_running_loop()
            tell(await later(), await threads.deferToThread(lambda: "thread"))

        for turn in A, B, A, B:
            turn.run(main())
        interloop.run(main())
        for turn in A, B:
            turn.run(main())
            turn.end()
            print("ended")
        interloop.run(main())
        """
    ) == [
        "startup in A running",
        *(f"later thread in {name} running" for name in ("A", "B", "A", "B", "another", "A")),
        "ended",
        "later thread in B running",
        "shutdown in B not running",
        "ended",
        # The triggers are used up.
        "later thread in another running",
    ]


@pytest.mark.parametrize("first", ["A", "B"])
@pytest.mark.parametrize("how", ["end", "loop.close"])
def test_closing_in_both_orders(turns, first, how):
    other = "B" if first == "A" else "A"
    where = ("in B", "in A") if how == "end" else ("in none", "in none")
    assert turns(
        f"""
        for turn in A, B:
            turn.run(later())
        {first}.{how}()
        tell("closed one")
        {other}.run(later())
        {other}.{how}()
        tell("closed both")
        """
    ) == [
        "startup in A running",
        "closed one in none running",
        f"shutdown {where[first == 'B']} not running",
        "closed both in none not running",
    ]


def test_a_loop_that_was_shut_down_and_not_closed_is_not_waited_for(turns):
    assert turns(
        """
        for turn in A, B:
            turn.run(later())
        B.shut_down()
        tell("lives on")
        A.end()
        B.run(later())
        tell("not started there again")
        B.loop.close()
        """
    ) == [
        "startup in A running",
        "lives on in none running",
        "shutdown in A not running",
        "not started there again in none not running",
    ]


def test_timers_and_thread_calls_go_along(turns):
    assert turns(
        """
        async def ask():
            calls.append(reactor.callLater(3600, tell, "moved"))
        calls = []
        A.run(ask())
        calls.append(reactor.callLater(0, tell, "at once"))
        calls[0].reset(0.001)
        thread = threading.Thread(target=reactor.callFromThread, args=(tell, "from a thread"))
        thread.start()
        thread.join()

        async def wait():
            while any(call.active() for call in calls):
                await asyncio.sleep(0.001)
        B.run(wait())
        # What stood in its queue for that finds nothing to do.
        A.run(later())
        B.end()
        A.end()
        """
    ) == [
        "startup in A running",
        "at once in B running",
        "from a thread in B running",
        "moved in B running",
        "shutdown in A not running",
    ]


def test_a_task_of_the_one_that_waits_for_what_comes_in_the_other(turns):
    assert turns(
        """
        async def main():
            await later()
            tell("woken")
        A.run(asyncio.sleep(0))
        waiting = A.loop.create_task(main())
        A.run(asyncio.sleep(0))
        B.run(later(0.01))
        A.run(waiting)
        B.end()
        A.end()
        """
    ) == ["startup in A running", "woken in A running", "shutdown in A not running"]


def test_connections_and_ports_serve_in_both_and_end_with_their_own(turns):
    assert turns(
        """
        a_port, a_end, _ = A.run(connect("of A"))
        b_port, b_end, _ = B.run(connect("of B"))
        for turn in B, A, B:
            for end in a_end, b_end:
                print(turn.run(ask(end, b"?")))
        B.end()
        print(b_end.recv(1), a_port.connected, b_port.connected)
        print(A.run(ask(a_end, b"!")))
        A.end()
        print(a_end.recv(1))
        a_end.close(), b_end.close()
        """
    ) == [
        "startup in A running",
        *(
            line
            for name in ("B", "A", "B")
            for of in ("A", "B")
            for line in (f"of {of} b'?' in {name} running", "b're:?'")
        ),
        "of B ConnectionLost in none running",
        "b'' True False",
        "of A b'!' in A running",
        "b're:!'",
        "of A ConnectionLost in A not running",
        "shutdown in A not running",
        "b''",
    ]


def test_what_is_registered_on_one_that_closes_is_lost_wherever_it_is(turns):
    assert turns(
        """
        from twisted.internet.abstract import FileDescriptor

        class Reader(FileDescriptor):
            def __init__(self, reactor, name):
                super().__init__(reactor)
                self.name, (self.end, self.other) = name, socket.socketpair()
                self.fileno = self.end.fileno
                self.startReading()
            def connectionLost(self, reason):
                tell(self.name, "lost")
                self.end.close(), self.other.close()

        async def register(name):
            Reader(reactor, name)
            port, end, told = await connect(name)
            # Neither reads nor writes.
            told.transport.stopReading()
            return port, end
        ends = [turn.run(register(turn.name))[1] for turn in (A, B)]
        A.loop.close()
        print(ends[0].recv(1))
        B.run(later())
        print("B goes on")
        B.end()
        for end in ends:
            end.close()
        """
    ) == [
        "startup in A running",
        *("A ConnectionLost in none running", "A lost in none running"),
        "b''",
        "B goes on",
        *("B lost in B not running", "shutdown in B not running"),
        "B ConnectionLost in none not running",
    ]


def test_what_waited_to_be_sent_or_to_end_does_so_in_the_other(turns):
    assert turns(
        """
        _, end, told = A.run(connect("it"))

        async def write():
            told.transport.write(b"x" * 10_000_000)
            told.transport.loseConnection()
        A.run(write())

        def read():
            with end, end.makefile("rb") as stream:
                return len(stream.read())

        async def count():
            return await threads.deferToThread(read)
        print(B.run(count()))
        B.end()
        A.end()
        """
    ) == [
        "startup in A running",
        "it ConnectionDone in B running",
        "10000000",
        "shutdown in A not running",
    ]


def test_stop_in_the_second(turns):
    assert turns(
        """
        _, end, _ = A.run(connect("of A"))

        async def stop():
            reactor.callLater(0, reactor.stop)
            await asyncio.sleep(0.001)
            tell("stopped")
        B.run(stop())
        B.run(later())
        tell("not again")
        end.close()
        # Another life, and another loop's.
        reactor.callWhenRunning(tell, "started anew")
        A.run(later())
        B.end()
        A.run(later())
        tell("B has ended")
        reactor.addSystemEventTrigger("during", "shutdown", tell, "shutdown")
        A.end()
        """
    ) == [
        "startup in A running",
        "of A ConnectionLost in B not running",
        "shutdown in B not running",
        "stopped in B not running",
        "not again in none not running",
        "started anew in A running",
        "B has ended in none running",
        "shutdown in A not running",
    ]


def test_stop_in_the_first(turns):
    assert turns(
        """
        for turn in B, A:
            turn.run(later())
        # The triggers are to be called in a turn that A does not come to.
        A.loop.call_soon(reactor.stop)
        A.loop.stop()
        A.loop.run_forever()
        tell("stopping")
        B.run(later())
        tell("stopped")
        # Not where it was stopped, but where it was not.
        B.run(later())
        B.end()
        tell("not again")
        reactor.callWhenRunning(tell, "started anew")
        A.run(later())
        A.end()
        """
    ) == [
        "startup in B running",
        "stopping in none running",
        "shutdown in B not running",
        "stopped in none not running",
        "not again in none not running",
        "started anew in A running",
    ]


def test_crash_leaves_what_there_is_to_its_loop(turns):
    assert turns(
        """
        _, end, _ = A.run(connect("of A"))

        async def crash():
            reactor.crash()
        B.run(crash())
        B.end()
        tell("B has ended")
        print(A.run(ask(end, b"?")))
        A.end()
        end.close()
        """
    ) == [
        "startup in A running",
        "B has ended in none not running",
        "of A b'?' in A running",
        "b're:?'",
        "of A ConnectionLost in A not running",
        "shutdown in A not running",
    ]


def test_a_descriptor_that_was_closed_meanwhile_is_lost_and_nothing_else(turns):
    assert turns(
        """
        from twisted.internet.abstract import FileDescriptor
        from twisted.logger import globalLogPublisher

        class Reader(FileDescriptor):
            fileno = lambda self: read
            connectionLost = lambda self, reason: tell("lost", reason.type.__name__)

        read, write = os.pipe()
        async def register():
            Reader(reactor).startReading()
        A.run(register())
        os.close(read), os.close(write)
        B.run(later())
        B.end()
        A.end()
        """
    ) == [
        "startup in A running",
        "lost OSError in B running",
        "shutdown in A not running",
    ]


def test_one_that_runs_keeps_it(turns):
    assert turns(
        """
        async def inner():
            assert reactor._asyncioEventloop is A.loop
            await asyncio.sleep(0)

        async def outer():
            # In the way of nest_asyncio.
            asyncio._set_running_loop(None)
            B.end() if ended else B.run(inner())
            asyncio._set_running_loop(A.loop)
            tell(await later())

        async def elsewhere():
            await asyncio.to_thread(interloop.run, inner())
            tell(await later())

        for ended in False, True:
            A.run(outer())
        A.run(elsewhere())

        # And one that another thread runs.
        runs = threading.Event()
        A.loop.call_soon(runs.set)
        thread = threading.Thread(target=A.loop.run_forever)
        thread.start()
        runs.wait()
        interloop.run(inner())
        A.loop.call_soon_threadsafe(A.loop.stop)
        thread.join()
        A.end()
        """
    ) == [
        "startup in A running",
        *["later in A running"] * 3,
        "shutdown in A not running",
    ]


def test_run_takes_over_the_one_it_is_on(turns):
    assert turns(
        """
        for turn in A, B:
            turn.run(later())
        reactor.callLater(0, tell, "called")
        reactor.callLater(0, reactor.stop)
        reactor.run()
        tell("stopped")
        A.run(later())
        tell("started anew")
        A.end()
        B.end()
        """
    ) == [
        "startup in A running",
        "called in B running",
        "shutdown in B not running",
        "stopped in none not running",
        "started anew in none running",
    ]


def test_loops_that_are_left_alone_shut_it_down_when_the_program_ends(turns):
    assert turns(
        """
        B.loop.close()
        A.run(later())
        interloop.run(later())
        tell("last line")
        # Asyncio would complain that it is left unclosed.
        reactor.addSystemEventTrigger("after", "shutdown", A.loop.close)
        """
    ) == ["startup in A running", "last line in none running", "shutdown in another not running"]


def test_one_that_is_given_up_unclosed_is_not_kept(turns):
    assert turns(
        """
        import gc, warnings, weakref
        A.run(later())
        B.run(later())
        watched = weakref.ref(A.loop)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del A.loop
            gc.collect()
        print(watched(), [warning.category.__name__ for warning in caught])
        A.loop = None
        B.run(later())
        B.end()
        """
    ) == ["startup in A running", "None ['ResourceWarning']", "shutdown in B not running"]


def test_children_outlive_the_loop_in_which_they_were_started(turns):
    assert turns(
        """
        import sys
        from twisted.internet.protocol import ProcessProtocol

        class Watch(ProcessProtocol):
            def processEnded(self, reason):
                ended.callback(reason.value.exitCode)
        ended = defer.Deferred()

        async def spawn():
            # No pipes, so that only its end tells of it.
            global child
            child = reactor.spawnProcess(Watch(), sys.executable, [sys.executable, "-c", "import os; os.read(0, 1)"], childFDs={0: read})
        read, write = os.pipe()
        A.run(later())
        B.run(spawn())
        B.end()
        os.close(read), os.close(write)

        async def wait():
            return await ended
        print(A.run(wait()))
        A.end()
        """
    ) == ["startup in A running", "0", "shutdown in A not running"]
