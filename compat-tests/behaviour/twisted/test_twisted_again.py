"""Several runs in one process, on one loop or on many; what a run leaves behind, and what not."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys

import pytest
from tw_support import run
from twisted.internet.defer import Deferred

HEAD = """
import asyncio, os, signal, socket, threading
from twisted.internet import defer, reactor, task, threads
from twisted.internet.protocol import Factory, Protocol

def wait(deferred):
    return deferred.asFuture(asyncio.get_running_loop())

class Greeting(Protocol):
    def connectionMade(self):
        self.transport.write(b"hello")
        self.transport.loseConnection()

def greet():
    '''What a connection to a port of the reactor's was told, by way of its threads.'''
    port = reactor.listenTCP(0, Factory.forProtocol(Greeting), interface="127.0.0.1")

    def talk():
        with socket.create_connection(("127.0.0.1", port.getHost().port)) as client:
            return client.recv(10)

    def end(told):
        return defer.maybeDeferred(port.stopListening).addCallback(lambda _: told)
    return threads.deferToThread(talk).addCallback(end)
"""


@pytest.fixture
def again(program):
    """again(kind, source): what a program printed; see HEAD for what it can use."""

    def again(kind: str, source: str, **kw) -> list[str]:
        import textwrap

        return program(kind, HEAD + textwrap.dedent(source), **kw)

    return again


def test_run_again_with_everything(again):
    assert (
        again(
            "interloop",
            """
        for _ in range(3):
            reactor.callWhenRunning(lambda: greet().addCallback(print).addBoth(lambda _: reactor.stop()))
            reactor.run()
            assert not reactor.running
            assert reactor.getReaders() == reactor.getWriters() == reactor.getDelayedCalls() == []
            assert threading.active_count() == 1
        """,
        )
        == ["b'hello'"] * 3
    )


def test_asyncio_run_again_and_again(again):
    """As in notebooks, workers and test runs: a new loop each time, and one reactor that everybody has imported."""
    assert again(
        "interloop",
        """
        import interloop
        interloop.install()
        loops = []

        async def main(number):
            loops.append(asyncio.get_running_loop())
            assert reactor.running and reactor._asyncioEventloop is loops[-1]
            try:
                reactor.run()
            except Exception as error:
                print(number, await wait(greet()), type(error).__name__)

        for number in range(4):
            asyncio.run(main(number))
            assert not reactor.running
            assert reactor.getReaders() == []
            assert threading.active_count() == 1
        assert len(set(map(id, loops))) == 4
        """,
    ) == [f"{number} b'hello' ReactorAlreadyRunning" for number in range(4)]


def test_one_cell_after_another(again):
    """As in IPython: one loop for all cells, which rests in between, and with nested turns within a cell."""
    assert again(
        "interloop",
        """
        import interloop
        loop = interloop.new_event_loop()
        asyncio.set_event_loop(loop)

        def nested(coroutine):
            # As nest_asyncio does.
            inner = loop.create_task(coroutine)
            outer = asyncio.current_task()
            asyncio._leave_task(loop, outer)
            try:
                while not inner.done():
                    loop._run_once()
            finally:
                asyncio._enter_task(loop, outer)
            return inner.result()

        async def cell():
            print(await wait(greet()), reactor.running)

        async def nesting_cell():
            nested(cell())
            print(reactor.running)

        started = []
        reactor.callWhenRunning(started.append, 1)
        for _ in range(2):
            loop.run_until_complete(cell())
            loop.run_until_complete(nesting_cell())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        # One life for all of them.
        print(started, reactor.running)
        """,
    ) == ["b'hello' True", "b'hello' True", "True"] * 2 + ["[1] False"]


def test_a_forked_worker_has_runs_of_its_own(again):
    """As in Celery's: the parent has had the reactor running, the child does what it likes."""
    assert again(
        "interloop",
        """
        import interloop, sys

        async def main():
            print(await wait(greet()), reactor.running, flush=True)
        interloop.run(main())
        for how in "asyncio", "reactor":
            child = os.fork()
            if child == 0:
                if how == "asyncio":
                    interloop.run(main())
                else:
                    reactor.callWhenRunning(lambda: greet().addCallback(print).addBoth(lambda _: reactor.stop()))
                    reactor.run()
                    sys.stdout.flush()
                os._exit(0)
            print(os.waitpid(child, 0)[1], flush=True)
        interloop.run(main())
        """,
    ) == ["b'hello' True", "b'hello' True", "0", "b'hello'", "0", "b'hello' True"]


def test_shutdown_triggers_in_shutdown_asyncgens(again):
    assert again(
        "interloop",
        """
        import interloop
        waited = defer.Deferred()
        reactor.addSystemEventTrigger("before", "shutdown", lambda: (reactor.callLater(0, waited.callback, 1), waited)[1])
        reactor.addSystemEventTrigger("during", "shutdown", print, "shutdown")

        async def main():
            print(reactor.running)

        loop = interloop.new_event_loop()
        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_asyncgens())
        print("shut down", reactor.running)
        # It stays stopped in this loop, and starts in the next.
        loop.run_until_complete(main())
        loop.close()
        interloop.run(main())
        """,
    ) == ["True", "shutdown", "shut down False", "False", "True"]


