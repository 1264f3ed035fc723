"""A line in ``tornado.access`` for a request that no handler of Tornado's has answered."""

from __future__ import annotations

import logging

import tornado.httputil
import tornado.log


def log(request: tornado.httputil.HTTPServerRequest, status: int) -> None:
    """As ``tornado.web.Application.log_request``, which wants a handler."""
    level = logging.INFO if status < 400 else logging.WARNING if status < 500 else logging.ERROR
    tornado.log.access_log.log(
        level,
        "%d %s %s (%s) %.2fms",
        status,
        request.method,
        request.uri,
        request.remote_ip,
        1000.0 * request.request_time(),
    )
