"""Applications of the frameworks people move to, mounted, and under uvicorn: the same answers."""

from __future__ import annotations

import asyncio

import fastapi
import httpx
import pytest
import websockets
from mi_support import asgi_serving
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute


def starlette_application(gone):
    async def upload(request):
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
        return JSONResponse(
            {"size": size, "url": request.url.path, "root": request.scope["root_path"]}
        )

    async def stream(request):
        async def numbers():
            try:
                for number in range(int(request.query_params["count"])):
                    yield f"{number}\n"
                while "for ever" in request.query_params:
                    yield "more\n"
                    await asyncio.sleep(0)
            finally:
                gone.set()

        return StreamingResponse(numbers(), media_type="text/plain")

    async def fail(request):
        raise ZeroDivisionError("on purpose")

    async def chat(socket):
        await socket.accept(socket.scope["subprotocols"][0])
        async for text in socket.iter_text():
            await socket.send_text(text.upper())
        gone.set()

    return Starlette(
        routes=[
            Route("/upload", upload, methods=["POST"]),
            Route("/stream", stream),
            Route("/fail", fail),
            WebSocketRoute("/chat", chat),
        ]
    )


def fastapi_application(gone):

    application = fastapi.FastAPI()

    @application.post("/upload")
    async def upload(request: fastapi.Request):
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
        return {"size": size, "url": request.url.path, "root": request.scope["root_path"]}

    @application.get("/stream")
    async def stream(count: int, for_ever: str = fastapi.Query(None, alias="for ever")):
        async def numbers():
            try:
                for number in range(count):
                    yield f"{number}\n"
                while for_ever is not None:
                    yield "more\n"
                    await asyncio.sleep(0)
            finally:
                gone.set()

        return StreamingResponse(numbers(), media_type="text/plain")

    @application.get("/fail")
    async def fail():
        raise ZeroDivisionError("on purpose")

    @application.websocket("/chat")
    async def chat(socket: fastapi.WebSocket):
        await socket.accept(socket.scope["subprotocols"][0])
        async for text in socket.iter_text():
            await socket.send_text(text.upper())
        gone.set()

    return application


APPLICATIONS = {"starlette": starlette_application, "fastapi": fastapi_application}


@pytest.fixture(params=APPLICATIONS)
def framework(request):
    return APPLICATIONS[request.param]


async def ask(site, client, gone):
    """What the frameworks answer, all of it."""
    upload = await client.post(site.url("/upload"), content=b"x" * 1_000_000)
    stream = await client.get(site.url("/stream?count=1000"))
    missing = await client.get(site.url("/missing"))
    fail = await client.get(site.url("/fail"))
    gone.clear()
    async with client.stream(
        "GET", site.url("/stream"), params={"count": 1, "for ever": ""}
    ) as endless:
        async for line in endless.aiter_lines():
            if line == "more":
                break
    await gone.wait()
    gone.clear()
    async with websockets.connect(site.url("/chat", "ws"), subprotocols=["loud"], proxy=None) as ws:
        await ws.send("hello")
        said = ws.subprotocol, await ws.recv()
    await gone.wait()
    return (
        upload.json(),
        stream.text,
        missing.status_code,
        (fail.status_code, fail.text),
        endless.status_code,
        said,
    )


@pytest.mark.parametrize("host", ["uvicorn", "mounted"])
def test_framework(on_loop, framework, host, logs):
    async def main():
        gone = asyncio.Event()
        async with asgi_serving(host, framework(gone)) as site, httpx.AsyncClient() as client:
            return await ask(site, client, gone)

    upload, stream, missing, fail, endless, said = on_loop(main)
    assert upload == {"size": 1_000_000, "url": "/part/upload", "root": "/part"}
    assert stream == "".join(f"{number}\n" for number in range(1000))
    assert (missing, fail, endless) == (404, (500, "Internal Server Error"), 200)
    assert said == ("loud", "HELLO")
    assert logs.take("Exception in ASGI application").exc_info[0] is ZeroDivisionError


@pytest.fixture(scope="module")
def django_application():
    """Of a project in one file; Django is configured once in a process."""
    import django
    from django.conf import settings
    from django.http import HttpResponse, StreamingHttpResponse
    from django.urls import path, reverse

    async def upload(request):
        return HttpResponse(f"{len(request.body)} {request.path} {reverse('upload')}")

    def plain(request):
        return HttpResponse(f"a view in a thread, {request.META['REMOTE_ADDR']}")

    async def stream(request):
        async def numbers():
            for number in range(1000):
                yield f"{number}\n"

        return StreamingHttpResponse(numbers(), content_type="text/plain")

    class Urls:
        urlpatterns = (
            path("upload", upload, name="upload"),
            path("plain", plain),
            path("stream", stream),
        )

    settings.configure(
        ROOT_URLCONF=Urls, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="x", LOGGING_CONFIG=None
    )
    django.setup()
    from django.core.handlers.asgi import ASGIHandler

    return ASGIHandler()


@pytest.mark.parametrize("host", ["uvicorn", "mounted"])
def test_django(on_loop, django_application, host):
    async def main():
        async with asgi_serving(host, django_application) as site, httpx.AsyncClient() as client:
            upload = await client.post(site.url("/upload"), content=b"x" * 1_000_000)
            plain = await client.get(site.url("/plain"))
            stream = await client.get(site.url("/stream"))
            return upload.text, plain.text, stream.text

    upload, plain, stream = on_loop(main)
    assert upload == "1000000 /part/upload /part/upload"
    assert plain == "a view in a thread, 127.0.0.1"
    assert stream == "".join(f"{number}\n" for number in range(1000))