def test_the_thread_pool_is_new_in_every_run(again):
    assert again(
        "interloop",
        """
        pools = []

        def start():
            pools.append(reactor.getThreadPool())
            threads.deferToThread(lambda: pools[-1].started).addCallback(print).addBoth(lambda _: reactor.stop())

        for number in range(3):
            if number == 2:
                # Asked for before the run: started by it.
                print(reactor.getThreadPool().started)
            reactor.callWhenRunning(start)
            reactor.run()
            print(reactor.threadpool, pools[-1].joined, threading.active_count())
        print(len(set(map(id, pools))))
        """,
    ) == ["True", "None True 1"] * 2 + ["False", "True", "None True 1", "3"]


REACT = """
def main(reactor, number):
    print(number, reactor.running)
    return greet().addCallback(print)

for number in range({times}):
    try:
        task.react(main, [number])
    except SystemExit as end:
        print("ended", end.code)

@task.react
def decorated(reactor):
    return greet().addCallback(print, "decorated")
"""


def test_react(again, kind):
    assert again(kind, REACT.format(times=0)) == ["b'hello' decorated"]


def test_react_twice_in_one_process(again):
    assert again("interloop", REACT.format(times=2)) == [
        *("0 False", "b'hello'", "ended 0"),
        *("1 False", "b'hello'", "ended 0"),
        "b'hello' decorated",
    ]


def test_react_with_a_coroutine_and_with_a_failure(again, kind):
    assert again(
        kind,
        """
        async def main(reactor):
            print(await greet())
            raise SystemExit(5)
        task.react(main)
        """,
        code=5,
    ) == ["b'hello'"]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_signals_in_every_run(again, name):
    assert again(
        "interloop",
        f"""
        for number in range(3):
            reactor.callWhenRunning(os.kill, os.getpid(), signal.{name})
            reactor.run()
            print(signal.Signals(reactor._exitSignal).name, reactor.running)
        reactor.callWhenRunning(reactor.stop)
        reactor.run()
        print(reactor._exitSignal, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
        """,
    ) == [f"{name} False"] * 3 + ["None True"]


def test_a_handler_of_the_programs_own_wakes_the_reactor(again, kind):
    """As for SIGHUP, by which daemons are told to read their configuration again."""
    assert again(
        kind,
        """
        def handler(number, frame):
            reactor.callFromThread(reload)

        def reload():
            print("reloaded")
            reactor.stop()

        signal.signal(signal.SIGHUP, handler)
        child = os.fork()
        if child == 0:
            # Not before the parent sleeps, or is about to.
            os.read(read, 1)
            os.kill(os.getppid(), signal.SIGHUP)
            os._exit(0)
        reactor.callWhenRunning(reactor.callLater, 0, os.write, write, b"x")
        reactor.run()
        os.waitpid(child, 0)
        """.replace("signal.signal(", "read, write = os.pipe()\n        signal.signal(", 1),
    ) == ["reloaded"]


