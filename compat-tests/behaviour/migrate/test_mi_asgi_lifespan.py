"""An ASGI application's lifespan in a Tornado program."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from mi_support import mounted

from interloop.migrate.asgi_in_tornado import ASGIMount


def lifespan(scope_seen, *answers):
    """An application that answers each question of its lifespan with the next of these; an exception is raised."""

    async def application(scope, receive, send):
        if scope["type"] == "http":
            scope_seen.append(scope["state"])
            scope["state"]["of the request"] = 1
            await send({"type": "http.response.start", "status": 200, "headers": []})
            return await send({"type": "http.response.body"})
        assert scope["type"] == "lifespan"
        scope["state"]["pool"] = scope_seen
        for answer in answers:
            scope_seen.append((await receive())["type"])
            if isinstance(answer, Exception):
                raise answer
            await send(answer)

    return application


STARTED = {"type": "lifespan.startup.complete"}
ENDED = {"type": "lifespan.shutdown.complete"}


def test_from_start_to_end(on_loop):
    seen = []

    async def main():
        async with (
            mounted(lifespan(seen, STARTED, ENDED)) as site,
            site.mount.lifespan() as state,
            httpx.AsyncClient() as client,
        ):
            assert seen == ["lifespan.startup"]
            await client.get(site.url("/"))
            await client.get(site.url("/"))
            assert state == {"pool": seen}
        # Each request has a state of its own, with the application's things in it.
        pool = {"pool": seen, "of the request": 1}
        assert seen == ["lifespan.startup", pool, pool, "lifespan.shutdown"]
        assert seen[1] is not seen[2]

    on_loop(main)


def run_lifespan(on_loop, application, mode):
    async def main():
        async with ASGIMount("/part", application, lifespan=mode).lifespan():
            pass

    on_loop(main)


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_failed_to_start(on_loop, mode):
    seen = []
    failed = {"type": "lifespan.startup.failed", "message": "no database"}
    with pytest.raises(RuntimeError, match="did not start: no database"):
        run_lifespan(on_loop, lifespan(seen, failed), mode)
    assert seen == ["lifespan.startup"]


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_failed_to_end(on_loop, mode):
    failed = {"type": "lifespan.shutdown.failed"}
    with pytest.raises(RuntimeError, match="did not end well: no reason given"):
        run_lifespan(on_loop, lifespan([], STARTED, failed), mode)


def test_unknown_to_the_application(on_loop):
    seen = []
    run_lifespan(on_loop, lifespan(seen, ValueError("what?")), "auto")
    assert seen == ["lifespan.startup"]
    with pytest.raises(ValueError, match=r"^what\?$"):
        run_lifespan(on_loop, lifespan(seen, ValueError("what?")), "on")
    del seen[:]
    run_lifespan(on_loop, lifespan(seen, ValueError("what?")), "off")
    assert seen == []


def test_raising_at_the_end(on_loop):
    with pytest.raises(ValueError, match=r"^late$"):
        run_lifespan(on_loop, lifespan([], STARTED, ValueError("late")), "auto")


def test_started_twice(on_loop):
    async def main():
        mount = ASGIMount("/part", lifespan([], STARTED, ENDED))
        await mount.startup()
        with pytest.raises(RuntimeError, match="started already"):
            await mount.startup()
        await mount.shutdown()
        await mount.shutdown()

    on_loop(main)


def test_cancelled_while_it_starts(on_loop):
    seen = []

    async def application(scope, receive, send):
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cleaned up")

    async def main():
        starting = asyncio.create_task(ASGIMount("/part", application).startup())
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert on_loop(main) == set()


def test_a_wrong_mode():
    with pytest.raises(ValueError, match="'auto', 'on' or 'off'"):
        ASGIMount("/part", lifespan([]), lifespan="maybe")
