"""asyncio: a streams service that adds up numbers from the store.

A line holds one or more keys; the answer is `SUM <number>`, or `ERROR` and the reason. The store is
Twisted's: its client answers with Deferreds, and `as_future` makes them awaitable.
"""

import asyncio

from interloop.bridge import as_future

from .kv import KeyValueClient
from .ledger import note
from .rules import MAX_LINE, BadInput, as_text, check_key

TOO_LONG = f"ERROR a line has at most {MAX_LINE} bytes"


class SumService:
    """The server, and in ask() a client for it."""

    def __init__(self) -> None:
        self.open: dict[asyncio.StreamWriter, asyncio.Task] = {}

    async def start(self, store: KeyValueClient, host: str, port: int) -> None:
        self.store = store
        self.server = await asyncio.start_server(self.serve, host, port, limit=MAX_LINE)
        self.address = self.server.sockets[0].getsockname()

    async def stop(self) -> None:
        """No new connections; those there are get to the end of what they are doing."""
        self.server.close()
        for writer in self.open:
            writer.close()
        if self.open:
            await asyncio.wait(self.open.values())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.open[writer] = asyncio.current_task()
        try:
            while (line := await read_line(reader)) != b"":
                answer = TOO_LONG if line is None else await self.answer(line)
                writer.write(f"{answer}\n".encode())
                await writer.drain()
        except ConnectionError:
            pass  # the client has gone, and nobody is left to answer
        finally:
            writer.close()
            del self.open[writer]

    async def answer(self, line: bytes) -> str:
        try:
            keys = as_text(line).split()
            note("asyncio", f"service: add up {' '.join(keys)}")
            if not keys:
                raise BadInput("send one or more keys in a line")
            # All at once: the answers come back over one connection, in order.
            values = await asyncio.gather(*(self.number(key) for key in keys))
            return f"SUM {sum(values)}"
        except BadInput as wrong:
            return f"ERROR {wrong}"

    async def number(self, key: str) -> int:
        value = await as_future(self.store.get(check_key(key)))
        if value is None:
            raise BadInput(f"there is no {key}")
        try:
            return int(value)
        except ValueError:
            raise BadInput(f"{key} is {value[:40]!r}, which is not a whole number") from None

    async def ask(self, keys: list[str]) -> int:
        """Connects to the service, asks, and hangs up."""
        line = " ".join(map(check_key, keys))
        if len(line) >= MAX_LINE:
            raise BadInput("that is too much for one line")
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            writer.write(f"{line}\n".encode())
            answer = (await reader.readline()).decode().rstrip()
        finally:
            writer.close()
            await writer.wait_closed()
        if not answer.startswith("SUM "):
            raise BadInput(answer.removeprefix("ERROR ") or "the sum service hung up")
        return int(answer.removeprefix("SUM "))


async def read_line(reader: asyncio.StreamReader) -> bytes | None:
    """The next line; b"" at the end; None for one that is too long, which is read and dropped."""
    fits = True
    while True:
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as end:
            line = end.partial
        except asyncio.LimitOverrunError as over:
            await reader.readexactly(over.consumed)
            fits = False
            continue
        return line if fits else None
