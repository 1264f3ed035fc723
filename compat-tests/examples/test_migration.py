"""The three stages of the migration guide's application get the same requests and give the same answers.

Each is run by its command, in a process of its own, and used by clients that people use.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import httpx
import pytest
import websockets
from websockets.exceptions import ConnectionClosed

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples" / "migration"
STAGES = ("before", "halfway", "after")
# Debian's: chromium-headless-shell is the smaller package.
CHROMIUM = shutil.which("chromium-headless-shell", path="/usr/bin") or shutil.which(
    "chromium", path="/usr/bin"
)


@contextlib.contextmanager
def stage(name: str, folder: pathlib.Path):
    """Its address, while it runs. It ends by a signal, orderly and without a complaint."""
    command = [
        sys.executable,
        "-W",
        "default",
        "-W",
        "error::ResourceWarning",
        EXAMPLES / f"{name}.py",
    ]
    with (folder / f"{name}.stderr").open("w+") as errors:
        process = subprocess.Popen(
            [*map(str, command), "--port=0"],
            cwd=folder,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            line = process.stdout.readline()
            assert line.startswith("serving on http://127.0.0.1:"), line + text_of(errors)
            yield line.split()[2].rstrip("/")
            process.send_signal(signal.SIGTERM)
            code = process.wait()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        # uvicorn ends by the signal itself, when all is done.
        assert (code in (0, -signal.SIGTERM), text_of(errors)) == (True, "")


def text_of(file) -> str:
    """What the program complained of. That requests were answered 404 is in Tornado's log, and right."""
    file.seek(0)
    return "".join(line for line in file if not re.match(r"40[45] [A-Z]+ /", line))


def answer(response: httpx.Response) -> tuple:
    """What a client sees, but for what each server says of itself."""
    kind = response.headers.get("content-type", "").replace(" ", "").lower()
    try:
        body = response.json()
    except ValueError:
        body = response.text
    return response.status_code, kind.partition(";")[0], body


async def in_pieces(*pieces: bytes):
    """A body whose length nobody knows beforehand."""
    for piece in pieces:
        yield piece


async def followers(client: httpx.AsyncClient, number: int) -> None:
    """Waits until the application has so many: what it knows of its clients' coming and going."""
    while (await client.get("/count")).json()["followers"] != number:
        pass


async def use(url: str) -> list:
    """All that a client can do with the application, and what comes of it."""
    seen = []
    socket_url = url.replace("http", "ws", 1)
    async with httpx.AsyncClient(base_url=url) as client:
        # Requests and answers.
        seen.append(answer(await client.get("/")))
        seen.append(answer(await client.get("/count")))
        seen.append(answer(await client.post("/api/notes", content=b"one\ntwo\n")))
        seen.append(
            answer(await client.post("/api/notes", content=in_pieces(b"thr", b"ee\nfo", b"ur\n")))
        )
        seen.append(answer(await client.get("/api/notes")))
        seen.append(answer(await client.head("/count"))[0])
        seen.append(answer(await client.get("/missing"))[0])
        seen.append(answer(await client.get("/api/missing"))[0])
        seen.append(answer(await client.delete("/api/notes"))[0])

        # A large upload, streamed; it is there as a whole.
        many = b"".join(b"note %d, %s\n" % (number, b"x" * 200) for number in range(1_000))
        pieces = (many[start : start + 50_000] for start in range(0, len(many), 50_000))
        seen.append(answer(await client.post("/api/notes", content=in_pieces(*pieces))))
        notes = (await client.get("/api/notes")).json()["notes"]
        seen.append((len(notes), notes[-1]))

        # Streams without an end: notes come while they are made, and a client that goes away is noticed.
        for feed in ("/api/feed", "/feed"):
            async with client.stream("GET", feed) as stream:
                lines = stream.aiter_lines()
                first = [await anext(lines) for _ in range(1_004)]
                seen.append(
                    (feed, stream.status_code, stream.headers["content-type"], first[3], first[-1])
                )
                await followers(client, 1)
                await client.post("/api/notes", content=b"while it streams\n")
                seen.append(await anext(lines))
            await followers(client, 0)
            await client.post("/api/notes", content=b"to nobody\n")
            # Later ones see other notes: they start where this one ended.
            seen.append(answer(await client.get("/count")))

        # Websockets: two who hear each other, one of whom goes away without a word, and a polite one.
        for chat in ("/api/chat", "/chat"):
            count = (await client.get("/count")).json()["notes"]
            async with (
                websockets.connect(socket_url + chat, proxy=None) as one,
                websockets.connect(socket_url + chat, proxy=None) as other,
            ):
                for socket in (one, other):
                    for _ in range(count):
                        last = await socket.recv()
                await followers(client, 2)
                await one.send(f"hello, {chat} ü")
                seen.append((last, await one.recv(), await other.recv()))
                other.transport.abort()
                await followers(client, 1)
                await one.send("bye")
                with pytest.raises(ConnectionClosed) as closed:
                    await one.recv()
                seen.append((closed.value.rcvd.code, closed.value.rcvd.reason))
            await followers(client, 0)

        # An upload that breaks off: what was whole is there, and nobody is hurt.
        _reader, writer = await asyncio.open_connection(*url.rpartition("/")[2].split(":"))
        writer.write(
            b"POST /api/notes HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nbroken\noff"
        )
        await writer.drain()
        while (await client.get("/api/notes")).json()["notes"][-1] != "broken":
            pass
        writer.close()
        await writer.wait_closed()
        seen.append(answer(await client.get("/count")))
    return seen


