"""Signals, and child processes beside those of asyncio and of others."""

from __future__ import annotations

import textwrap

import pytest

HEAD = """
import os, signal, sys
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import ProcessProtocol

class Child(ProcessProtocol):
    def __init__(self):
        self.ended, self.output = Deferred(), b""
    def outReceived(self, data):
        self.output += data
    def processEnded(self, reason):
        self.ended.callback((self.output.decode(), reason.value.exitCode, reason.value.signal))

def spawn(source="print('out'); raise SystemExit(3)", **kw):
    child = Child()
    child.transport = reactor.spawnProcess(child, sys.executable, ["python", "-S", "-c", source], env=None, **kw)
    return child.ended
"""


@pytest.fixture
def told(program):
    """told(kind, source): what a program printed; see HEAD for what it can use."""

    def told(kind: str, source: str, **kwargs) -> list[str]:
        return program(kind, HEAD + textwrap.dedent(source), **kwargs)

    return told


def test_a_child(kind, told):
    assert told(
        kind,
        """
        def start():
            spawn().addCallback(print).addCallback(lambda _: reactor.stop())
        reactor.callWhenRunning(start)
        reactor.run()
        """,
    ) == ["('out\\n', 3, None)"]


def test_a_child_that_was_started_before_the_reactor(kind, told):
    assert told(
        kind,
        """
        spawn().addCallback(print).addCallback(lambda _: reactor.stop())
        reactor.run()
        """,
    ) == ["('out\\n', 3, None)"]


def test_a_child_on_a_terminal(kind, told):
    assert told(
        kind,
        """
        reactor.callWhenRunning(lambda: spawn(usePTY=True).addCallback(print).addCallback(lambda _: reactor.stop()))
        reactor.run()
        """,
    ) == ["('out\\r\\n', 3, None)"]


def test_a_child_that_keeps_its_pipes_closed(kind, told):
    # Only its own end tells of it.
    assert told(
        kind,
        """
        def start():
            spawn("import os; os.kill(os.getpid(), 9)", childFDs={}).addCallback(print).addCallback(lambda _: reactor.stop())
        reactor.callWhenRunning(start)
        reactor.run()
        """,
    ) == ["('', None, 9)"]


def test_many_children(kind, told):
    assert told(
        kind,
        """
        def start():
            all = gatherResults([spawn(f"raise SystemExit({code})") for code in range(30)])
            all.addCallback(lambda ends: print([code for _, code, _ in ends] == list(range(30))))
            all.addCallback(lambda _: reactor.stop())
        reactor.callWhenRunning(start)
        reactor.run()
        """,
    ) == ["True"]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_stops_the_reactor(kind, told, name):
    assert told(
        kind,
        f"""
        reactor.addSystemEventTrigger("during", "shutdown", print, "shutdown")
        reactor.callWhenRunning(os.kill, os.getpid(), signal.{name})
        reactor.run()
        print(reactor._exitSignal == signal.{name})
        """,
    ) == ["shutdown", "True"]


def test_a_signal_from_outside_wakes_a_reactor_that_sleeps(kind, told):
    assert told(
        kind,
        """
        import subprocess
        # It waits until we sleep: it sees that in /proc, where there is one.
        source = '''
        import os, signal, sys
        pid = int(sys.argv[1])
        def state():
            try:
                with open(f"/proc/{pid}/stat") as stat:
                    return stat.read().rpartition(")")[2].split()[0]
            except FileNotFoundError:
                return "S"
        while state() != "S":
            os.sched_yield()
        os.kill(pid, signal.SIGTERM)
        '''
        import textwrap
        def start():
            global child
            child = subprocess.Popen([sys.executable, "-S", "-c", textwrap.dedent(source), str(os.getpid())])
        reactor.callWhenRunning(start)
        reactor.run()
        print(child.wait())
        """,
    ) == ["0"]


def test_somebody_elses_sigint_handler_stays(kind, told):
    assert told(
        kind,
        """
        def mine(number, frame):
            print("mine")
            reactor.callFromThread(reactor.stop)
        signal.signal(signal.SIGINT, mine)
        reactor.callWhenRunning(os.kill, os.getpid(), signal.SIGINT)
        reactor.run()
        print(signal.getsignal(signal.SIGINT) is mine, reactor._exitSignal)
        """,
    ) == ["mine", "True None"]


def test_no_signal_handlers_if_none_are_wanted(kind, told):
    assert told(
        kind,
        """
        numbers = signal.SIGINT, signal.SIGTERM, signal.SIGCHLD
        before = [signal.getsignal(number) for number in numbers]
        reactor.callWhenRunning(lambda: print(before == [signal.getsignal(number) for number in numbers]))
        reactor.callWhenRunning(reactor.stop)
        reactor.run(installSignalHandlers=False)
        """,
    ) == ["True"]


