"""Children of an asyncio loop: CPU time of the parent alone for each, in a process of its own."""

from __future__ import annotations

import asyncio

import asyncio_micro

PIPE = asyncio.subprocess.PIPE
TRUE = "/bin/true"
AT_ONCE = 20


def exec_wait(loop, count):
    """Start a program and wait for its end."""

    async def main():
        for _ in range(count):
            child = await asyncio.create_subprocess_exec(TRUE)
            if await child.wait():
                raise SystemExit("a child failed")

    loop.run_until_complete(main())
    return count


def exec_pipes(loop, count):
    """The same with three pipes, one of which carries a line there and another back."""

    async def main():
        for _ in range(count):
            child = await asyncio.create_subprocess_exec(
                "/bin/cat", stdin=PIPE, stdout=PIPE, stderr=PIPE
            )
            out, err = await child.communicate(b"hello\n")
            if (out, err, child.returncode) != (b"hello\n", b"", 0):
                raise SystemExit(f"a child answered {out, err, child.returncode}")

    loop.run_until_complete(main())
    return count


def exec_many(loop, count):
    """20 at a time, with their output."""
    each = max(1, count // AT_ONCE)

    async def some():
        for _ in range(each):
            child = await asyncio.create_subprocess_exec(TRUE, stdout=PIPE)
            out, _ = await child.communicate()
            if out or child.returncode:
                raise SystemExit("a child failed")

    async def main():
        await asyncio.gather(*(some() for _ in range(AT_ONCE)))

    loop.run_until_complete(main())
    return each * AT_ONCE


BENCHMARKS = {}
for function in (exec_wait, exec_pipes, exec_many):
    function.in_company = True
    BENCHMARKS[function.__name__] = function


def check(loop):
    """The first child of a process loads modules."""
    exec_pipes(loop, 1)


if __name__ == "__main__":
    asyncio_micro.main(BENCHMARKS, check, 10, __doc__)
