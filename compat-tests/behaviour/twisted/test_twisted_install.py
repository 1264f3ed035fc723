"""interloop.twisted.install(), and --reactor=interloop."""

from __future__ import annotations

import os
import pathlib
import pickle
import signal
import socket
import subprocess
import sys
import textwrap


def test_install_makes_it_the_reactor_and_its_loop_the_current_one(program):
    assert program(
        None,
        """
        import asyncio, warnings
        import interloop, interloop.twisted
        installed = interloop.twisted.install()
        from twisted.internet import reactor
        print(reactor is installed, type(reactor) is interloop.twisted.Reactor)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            print(asyncio.get_event_loop_policy().get_event_loop() is reactor._asyncioEventloop)
        print(interloop.twisted.install() is installed)
        loop = interloop.new_event_loop()
        try:
            interloop.twisted.install(loop)
        except Exception as error:
            print(type(error).__name__)
        loop.close()
        """,
    ) == ["True True", "True", "True", "ReactorAlreadyInstalledError"]


def test_install_on_a_given_loop(program):
    assert program(
        None,
        """
        import interloop, interloop.twisted
        loop = interloop.new_event_loop()
        interloop.twisted.install(loop)
        interloop.twisted.install(loop)
        from twisted.internet import reactor
        loop.call_soon(print, "on the loop")
        reactor.callLater(0, reactor.stop)
        reactor.run()
        loop.close()
        """,
    ) == ["on the loop"]


def test_importing_installs_nothing(program):
    assert program(
        None, "import sys, interloop.twisted; print('twisted.internet.reactor' in sys.modules)"
    ) == ["False"]


def test_another_loop_that_runs_is_refused(program):
    assert program(
        None,
        """
        import asyncio, interloop.twisted, sys

        async def main():
            try:
                interloop.twisted.install()
            except TypeError as error:
                print(error)
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(main())
        print("twisted.internet.reactor" in sys.modules)
        """,
    )[1:] == ["False"]


def test_uninstall_makes_room_for_another_one(program):
    assert program(
        None,
        """
        import interloop, interloop.twisted, sys, os
        interloop.twisted.uninstall()
        from twisted.internet.abstract import FileDescriptor

        for _ in range(2):
            reactor = interloop.twisted.install()

            class Reader(FileDescriptor):
                fileno = lambda self: read
                connectionLost = lambda self, reason: print("lost")

            read, write = os.pipe()
            reactor.addReader(Reader(reactor))
            call = reactor.callLater(60, print)

            async def main():
                try:
                    interloop.twisted.uninstall()
                except RuntimeError as error:
                    print(error)
                reactor.addReader(Reader(reactor))
            interloop.run(main())
            reactor.addReader(Reader(reactor))
            interloop.twisted.uninstall()
            print(call.active(), "twisted.internet.reactor" in sys.modules)
            os.close(read), os.close(write)

        async def main():
            print(reactor.running)
        interloop.run(main())

        from twisted.internet import reactor
        print(isinstance(reactor, interloop.twisted.Reactor))
        """,
    ) == [
        "the reactor is running: stop it, or the loop that it has joined, first",
        "lost",
        "lost",
        "False False",
    ] * 2 + ["False", "False"]


def test_uninstall_gives_the_current_loop_back(program):
    assert (
        program(
            None,
            """
        import asyncio, interloop, interloop.twisted, sys, threading

        def current():
            try:
                return asyncio.get_event_loop()
            except DeprecationWarning:
                return "would be made"
            except RuntimeError:
                return "would be made" if sys.version_info >= (3, 14) else "none"

        def there_and_back(*, meanwhile=lambda: None, loop=None):
            interloop.twisted.install(loop)
            meanwhile()
            interloop.twisted.uninstall()
            return current()

        if sys.version_info >= (3, 12):
            # Before that it makes one without a word.
            assert there_and_back() == "would be made"
            assert there_and_back() == "would be made"
        given, mine, other = (interloop.new_event_loop() for _ in range(3))
        asyncio.set_event_loop(mine)
        assert there_and_back() is mine
        assert there_and_back(loop=given) is mine
        assert there_and_back(meanwhile=lambda: interloop.run(asyncio.sleep(0))) is mine
        # It is somebody else's by then.
        assert there_and_back(meanwhile=lambda: asyncio.set_event_loop(other)) is other

        interloop.twisted.install()
        thread = threading.Thread(target=interloop.twisted.uninstall)
        thread.start()
        thread.join()
        assert current().is_closed()
        asyncio.set_event_loop(None)
        assert there_and_back() in ("none", "would be made")
        for loop in given, mine, other:
            loop.close()
        """,
        )
        == []
    )