def test_the_signals_are_given_back(told):
    # Twisted's own reactors leave theirs behind.
    assert (
        told(
            "interloop",
            """
        def look():
            return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
        before = look()
        for _ in range(2):
            reactor.callWhenRunning(lambda: print(before == look()))
            reactor.callWhenRunning(reactor.stop)
            reactor.run()
            print(before == look(), signal.set_wakeup_fd(-1))
        """,
        )
        == ["False", "True -1"] * 2
    )


def test_a_handler_kept_in_one_run_is_put_back_in_another(kind, told):
    # As Twisted's ReactorBuilder does, under trial. A child of nobody's shall not come to notice.
    assert told(
        kind,
        """
        import subprocess

        kept = []
        def keep():
            kept.append(signal.signal(signal.SIGCHLD, signal.SIG_DFL))
            reactor.crash()
        reactor.callWhenRunning(keep)
        reactor.run()

        def put_back():
            signal.signal(signal.SIGCHLD, kept[0])
            subprocess.run([sys.executable, "-S", "-c", ""], check=True)
            reactor.crash()
        reactor.callWhenRunning(put_back)
        reactor.run()
        subprocess.run([sys.executable, "-S", "-c", ""], check=True)

        reactor.callWhenRunning(lambda: spawn().addCallback(print).addCallback(lambda _: reactor.stop()))
        reactor.run()
        """,
    ) == ["('out\\n', 3, None)"]


def test_asyncios_signal_handlers_work_beside_the_reactors(told):
    assert (
        told(
            "interloop",
            """
        loop = reactor._asyncioEventloop

        def heard(name):
            print(name)
            if name == "second":
                spawn().addCallback(print).addCallback(lambda _: reactor.stop())
            else:
                os.kill(os.getpid(), signal.SIGUSR2)

        for order in "before", "after":
            if order == "before":
                loop.add_signal_handler(signal.SIGUSR1, heard, "first")
                loop.add_signal_handler(signal.SIGUSR2, heard, "second")
            else:
                for number in signal.SIGUSR1, signal.SIGUSR2:
                    loop.remove_signal_handler(number)
                reactor.callWhenRunning(loop.add_signal_handler, signal.SIGUSR1, heard, "first")
                reactor.callWhenRunning(loop.add_signal_handler, signal.SIGUSR2, heard, "second")
            reactor.callWhenRunning(os.kill, os.getpid(), signal.SIGUSR1)
            reactor.run()
        for number in signal.SIGUSR1, signal.SIGUSR2:
            loop.remove_signal_handler(number)
        """,
        )
        == ["first", "second", "('out\\n', 3, None)"] * 2
    )


def test_children_are_reaped_in_a_loop_that_somebody_else_runs(told):
    assert (
        told(
            "interloop",
            """
        import asyncio, interloop

        def wait(deferred):
            return deferred.asFuture(asyncio.get_running_loop())

        async def main():
            numbers = signal.SIGINT, signal.SIGTERM
            print(await wait(spawn()))
            print(await wait(spawn("import os; os.kill(os.getpid(), 9)", childFDs={})))
        for _ in range(2):
            interloop.run(main())
        """,
        )
        == ["('out\\n', 3, None)", "('', None, 9)"] * 2
    )


def test_children_of_asyncio_and_of_twisted_side_by_side(told):
    assert (
        told(
            "interloop",
            """
        import asyncio, interloop

        async def asyncios(code):
            child = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", f"raise SystemExit({code})")
            return await child.wait()

        async def twisteds(code):
            ended = spawn(f"raise SystemExit({code})", childFDs={})
            return (await ended.asFuture(asyncio.get_running_loop()))[1]

        async def main():
            codes = range(10)
            results = await asyncio.gather(*(f(code) for code in codes for f in (asyncios, twisteds)))
            print(results == [code for code in codes for _ in range(2)])
            reactor.callLater(0, print, "healthy")
            await asyncio.sleep(0.001)

        interloop.run(main())
        reactor.callWhenRunning(lambda: reactor._asyncioEventloop.create_task(main()).add_done_callback(lambda _: reactor.stop()))
        reactor.run()
        """,
        )
        == ["True", "healthy"] * 2
    )


def test_200_children_of_each_side_by_side(told):
    assert told(
        "interloop",
        """
        import asyncio, interloop
        from twisted.internet import protocol

        class Ended(protocol.ProcessProtocol):
            def __init__(self):
                self.ended = asyncio.get_running_loop().create_future()
                self.out = b""

            def outReceived(self, data):
                self.out += data

            def processEnded(self, reason):
                self.ended.set_result((self.out, reason.value.exitCode))

        def command(number):
            return "/bin/sh", "-c", f"echo {number}; exit {number}"

        async def asyncios(number):
            child = await asyncio.create_subprocess_exec(*command(number), stdout=asyncio.subprocess.PIPE)
            return (await child.communicate())[0], child.returncode

        async def twisteds(number):
            ended = Ended()
            reactor.spawnProcess(ended, "/bin/sh", command(number))
            return await ended.ended

        async def main():
            for batch in range(0, 200, 20):
                numbers = range(batch, batch + 20)
                results = await asyncio.gather(*(f(number) for number in numbers for f in (asyncios, twisteds)))
                assert results == [(b"%d\\n" % number, number) for number in numbers for _ in range(2)], results
            print("all of them", reactor.getReaders(), reactor.getWriters())

        interloop.run(main())
        """,
    ) == ["all of them [] []"]


