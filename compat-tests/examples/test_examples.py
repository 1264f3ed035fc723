"""Every example is run as a reader would run it: by its command, in a process of its own, from some other directory.

The interpreter shows all warnings, so that an example that leaves something open or un-awaited says so on stderr, where
nothing is to be. The `.tac` and `twist` services also run on Twisted's own reactor: they are to behave as they did there.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pathlib
import queue
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import urllib.parse

import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"

# Which test runs which example. test_every_example_is_run holds this against the folder.
RUN_BY: dict[str, str] = {}


def runs(example: str):
    def note(test):
        RUN_BY[example] = test.__name__
        return test

    return note


def python(*arguments: object) -> list[str]:
    return [sys.executable, "-W", "default", *map(str, arguments)]


def script(name: str, *arguments: object) -> list[str]:
    """A command that Twisted installs beside the interpreter. Twisted's web server uses what it deprecates."""
    return python(
        "-W",
        "ignore:twisted.web.resource:DeprecationWarning",
        pathlib.Path(sys.executable).with_name(name),
        *arguments,
    )


class Running:
    """A program that runs. Its stdout is read all the time, so that it never waits for us."""

    def __init__(self, command: list[str], cwd: pathlib.Path, env: dict[str, str]) -> None:
        self.errors = (cwd / "stderr").open("w+")
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=os.environ | {"PYTHONUNBUFFERED": "1"} | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.lines: list[str] = []
        self.unseen: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line)
            self.unseen.put(line)
        self.unseen.put(None)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match in a line that comes after those that were waited for before."""
        while (line := self.unseen.get()) is not None:
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"ended without {pattern!r}:\n{self.stdout()}{self.stderr()}")

    def stop(self, number: int) -> int:
        self.process.send_signal(number)
        return self.finish()

    def finish(self) -> int:
        self.process.wait()
        self.reader.join()
        return self.process.returncode

    def stdout(self) -> str:
        return "".join(self.lines)

    def stderr(self) -> str:
        self.errors.seek(0)
        return self.errors.read()


@pytest.fixture
def start(tmp_path):
    """start(command, **env): runs a command in an empty directory; killed at the end if it still runs."""
    with contextlib.ExitStack() as at_the_end:

        def start(command: list[str], **env: str) -> Running:
            running = Running(command, tmp_path, env)
            at_the_end.callback(running.errors.close)
            at_the_end.callback(running.process.stdout.close)
            at_the_end.callback(running.finish)
            at_the_end.callback(running.process.kill)
            return running

        yield start


class Talk:
    """A connection that sends and reads lines."""

    def __init__(self, address: tuple[str, int] | str) -> None:
        self.socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self.socket.connect(address)
        self.file = self.socket.makefile("rb")

    def read(self) -> str:
        line = self.file.readline()
        assert line.endswith(b"\n"), line
        return line.decode().rstrip("\n")

    def ask(self, line: str) -> str:
        self.socket.sendall(f"{line}\n".encode())
        return self.read()

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def vanish(self) -> None:
        """Closes by a reset, as a client that crashes may."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


@pytest.fixture
def talk():
    with contextlib.ExitStack() as at_the_end:

        def talk(address: tuple[str, int] | str) -> Talk:
            talking = Talk(address)
            at_the_end.callback(talking.close)
            return talking

        yield talk


RUN_BY.update(
    dict.fromkeys(
        (f"migration/{name}.py" for name in ("before", "halfway", "after")), "test_migration.py"
    )
)


def test_every_example_is_run():
    """An example without a test here is not an example but a claim."""
    there = {
        path.relative_to(EXAMPLES).as_posix()
        for path in EXAMPLES.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "dropin.cache"
    }
    parts = {path for path in there if path.startswith("one_loop_parts/")}
    # What its three programs share; each of them imports what it needs, or does not run.
    shared = {
        f"migration/{name}" for name in ("board.py", "old.py", "new.py", "serving.py", "page.html")
    }
    assert there - parts - shared == {"README.md", "requirements.txt", *RUN_BY}
    imported = "".join((EXAMPLES / path).read_text() for path in {"one_loop.py", *parts})
    for part in parts - {"one_loop_parts/__init__.py"}:
        stem = pathlib.PurePath(part).stem
        assert re.search(rf"^from (one_loop_parts)?\.?(import )?{stem}\b", imported, re.M), (
            f"nobody imports {part}"
        )


def test_readme_tells_of_every_example():
    readme = (EXAMPLES / "README.md").read_text()
    for example in RUN_BY:
        assert f"examples/{example}" in readme, f"README.md does not tell how to run {example}"


@runs("one_loop.py")
def test_one_loop(start):
    """It ends by itself, with exit code 0, having used all four frameworks in one thread on our loop."""
    running = start(python(EXAMPLES / "one_loop.py"))
    assert (running.finish(), running.stderr()) == (0, "")
    assert "The store has lost nothing.\n" in running.stdout()
    last = running.stdout().splitlines()[-1]
    assert re.fullmatch(
        r"aiohttp, asyncio, tornado, twisted: \d{3} things happened, threads: 1, loops: 1 \(interloop\.loop\.Loop\)",
        last,
    ), last