def test_twistd_turns_its_log_over(tmp_path: pathlib.Path):
    """SIGUSR1: twistd's own handler, which it sets before the reactor runs."""
    tmp_path.joinpath("service.tac").write_text(
        """
import os, signal
from twisted.application.service import Application
from twisted.internet import reactor

def look():
    if any(name.startswith("log.") for name in os.listdir()):
        reactor.stop()
    else:
        reactor.callLater(0.001, look)

def start():
    os.kill(os.getpid(), signal.SIGUSR1)
    look()

reactor.callWhenRunning(start)
application = Application("turner")
"""
    )
    done = subprocess.run(
        [
            pathlib.Path(sys.executable).with_name("twistd"),
            *("--reactor=interloop", "-n", "-y", "service.tac", "-l", "log"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        # Twisted looks whether there is a handler already, and takes SIG_IGN for none.
        preexec_fn=lambda: signal.signal(signal.SIGUSR1, signal.SIG_DFL),
    )
    assert (done.returncode, done.stderr) == (0, "")
    old, new = sorted(
        (path for path in tmp_path.iterdir() if path.name.startswith("log")), reverse=True
    )
    assert "reactor class: interloop.twisted." in old.read_text()
    assert "Server Shut Down." in new.read_text()


def test_system_events_of_the_programs_own(reactor):
    seen = []
    held = Deferred()
    reactor.addSystemEventTrigger("before", "ours", lambda: (seen.append("before"), held)[1])
    reactor.addSystemEventTrigger("during", "ours", seen.append, "during")
    reactor.addSystemEventTrigger("after", "ours", seen.append, "after")
    removed = reactor.addSystemEventTrigger("during", "ours", pytest.fail)
    reactor.removeSystemEventTrigger(removed)
    with pytest.raises(ValueError, match=r"list\.remove"):
        reactor.removeSystemEventTrigger(removed)
    with pytest.raises(KeyError):
        reactor.addSystemEventTrigger("between", "ours", pytest.fail)
    reactor.fireSystemEvent("nobody's")
    reactor.fireSystemEvent("ours")
    assert seen == ["before"]
    held.callback(None)
    assert seen == ["before", "during", "after"]
    # Used up.
    reactor.fireSystemEvent("ours")
    assert seen == ["before", "during", "after"]


def test_the_shutdown_event_fired_by_hand_stops_the_reactor(reactor):
    seen = []
    reactor.addSystemEventTrigger("before", "shutdown", lambda: seen.append(reactor.running))
    reactor.addSystemEventTrigger("after", "shutdown", lambda: seen.append(reactor.running))
    reactor.callWhenRunning(reactor.fireSystemEvent, "shutdown")
    run(reactor)
    assert seen == [True, False]


def test_the_shutdown_event_fired_by_hand_leaves_it_restartable(ours):
    for _ in range(2):
        ours.callWhenRunning(ours.fireSystemEvent, "shutdown")
        run(ours)
        ours.callWhenRunning(ours.stop)
        run(ours)
        assert not ours.running


def test_rearmed_is_what_the_reactor_had_been_made_with(ours):
    # trial fires the event, with a crash() of its own on the reactor for the length of a test.
    ours.crash = pytest.fail
    ours.callWhenRunning(ours.fireSystemEvent, "shutdown")
    run(ours)
    del ours.crash
    ours.callWhenRunning(ours.stop)
    run(ours)
    assert not ours.running


def test_the_shutdown_event_fired_by_hand_in_a_loop_that_somebody_else_runs(again):
    assert (
        again(
            "interloop",
            """
        import interloop

        async def main():
            reactor.addSystemEventTrigger("during", "shutdown", print, "shutdown")
            reactor.fireSystemEvent("shutdown")
            await asyncio.sleep(0)
            print(reactor.running)
        for _ in range(2):
            interloop.run(main())
        reactor.callWhenRunning(reactor.stop)
        reactor.run()
        """,
        )
        == ["shutdown", "False"] * 2
    )


WITH_TASKS = """
loop = reactor._asyncioEventloop

async def main():
    async for _ in generator():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            print("task ended", reactor.running)

async def generator():
    try:
        yield 1
    finally:
        await asyncio.sleep(0)
        print("generator ended")

reactor.callWhenRunning(print, "started")
task_of_ours = loop.create_task(main())
"""


def test_no_task_is_destroyed_pending(again):
    assert again(
        "interloop",
        WITH_TASKS
        + """
reactor.addSystemEventTrigger("during", "shutdown", print, "shutdown")
reactor.callLater(0.001, reactor.stop)
reactor.run()
print("stopped", task_of_ours.done())
del task_of_ours
""",
    ) == ["started", "shutdown", "stopped False", "task ended False", "generator ended"]


def test_a_task_lives_on_in_the_next_run(again):
    assert again(
        "interloop",
        WITH_TASKS
        + """
for _ in range(2):
    reactor.callLater(0.001, reactor.stop)
    reactor.run()
    print("stopped", task_of_ours.done())
task_of_ours.cancel()
""",
    ) == [
        "started",
        "stopped False",
        "stopped False",
        "task ended False",
        "generator ended",
    ]


def test_a_loop_left_alone_shuts_the_reactor_down_when_the_program_ends(again):
    """A loop of the reactor's that somebody has run, and has not closed."""
    assert again(
        "interloop",
        """
        waited = defer.Deferred()
        reactor.addSystemEventTrigger("before", "shutdown", lambda: (reactor.callLater(0, waited.callback, 1), waited)[1])
        reactor.addSystemEventTrigger("during", "shutdown", print, "shutdown")
        reactor._asyncioEventloop.run_until_complete(asyncio.sleep(0))
        print("last line", reactor.running)
        """,
    ) == ["last line True", "shutdown"]


def test_what_a_task_raises_at_the_end_is_told(tmp_path):
    tmp_path.joinpath("program.py").write_text(
        """
import asyncio, interloop.twisted
reactor = interloop.twisted.install()

async def main():
    try:
        await asyncio.Event().wait()
    finally:
        raise ZeroDivisionError("told")

kept = reactor._asyncioEventloop.create_task(main())
reactor.callLater(0, reactor.stop)
reactor.run()
"""
    )
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDEVMODE": "1"},
    )
    assert done.returncode == 0
    assert "unhandled exception during asyncio.run() shutdown" in done.stderr
    assert "ZeroDivisionError: told" in done.stderr
    assert "destroyed" not in done.stderr
