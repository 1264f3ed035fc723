"""asyncio DatagramProtocol echo over UDP: 1 KiB from 1, 10 and 40 clients (more would not fit into a socket), and 4 KiB."""

from __future__ import annotations

from harness.kinds import ServerLoad
from harness.model import Contestant, Suite, Target

from suites._asyncio import loops

FLOOR = Contestant("floor", ("{load}", "floor", "--udp"), reference=True)

SUITE = Suite(
    name="udp",
    title="UDP echo, asyncio DatagramProtocol: server CPU time per request",
    contestants=(*loops("servers/asyncio_udp.py"), FLOOR),
    cases=tuple(
        ServerLoad(
            f"{size}KiB-{connections}",
            connections=connections,
            size=size * 1024,
            protocol="udp",
            quick=(size, connections) == (1, 10),
            targets=(Target("interloop", issue=3, ratio=1.4),) if connections == 10 else (),
        )
        for size, connections in ((1, 1), (1, 10), (1, 40), (4, 10))
    ),
    by_default=False,
)
