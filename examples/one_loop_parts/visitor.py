"""aiohttp: a client that uses everything, knows what should come out, and says so if it does not.

Most of it goes through one long way: aiohttp asks Tornado over HTTP, Tornado asks the asyncio
service or Twisted over TCP, the asyncio service asks Twisted, and the answers go back. Each hop is a
real connection, and all the ends of all of them are served by the same loop.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import aiohttp

from interloop.bridge import as_future

from .kv import KeyValueClient
from .ledger import note, quietly
from .rules import MAX_LINE, MAX_VALUE


@dataclass
class Addresses:
    web: str
    kv: tuple[str, int]
    sums: tuple[str, int]


def expect(what: str, got: Any, wanted: Any) -> None:
    if got != wanted:
        raise SystemExit(f"{what}: expected {wanted!r}, but got {got!r}")


class Visitor:
    def __init__(
        self, session: aiohttp.ClientSession, store: KeyValueClient, where: Addresses
    ) -> None:
        self.session = session
        self.store = store
        self.where = where

    async def http(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Sends a request; the status, and the JSON that came with it."""
        async with self.session.request(method, self.where.web + path, data=body) as answer:
            result = await answer.json() if answer.content_length else None
        told = f": {result['error']}" if result and "error" in result else ""
        note("aiohttp", f"{method} {path} -> {answer.status}{told}")
        return answer.status, result

    async def raw(self, address: tuple[str, int], sent: bytes) -> str:
        """Sends bytes as they are, and reads a line: for what a well-behaved client never says."""
        reader, writer = await asyncio.open_connection(*address)
        writer.write(sent)
        answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
        note("asyncio", f"client: {sent!r:.20} -> {answer.decode().rstrip()}")
        return answer.decode().rstrip()

    async def look_around(self) -> None:
        """Everything works, whoever asks for it and whichever way it goes."""
        print("One store, four frameworks:")
        expect(
            "store a number",
            await self.http("PUT", "/store/apples", "3"),
            (200, {"key": "apples", "value": "3"}),
        )
        expect("store another", (await self.http("PUT", "/store/pears", "4"))[0], 200)
        expect(
            "read one",
            await self.http("GET", "/store/pears"),
            (200, {"key": "pears", "value": "4"}),
        )
        expect("add up", (await self.http("GET", "/sum?key=apples&key=pears"))[1]["sum"], 7)
        # The same store with Twisted's client, whose Deferreds a coroutine can await.
        await as_future(self.store.set("motto", "ein Loop für alle"))
        expect(
            "motto",
            await self.http("GET", "/store/motto"),
            (200, {"key": "motto", "value": "ein Loop für alle"}),
        )
        # Twisted's server waits for a coroutine here, which waits for Twisted's server.
        expect("sum over Twisted", await as_future(self.store.sum("apples", "pears", "apples")), 10)
        expect("delete", (await self.http("DELETE", "/store/pears"))[0], 204)

    async def all_at_once(self, count: int = 25) -> None:
        """Many requests in flight together, on the one thread."""
        print(f"{count} writes at once, then {count} sums, then {count} deletions:")
        names = [f"n{number}" for number in range(count)]
        stored = await asyncio.gather(
            *(self.http("PUT", f"/store/{name}", str(number)) for number, name in enumerate(names))
        )
        expect("all stored", {status for status, _ in stored}, {200})
        sums = await asyncio.gather(
            *(self.http("GET", f"/sum?key={name}&key=apples") for name in names)
        )
        expect(
            "all added up",
            [answer["sum"] for _, answer in sums],
            [number + 3 for number in range(count)],
        )
        gone = await asyncio.gather(*(self.http("DELETE", f"/store/{name}") for name in names))
        expect("all deleted", {status for status, _ in gone}, {204})

    async def misbehave(self) -> None:
        """What is wrong gets an answer that says what, everywhere; and nothing else happens."""
        print("Bad input:")
        for method, path, body, status, told in [
            ("GET", "/store/pears", None, 404, "no such key"),
            ("DELETE", "/store/pears", None, 404, "no such key"),
            ("PUT", "/store/a%20b", "1", 400, "a key is"),
            ("PUT", "/store/apples", "", 400, "a value has"),
            ("PUT", "/store/apples", "x" * (MAX_VALUE + 1), 400, "a value has"),
            ("PUT", "/store/apples", "2\r\nDELETE apples", 400, "one line"),
            ("PUT", "/store/apples", b"\xff\xfe", 400, "UTF-8"),
            ("POST", "/store/apples", "3", 405, "Method Not Allowed"),
            ("GET", "/sum?key=apples&key=motto", None, 400, "not a whole number"),
            ("GET", "/sum?key=apples&key=plums", None, 400, "there is no plums"),
            ("GET", "/sum", None, 400, "one or more keys"),
            ("GET", "/apples", None, 404, "there are /store"),
        ]:
            got, answer = await self.http(method, path, body)
            expect(f"{method} {path}", (got, told in answer["error"]), (status, True))
        for address, sent, told in [
            (self.where.kv, b"FLY apples\n", "but no 'FLY'"),
            (self.where.kv, b"SET apples\n", "a value has"),
            (self.where.kv, b"SET ../apples 3\n", "a key is"),
            (self.where.kv, b"SET apples \xff\n", "UTF-8"),
            (self.where.kv, b"SUM motto\n", "not a whole number"),
            (self.where.kv, b"SET apples " + b"9" * 10 * MAX_LINE + b"\n", "a line has at most"),
            (self.where.sums, b"\n", "one or more keys"),
            (self.where.sums, b"apples plums\n", "there is no plums"),
            (self.where.sums, b"\xff\n", "UTF-8"),
            (self.where.sums, b"apples " * 10 * MAX_LINE + b"\n", "a line has at most"),
        ]:
            answer = await self.raw(address, sent)
            expect(f"{sent!r:.20}", (answer[:6], told in answer), ("ERROR ", True))

    async def check_the_store(self) -> None:
        """After all that there is in the store what belongs there."""
        _, answer = await self.http("GET", "/store")
        expect("keys", answer, {"keys": ["apples", "motto"]})
        for key, value in ("apples", "3"), ("motto", "ein Loop für alle"):
            expect(key, await as_future(self.store.get(key)), value)
        print("The store has lost nothing.")


async def visit(store: KeyValueClient, where: Addresses) -> None:
    async with aiohttp.ClientSession() as session:
        visitor = Visitor(session, store, where)
        await visitor.look_around()
        with quietly():
            await visitor.all_at_once()
        await visitor.misbehave()
        await visitor.check_the_store()