@pytest.fixture
def served(start):
    """one_loop.py --serve: the process, and the addresses that it prints."""
    running = start(python(EXAMPLES / "one_loop.py", "--serve"))
    web = urllib.parse.urlsplit(running.wait_for(r"curl (http://[\d.:]+)/store$").group(1))
    store, service = (running.wait_for(r"telnet ([\d.]+) (\d+)") for _ in range(2))
    running.wait_for("Ctrl-C ends it")
    running.web = (web.hostname, web.port)
    running.store = (store.group(1), int(store.group(2)))
    running.service = (service.group(1), int(service.group(2)))
    return running


def request(address: tuple[str, int], method: str, path: str, body: bytes | None = None):
    connection = http.client.HTTPConnection(*address)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None
    finally:
        connection.close()


def test_one_loop_serves(served, talk):
    """People with curl and telnet: what one writes the other reads, whichever framework is in between."""
    person, other = talk(served.store), talk(served.service)
    assert request(served.web, "PUT", "/store/apples", b"3") == (
        200,
        {"key": "apples", "value": "3"},
    )
    assert person.ask("GET apples") == "VALUE 3"
    assert person.ask("SET pears 4\r") == "OK"
    assert request(served.web, "GET", "/store/pears") == (200, {"key": "pears", "value": "4"})
    assert other.ask("apples pears\r") == "SUM 7"
    assert person.ask("SUM apples pears pears") == "SUM 11"
    assert request(served.web, "GET", "/sum?key=apples") == (200, {"keys": ["apples"], "sum": 3})
    assert person.ask("delete pears") == "OK"
    assert person.ask("GET pears") == "NONE"
    assert person.ask("KEYS") == "KEYS apples"
    # Several commands in one segment are answered in their order, also around one that has to wait.
    person.socket.sendall(b"SET a 1\nSUM a apples\nSET a 2\nSUM a apples\nGET a\n")
    assert [person.read() for _ in range(5)] == ["OK", "SUM 4", "OK", "SUM 5", "VALUE 2"]
    assert (served.stop(signal.SIGINT), served.stderr()) == (0, "")


def test_one_loop_and_bad_input(served, talk):
    """Each way in answers what is wrong with the input and goes on; the store is what it was."""
    person, other = talk(served.store), talk(served.service)
    assert person.ask("SET apples 3") == "OK"
    assert person.ask("SET motto  one  loop ") == "OK"

    for line, told in [
        ("", "ERROR there are SET, GET"),
        ("FLY", "ERROR there are SET, GET"),
        ("SET", "ERROR a key is"),
        ("SET apples", "ERROR a value has"),
        ("SET app*les 4", "ERROR a key is"),
        ("SET apples \0", "ERROR a value is one line"),
        ("GET", "ERROR a key is"),
        ("DELETE apples pears", "ERROR a key is"),
        ("SUM", "ERROR send one or more"),
        ("SUM apples motto", "ERROR motto is"),
        ("SUM " + "apples " * 500, "SUM 1500"),  # not bad, only long
    ]:
        answer = person.ask(line)
        assert answer.startswith(told), (line, answer)
    for line, told in [
        ("", "ERROR send one or more"),
        ("pears", "ERROR there is no pears"),
        ("apples motto", "ERROR motto is"),
        ("x" * 5000, "ERROR a line has at most"),
        ("x" * 500_000, "ERROR a line has at most"),
        ("app*les", "ERROR a key is"),
    ]:
        answer = other.ask(line)
        assert answer.startswith(told), (line[:20], answer)
    assert other.ask("apples") == "SUM 3"
    for method, path, body, status in [
        ("PUT", "/store/apples", b"", 400),
        ("PUT", "/store/apples", b"\xff", 400),
        ("PUT", "/store/apples", b"4\nDELETE apples", 400),
        ("PUT", "/store/apples", b"4" * 501, 400),
        ("PUT", "/store/app%0Ales", b"4", 400),
        ("PUT", "/store/" + "k" * 65, b"4", 400),
        ("PATCH", "/store/apples", b"4", 405),
        ("GET", "/store/pears", None, 404),
        ("GET", "/store/apples/3", None, 404),
        ("GET", "/sum?key=apples%20apples", None, 400),
        ("GET", "/sum?key=" + "&key=".join(["apples"] * 1000), None, 400),
    ]:
        got, answer = request(served.web, method, path, body)
        assert got == status, (method, path, answer)
        assert answer["error"]

    # Bytes that are no text, half a line from somebody who vanishes, and a line without an end.
    person.socket.sendall(b"SET apples \xff\xfe\n")
    assert person.read().startswith("ERROR only UTF-8")
    for address, half in (served.store, b"SET apples 9"), (served.service, b"apples"):
        gone = talk(address)
        gone.socket.sendall(half)
        gone.vanish()
    gone = talk(served.web)
    gone.socket.sendall(b"PUT /store/apples HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n9")
    gone.vanish()
    endless = talk(served.store)
    assert endless.ask("SET apples " + "9" * 500_000).startswith("ERROR a line has at most")
    assert endless.file.read() == b""  # it has said goodbye

    assert person.ask("KEYS") == "KEYS apples motto"
    assert person.ask("GET apples") == "VALUE 3"
    assert person.ask("GET motto") == "VALUE  one  loop "
    assert (served.stop(signal.SIGTERM), served.stderr()) == (0, "")


