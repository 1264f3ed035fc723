"""Twisted: a key-value store that speaks lines, and a client for it.

    SET <key> <value>      OK
    GET <key>              VALUE <value>, or NONE
    DELETE <key>           OK, or NONE
    KEYS                   KEYS <key> <key> ...
    SUM <key> <key> ...    SUM <number>

Whatever is wrong with a line is answered by ERROR and the reason. Nothing here knows about asyncio,
except for SUM: that answer comes from a coroutine, which `as_deferred` turns into a Deferred.
"""

from collections import deque
from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

from interloop.bridge import as_deferred

from .ledger import note
from .rules import MAX_LINE, BadInput, as_text, check_key, check_value

log = Logger()


class KeyValueServer(LineReceiver):
    """One connection. `factory.store` is the store."""

    delimiter = b"\n"  # what netcat sends; the \r of telnet is taken off below
    MAX_LENGTH = MAX_LINE
    factory: "KeyValueFactory"

    def lineReceived(self, line: bytes) -> None:
        # One command at a time: the next line waits until this one has been answered.
        self.pauseProducing()
        answer = maybeDeferred(self.execute, line.removesuffix(b"\r"))
        answer.addErrback(self.explain)
        answer.addCallback(self.reply)

    def execute(self, line: bytes) -> str | Deferred[str]:
        command, _, rest = as_text(line).partition(" ")
        note("twisted", f"server: {command} {rest}")
        store = self.factory.store
        match command.upper():
            case "SET":
                key, _, value = rest.partition(" ")
                check_key(key)
                store[key] = check_value(value)
                return "OK"
            case "GET":
                value = store.get(check_key(rest))
                return "NONE" if value is None else f"VALUE {value}"
            case "DELETE":
                return "NONE" if store.pop(check_key(rest), None) is None else "OK"
            case "KEYS":
                return " ".join(["KEYS", *sorted(store)])
            case "SUM":
                # A coroutine in a Twisted protocol: as_deferred makes it something to wait for.
                total = as_deferred(self.factory.add_up(rest.split()))
                return total.addCallback(lambda number: f"SUM {number}")
        raise BadInput(f"there are SET, GET, DELETE, KEYS and SUM, but no {command[:20]!r}")

    def explain(self, failure: Failure) -> str:
        if failure.check(BadInput):
            return f"ERROR {failure.value}"
        log.failure("a command failed", failure)
        return "ERROR this went wrong on our side; the log has more"

    def reply(self, text: str) -> None:
        self.sendLine(text.encode())
        self.resumeProducing()

    def lineLengthExceeded(self, line: bytes) -> None:
        self.sendLine(f"ERROR a line has at most {MAX_LINE} bytes; goodbye".encode())
        # Not closed at once: with bytes left unread that would reset the connection, and the
        # client might never see the answer. We say that we are done, and wait for it to hang up.
        self.setRawMode()
        self.transport.loseWriteConnection()

    def rawDataReceived(self, data: bytes) -> None:
        """The rest of a line that is too long."""


class KeyValueFactory(Factory):
    protocol = KeyValueServer

    def __init__(self, add_up: Callable[[list[str]], Awaitable[int]]) -> None:
        self.store: dict[str, str] = {}
        self.add_up = add_up


class KeyValueClient(LineReceiver):
    """Each method sends a command and returns a Deferred with the answer."""

    delimiter = b"\n"
    MAX_LENGTH = 1 << 20  # KEYS may be long

    def __init__(self) -> None:
        self.waiting: deque[Deferred[str]] = deque()
        self.lost: Failure | None = None
        self.closed: Deferred[None] = Deferred()

    def set(self, key: str, value: str) -> Deferred[None]:
        return self.ask(f"SET {check_key(key)} {check_value(value)}").addCallback(lambda _: None)

    def get(self, key: str) -> Deferred[str | None]:
        def parse(answer: str) -> str | None:
            return None if answer == "NONE" else answer.removeprefix("VALUE ")

        return self.ask(f"GET {check_key(key)}").addCallback(parse)

    def delete(self, key: str) -> Deferred[bool]:
        return self.ask(f"DELETE {check_key(key)}").addCallback(lambda answer: answer == "OK")

    def keys(self) -> Deferred[list[str]]:
        return self.ask("KEYS").addCallback(lambda answer: answer.split()[1:])

    def sum(self, *keys: str) -> Deferred[int]:
        command = " ".join(["SUM", *map(check_key, keys)])
        return self.ask(command).addCallback(lambda answer: int(answer.removeprefix("SUM ")))

    def close(self) -> Deferred[None]:
        self.transport.loseConnection()
        return self.closed

    def ask(self, line: str) -> Deferred[str]:
        if self.lost is not None:
            return fail(self.lost)
        if len(line.encode()) > MAX_LINE:
            raise BadInput("that is too much for one line")
        answer: Deferred[str] = Deferred()
        self.waiting.append(answer)
        self.sendLine(line.encode())
        return answer.addCallback(self.refuse_errors)

    @staticmethod
    def refuse_errors(answer: str) -> str:
        if answer.startswith("ERROR "):
            raise BadInput(answer.removeprefix("ERROR "))
        return answer

    def lineReceived(self, line: bytes) -> None:
        note("twisted", f"client: {line.decode()}")
        self.waiting.popleft().callback(line.decode())  # answers come in the order of questions

    def connectionLost(self, reason: Failure) -> None:
        self.lost = reason
        while self.waiting:
            self.waiting.popleft().errback(reason)
        self.closed.callback(None)