def test_uninstall_and_a_policy_of_the_programs_own(program):
    assert (
        program(
            None,
            """
        import asyncio, interloop, interloop.twisted, warnings
        warnings.simplefilter("ignore", DeprecationWarning)

        class Policy(asyncio.AbstractEventLoopPolicy):
            loop = None

            def get_event_loop(self):
                if self.loop is None:
                    raise RuntimeError
                return self.loop

            def set_event_loop(self, loop):
                self.loop = loop

        policy = Policy()
        asyncio.set_event_loop_policy(policy)
        for loop in None, interloop.new_event_loop():
            policy.loop = loop
            interloop.twisted.install()
            assert policy.loop is not loop
            interloop.twisted.uninstall()
            assert policy.loop is loop
        loop.close()
        """,
        )
        == []
    )


def script(name: str) -> str:
    """The console script that came with the Twisted of this environment."""
    return str(pathlib.Path(sys.executable).with_name(name))


def run(*command: str, cwd: pathlib.Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_reactors_are_listed_without_importing_ours(program):
    assert program(
        None,
        """
        import sys
        from twisted.application.reactors import getReactorTypes
        (ours,) = [installer for installer in getReactorTypes() if installer.shortName == "interloop"]
        print(ours.description)
        print("interloop" in sys.modules)
        ours.install()
        from twisted.internet import reactor
        print(type(reactor).__module__)
        """,
    ) == [
        "interloop: one event loop in Rust, shared with asyncio and Tornado.",
        "False",
        "interloop.twisted",
    ]


def test_a_cache_from_before_the_plugin_does_not_hide_it(program, tmp_path):
    # What pip leaves when it installs us beside a Twisted that has listed its plugins already.
    import twisted.plugins

    (source,) = [
        path
        for folder in twisted.plugins.__path__
        if (path := pathlib.Path(folder, "interloop_reactor.py")).exists()
    ][:1]
    plugins = tmp_path / "site" / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    plugins.joinpath("interloop_reactor.py").write_text(source.read_text())
    os.utime(plugins / "interloop_reactor.py", (0, 0))
    plugins.joinpath("dropin.cache").write_bytes(pickle.dumps({}))
    assert program(
        None,
        f"""
        import sys
        sys.path.insert(0, {str(tmp_path / "site")!r})
        from twisted.application.reactors import getReactorTypes
        names = [installer.shortName for installer in getReactorTypes()]
        print("interloop" in names)
        import pickle
        with open({str(plugins / "dropin.cache")!r}, "rb") as cache:
            print(*pickle.load(cache))
        """,
    ) == ["True", "interloop_reactor"]


TEST_MODULE = """
from twisted.internet import reactor, task
from twisted.trial.unittest import TestCase

class Tests(TestCase):
    def test_asynchronous(self):
        self.assertEqual(type(reactor).__module__, "interloop.twisted")
        return task.deferLater(reactor, 0.001, lambda: None)

    def test_another(self):
        return task.deferLater(reactor, 0.001, lambda: None)
"""


def test_trial(tmp_path):
    tmp_path.joinpath("test_with_trial.py").write_text(TEST_MODULE)
    told = run(
        script("trial"),
        "--reactor=interloop",
        "test_with_trial",
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert "PASSED (successes=2)" in told


SERVICE = """
import os
from twisted.application.service import Application, IServiceMaker, Service
from twisted.internet import reactor
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver

class Lines(LineReceiver):
    delimiter = b"\\n"
    def lineReceived(self, line):
        self.sendLine(b"%s %s %d" % (line, type(reactor).__module__.encode(), os.getpid()))
        if line == b"stop":
            self.transport.loseConnection()
            reactor.callLater(0, reactor.stop)

# All of this happens before twistd forks.
port = reactor.listenTCP(0, Factory.forProtocol(Lines), interface="127.0.0.1")
with open("port", "w") as file:
    file.write(f"{port.getHost().port} {os.getpid()}")

def due():
    with open("timer", "w") as file:
        file.write(str(os.getpid()))
reactor.callLater(0, due)
application = Application("lines")
"""


def talk(tmp_path: pathlib.Path, *lines: str) -> list[str]:
    port = int(tmp_path.joinpath("port").read_text().split()[0])
    with socket.create_connection(("127.0.0.1", port)) as sock, sock.makefile("rw") as stream:
        answers = []
        for line in lines:
            stream.write(f"{line}\n")
            stream.flush()
            answers.append(stream.readline().strip())
        assert stream.read() == ""
    return answers


def test_twistd_in_the_background(tmp_path):
    """twistd forks after install(): the child has the port and the timer that were made before."""
    tmp_path.joinpath("service.tac").write_text(SERVICE)
    # Returns when the child has said that it is running.
    run(script("twistd"), "--reactor=interloop", "-y", "service.tac", "-l", "log", cwd=tmp_path)
    daemon = int(tmp_path.joinpath("twistd.pid").read_text())
    before_fork = int(tmp_path.joinpath("port").read_text().split()[1])
    assert daemon != before_fork
    assert talk(tmp_path, "hello", "stop") == [
        f"hello interloop.twisted {daemon}",
        f"stop interloop.twisted {daemon}",
    ]
    assert int(tmp_path.joinpath("timer").read_text()) == daemon
    # It is nobody's child. Its last act is to remove its file, and then the log's last line is written.
    while tmp_path.joinpath("twistd.pid").exists():
        os.sched_yield()
    log = tmp_path.joinpath("log").read_text()
    assert "reactor class: interloop.twisted." in log
    assert "Traceback" not in log


def test_twistd_in_the_foreground_and_a_signal(tmp_path):
    tmp_path.joinpath("service.tac").write_text(SERVICE)
    process = subprocess.Popen(
        [script("twistd"), "--reactor=interloop", "-n", "-y", "service.tac"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        while "reactor class: interloop.twisted." not in process.stdout.readline():
            assert process.poll() is None
        # The line is written just before run(), the answer in it.
        port = int(tmp_path.joinpath("port").read_text().split()[0])
        with socket.create_connection(("127.0.0.1", port)) as sock, sock.makefile("rw") as stream:
            stream.write("hello\n")
            stream.flush()
            assert stream.readline() == f"hello interloop.twisted {process.pid}\n"
            process.terminate()
            rest = process.stdout.read()
        # It ends by the signal, as a process that does not catch it would.
        assert process.wait() == -signal.SIGTERM
    finally:
        process.kill()
        process.communicate()
    assert "Received SIGTERM, shutting down." in rest
    assert "Traceback" not in rest


PLUGIN = """
from zope.interface import implementer
from twisted.application.service import IServiceMaker, Service
from twisted.plugin import IPlugin
from twisted.python.usage import Options

class Once(Service):
    def startService(self):
        from twisted.internet import reactor
        print("started on", type(reactor).__module__, flush=True)
        reactor.callWhenRunning(reactor.callLater, 0, reactor.stop)

@implementer(IServiceMaker, IPlugin)
class Maker:
    tapname, description, options = "once", "stops when it has started", Options
    def makeService(self, options):
        return Once()

maker = Maker()
"""


def test_twist(tmp_path):
    folder = tmp_path / "twisted" / "plugins"
    folder.mkdir(parents=True)
    folder.joinpath("once_plugin.py").write_text(textwrap.dedent(PLUGIN))
    told = run(
        script("twist"),
        "--reactor=interloop",
        "once",
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PYTHONUNBUFFERED": "1"},
    )
    assert "started on interloop.twisted" in told