@pytest.mark.parametrize("by", ["loop", "signal"])
def test_children_are_reaped_though_somebody_else_has_sigchld(told, by):
    # As Tornado's Subprocess has it, by loop.add_signal_handler.
    assert told(
        "interloop",
        f"""
        import asyncio, interloop

        async def main():
            loop = asyncio.get_running_loop()
            heard = asyncio.Event()
            if {by!r} == "loop":
                loop.add_signal_handler(signal.SIGCHLD, heard.set)
            else:
                signal.signal(signal.SIGCHLD, lambda number, frame: loop.call_soon_threadsafe(heard.set))
            print(await spawn(childFDs={{}}).asFuture(loop))
            await heard.wait()
            print("theirs was called")
            if {by!r} == "loop":
                loop.remove_signal_handler(signal.SIGCHLD)
        interloop.run(main())
        """,
    ) == ["('', 3, None)", "theirs was called"]


def test_children_are_reaped_in_a_thread(told):
    # Twisted itself needs the main thread for that.
    assert told(
        "interloop",
        """
        import interloop.twisted, threading
        interloop.twisted.uninstall()

        def work():
            global reactor
            reactor = interloop.twisted.install()
            reactor.callWhenRunning(lambda: spawn(childFDs={}).addCallback(print).addCallback(lambda _: reactor.stop()))
            reactor.run(installSignalHandlers=False)
            interloop.twisted.uninstall()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        """,
    ) == ["('', 3, None)"]


def test_children_are_reaped_without_pidfds(told):
    # As on macOS, and on Linux before 5.3: by SIGCHLD, in the reactor's own run and in a joined loop.
    assert (
        told(
            "interloop",
            """
        import asyncio, interloop
        from interloop.twisted import children, life
        children.HAS_PIDFDS = life.HAS_PIDFDS = False

        def theirs(number, frame):
            print("theirs was called")
        signal.signal(signal.SIGCHLD, theirs)

        async def main():
            print(await spawn(childFDs={}).asFuture(asyncio.get_running_loop()))
        interloop.run(main())
        print(signal.getsignal(signal.SIGCHLD) is theirs)

        reactor.callWhenRunning(lambda: spawn(childFDs={}).addCallback(print).addCallback(lambda _: reactor.stop()))
        reactor.run()
        print(signal.getsignal(signal.SIGCHLD) is theirs)
        """,
        )
        == ["theirs was called", "('', 3, None)", "True"] * 2
    )


def test_sigchld_is_given_back_however_the_reactor_ends(told):
    assert (
        told(
            "interloop",
            """
        import asyncio, interloop
        from interloop.twisted import life
        life.HAS_PIDFDS = False
        before = signal.getsignal(signal.SIGCHLD)

        async def main(end):
            print(signal.getsignal(signal.SIGCHLD) == before, end=" ")
            end()
        loop = interloop.new_event_loop()
        for end in reactor.crash, reactor.stop, lambda: None:
            interloop.run(main(end))
            print(signal.getsignal(signal.SIGCHLD) == before)
        # Closed while a trigger waits for what will not come.
        reactor.addSystemEventTrigger("before", "shutdown", Deferred)
        loop.run_until_complete(main(lambda: None))
        loop.close()
        print(signal.getsignal(signal.SIGCHLD) == before)
        """,
        )
        == ["False True"] * 4
    )


def test_children_move_from_loop_to_loop(told):
    assert told(
        "interloop",
        """
        import asyncio, interloop

        read, write = os.pipe()
        os.set_inheritable(read, True)

        async def begin():
            ended.append(spawn("import os; os.read(0, 1); raise SystemExit(5)", childFDs={0: read}))
        ended = []
        interloop.run(begin())

        async def end():
            os.write(write, b"x")
            print(await ended[0].asFuture(asyncio.get_running_loop()))
        interloop.run(end())
        os.close(read), os.close(write)
        """,
    ) == ["('', 5, None)"]


def test_an_exit_that_leaves_a_child_behind_is_quiet(told):
    assert told(
        "interloop",
        """
        child = Child()
        reactor.spawnProcess(child, sys.executable, ["python", "-S", "-c", "import sys; sys.stdin.read()"], env=None)
        reactor.callWhenRunning(reactor.stop)
        reactor.run()
        print("stopped")
        """,
    ) == ["stopped"]
