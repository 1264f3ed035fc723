"""asyncio's other ways to echo over TCP: BufferedProtocol, streams, and the loop's sock_ calls."""

from __future__ import annotations

from harness.kinds import ServerLoad
from harness.model import Suite, Target

from suites._asyncio import SERVERS


def cases(api: str, *targets: Target) -> list[ServerLoad]:
    return [
        ServerLoad(
            f"{api}-{size}KiB-10",
            size=size * 1024,
            server_arguments=("--api", api),
            quick=size == 1,
            targets=targets,
        )
        for size in (1, 100)
    ]


SUITE = Suite(
    name="apis",
    title="TCP echo, asyncio's other interfaces: server CPU time per request",
    contestants=SERVERS,
    cases=(
        *cases("buffered"),
        *cases("streams", Target("interloop", issue=3, ratio=1.3)),
        *cases("sock", Target("interloop", issue=3, ratio=2.1)),
    ),
    by_default=False,
)
