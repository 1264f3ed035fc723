"""The stock loop with its private names, which its published types leave out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:

    class StockLoop(asyncio.SelectorEventLoop):
        """What `interloop.Loop` uses of it beyond the documented methods."""

        def _check_running(self) -> None: ...
        def _set_coroutine_origin_tracking(self, enabled: bool) -> None: ...
        def _asyncgen_firstiter_hook(self, agen: Any) -> None: ...
        def _asyncgen_finalizer_hook(self, agen: Any) -> None: ...
        def _handle_signal(self, sig: int) -> None: ...
        def _stop_serving(self, sock: Any) -> None: ...

else:
    StockLoop = asyncio.SelectorEventLoop
