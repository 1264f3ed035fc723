"""Tornado: the store over HTTP.

    GET    /store                  every key
    PUT    /store/<key>            stores the body, one line of text
    GET    /store/<key>            its value
    DELETE /store/<key>
    GET    /sum?key=<k>&key=<k>    asks the sum service

Every answer is JSON, errors included. The handlers await Deferreds, through `as_future`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from tornado.web import Application, HTTPError, RequestHandler

from interloop.bridge import as_future

from .kv import KeyValueClient
from .ledger import note
from .rules import BadInput, as_text


class Handler(RequestHandler):
    def initialize(
        self, store: KeyValueClient, add_up: Callable[[list[str]], Awaitable[int]]
    ) -> None:
        self.store = store
        self.add_up = add_up

    def prepare(self) -> None:
        note("tornado", f"{self.request.method} {self.request.uri}")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None))[1]
        text = self._reason
        if isinstance(error, BadInput):
            self.set_status(400)
            text = str(error)
        elif isinstance(error, HTTPError) and error.log_message:
            text = error.log_message
        self.finish({"error": text})

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, (BadInput, HTTPError)):  # these are the user's, who is told
            super().log_exception(typ, value, tb)


class Keys(Handler):
    async def get(self) -> None:
        self.finish({"keys": await as_future(self.store.keys())})


class Item(Handler):
    async def get(self, key: str) -> None:
        value = await as_future(self.store.get(key))
        if value is None:
            raise HTTPError(404, "there is no such key")
        self.finish({"key": key, "value": value})

    async def put(self, key: str) -> None:
        value = as_text(self.request.body)
        await as_future(self.store.set(key, value))
        self.finish({"key": key, "value": value})

    async def delete(self, key: str) -> None:
        if not await as_future(self.store.delete(key)):
            raise HTTPError(404, "there is no such key")
        self.set_status(204)


class Sum(Handler):
    async def get(self) -> None:
        keys = self.get_arguments("key")
        self.finish({"keys": keys, "sum": await self.add_up(keys)})


class NothingHere(Handler):
    def prepare(self) -> None:
        super().prepare()
        raise HTTPError(404, "there are /store, /store/<key> and /sum?key=<key>")


def application(
    store: KeyValueClient, add_up: Callable[[list[str]], Awaitable[int]]
) -> Application:
    parts = {"store": store, "add_up": add_up}
    return Application(
        [(r"/store", Keys, parts), (r"/store/([^/]+)", Item, parts), (r"/sum", Sum, parts)],
        default_handler_class=NothingHere,
        default_handler_args=parts,
        log_function=lambda handler: None,  # the ledger tells
    )