def test_the_stages_give_the_same_answers(tmp_path):
    answers = {}
    for name in STAGES:
        with stage(name, tmp_path) as url:
            answers[name] = asyncio.run(use(url))
    before = answers["before"]
    assert before[1:5] == [
        (200, "application/json", {"notes": 0, "followers": 0}),
        (200, "application/json", {"added": 2}),
        (200, "application/json", {"added": 2}),
        (200, "application/json", {"notes": ["one", "two", "three", "four"]}),
    ]
    assert before[5:9] == [405, 404, 404, 405]
    assert (4000, "bye") in before
    assert before[-1] == (200, "application/json", {"notes": 1_011, "followers": 0})
    assert [json.dumps(seen) for seen in answers["halfway"]] == [
        json.dumps(seen) for seen in before
    ]
    assert [json.dumps(seen) for seen in answers["after"]] == [json.dumps(seen) for seen in before]


@pytest.mark.skipif(CHROMIUM is None, reason="there is no /usr/bin/chromium-headless-shell")
@pytest.mark.parametrize("name", STAGES)
def test_in_a_browser(name, tmp_path):
    """The page opens its websocket, asks for the notes and says on the board what it has seen."""

    async def three_notes(client):
        async with client.stream("GET", "/api/feed", timeout=None) as stream:
            lines = stream.aiter_lines()
            return [await anext(lines) for _ in range(3)]

    async def look(url):
        async with httpx.AsyncClient(base_url=url) as client:
            await client.post("/api/notes", content=b"one\ntwo\n")
            browser = await asyncio.create_subprocess_exec(
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                f"--user-data-dir={tmp_path / 'profile'}",
                "--remote-debugging-port=0",
                f"{url}/#report",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Debian's is a script that starts the browser: they are to end together.
                start_new_session=True,
            )
            seen = asyncio.ensure_future(three_notes(client))
            ended = asyncio.ensure_future(browser.wait())
            try:
                await asyncio.wait((seen, ended), return_when=asyncio.FIRST_COMPLETED)
                assert not ended.done(), f"the browser ended by itself, with code {ended.result()}"
                return await seen
            finally:
                seen.cancel()
                if not ended.done():
                    os.killpg(browser.pid, signal.SIGKILL)
                await ended

    with stage(name, tmp_path) as url:
        assert asyncio.run(look(url)) == ["one", "two", "a browser has seen 2 notes"]
