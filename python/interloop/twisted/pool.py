"""The reactor's threads, and in which context they do their work."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable
from typing import Any

from twisted.python.threadpool import ThreadPool


class ContextThreadPool(ThreadPool):
    """Twisted's, but each call runs in a copy of its caller's context, as in `asyncio.to_thread()`.

    `onResult`, which has `deferToThread` fire its Deferred, is called in another copy: the callbacks see what the caller
    saw, and not what the function has changed.
    """

    def callInThreadWithCallback(
        self,
        onResult: Callable[[bool, Any], object] | None,
        func: Callable[..., Any],
        *args: Any,
        **kw: Any,
    ) -> None:
        context = contextvars.copy_context()
        if onResult is not None:
            run_result: Callable[..., Any] = context.copy().run
            onResult = functools.partial(run_result, onResult)
        run: Callable[..., Any] = context.run
        super().callInThreadWithCallback(onResult, run, func, *args, **kw)
