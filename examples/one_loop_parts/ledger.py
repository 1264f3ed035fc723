"""Writes down who did what, in which thread and on which loop: the point of the whole example."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

# (framework, thread, loop) of everything that happened. The loops themselves and not their id(),
# which another loop could get after them.
happened: list[tuple[str, int, asyncio.AbstractEventLoop]] = []
is_quiet = False


def note(framework: str, what: str) -> None:
    """Called from the midst of each framework's own callbacks and handlers."""
    thread = threading.get_ident()
    loop = asyncio.get_running_loop()
    happened.append((framework, thread, loop))
    if not is_quiet:
        what = what if len(what) <= 90 else f"{what[:87]}..."
        print(f"  thread {thread:x}  loop {id(loop):x}  {framework:8} {what!r}", flush=True)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Writes down, but prints only how much it was."""
    global is_quiet
    before, is_quiet = len(happened), True
    try:
        yield
    finally:
        is_quiet = False
        print(f"  ... {len(happened) - before} things happened", flush=True)


def summary() -> str:
    frameworks = sorted({framework for framework, _, _ in happened})
    threads = {thread for _, thread, _ in happened}
    loops = {loop for _, _, loop in happened}
    kinds = sorted(f"{type(loop).__module__}.{type(loop).__qualname__}" for loop in loops)
    return (
        f"{', '.join(frameworks)}: {len(happened)} things happened, "
        f"threads: {len(threads)}, loops: {len(loops)} ({', '.join(kinds)})"
    )


def all_in_one_place() -> bool:
    return len({(thread, loop) for _, thread, loop in happened}) <= 1