def test_one_loop_stops_with_clients_connected(served, talk):
    """Idle ones, and one in the middle of a line; both signals end it orderly."""
    idle, halfway, web = talk(served.store), talk(served.service), talk(served.web)
    assert idle.ask("KEYS") == "KEYS"
    halfway.socket.sendall(b"app")
    web.socket.sendall(b"GET /store HT")
    assert (served.stop(signal.SIGTERM), served.stderr()) == (0, "")
    assert "Stopping.\n" in served.stdout()
    assert idle.file.read() == b""


@runs("twisted_inside_asyncio.py")
def test_twisted_inside_asyncio(start):
    running = start(python(EXAMPLES / "twisted_inside_asyncio.py"))
    assert (running.finish(), running.stderr()) == (0, "")
    assert running.stdout().splitlines() == [
        "ten requests at once: 0 1 4 9 16 25 36 49 64 81",
        "a bad one: 400 a whole number, please",
        "no answer, so we gave up; the server noticed: Connection to the other side was lost in a non-clean fashion.",
        "and after its end: ConnectionRefusedError",
    ]


REACTORS = {
    "epoll": "twisted.internet.epollreactor.EPollReactor",
    "interloop": "interloop.twisted.AsyncioSelectorReactor",
}


@pytest.fixture(params=REACTORS)
def reactor(request) -> str:
    return request.param


def use_quotes(person: Talk) -> None:
    assert person.read().rstrip("\r") == "2 quotes"
    assert person.ask("2") == "Flat is better than nested."
    assert person.ask("3") == "a number up to 2, or: add <text>"
    assert person.ask("add Sparse is better than dense") == "added as 3"
    assert person.ask("3") == "Sparse is better than dense."


@runs("tac/quotes.tac")
def test_tac(start, talk, reactor):
    """In the foreground: its timer, its threads, its connections; ended by a signal as on Twisted's own reactor."""
    tac = EXAMPLES / "tac" / "quotes.tac"
    running = start(
        script("twistd", f"--reactor={reactor}", "--nodaemon", "--pidfile=", f"--python={tac}"),
        QUOTES_ENDPOINT="tcp:0:interface=127.0.0.1",
    )
    assert running.wait_for(r"reactor class: (.*)\.$").group(1) == REACTORS[reactor]
    port = int(running.wait_for(r"QuoteFactory starting on (\d+)").group(1))
    running.wait_for("0 visitors so far")
    use_quotes(talk(("127.0.0.1", port)))
    assert running.stop(signal.SIGTERM) == -signal.SIGTERM
    assert running.stderr() == ""
    assert "Server Shut Down." in running.stdout()
    assert "Traceback" not in running.stdout()


def test_tac_as_a_daemon(start, talk, reactor, tmp_path):
    """twistd forks after it has installed the reactor; the child serves, from threads and timers of its own."""
    tac = EXAMPLES / "tac" / "quotes.tac"
    where = tmp_path / "quotes.socket"
    running = start(
        script(
            "twistd",
            f"--reactor={reactor}",
            "--pidfile=quotes.pid",
            "--logfile=quotes.log",
            f"--python={tac}",
        ),
        QUOTES_ENDPOINT=f"unix:{where}",
    )
    # twistd ends when its child has told it that the service is started.
    assert (running.finish(), running.stdout(), running.stderr()) == (0, "", "")
    process = os.pidfd_open(int((tmp_path / "quotes.pid").read_text()))
    try:
        use_quotes(talk(str(where)))
    finally:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        select.select([process], [], [])
        os.close(process)
    log = (tmp_path / "quotes.log").read_text()
    assert f"reactor class: {REACTORS[reactor]}." in log
    assert "0 visitors so far" in log
    assert "Server Shut Down." in log
    assert "Traceback" not in log


def test_twist(start, reactor):
    """A service that comes with Twisted: its web server, which shows the examples' own README."""
    command = script("twist", f"--reactor={reactor}", "--log-format=text", "web")
    running = start([*command, "--listen=tcp:0:interface=127.0.0.1", f"--path={EXAMPLES}"])
    port = int(running.wait_for(r"Site starting on (\d+)").group(1))
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(2):  # over one connection
        connection.request("GET", "/README.md")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, (EXAMPLES / "README.md").read_bytes())
    connection.request("GET", "/nothing")
    answer = connection.getresponse()
    assert answer.status == 404
    answer.read()
    connection.close()
    assert running.stop(signal.SIGTERM) == -signal.SIGTERM
    assert running.stderr() == ""
    assert "Traceback" not in running.stdout()
