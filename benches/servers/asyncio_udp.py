"""UDP echo server on an asyncio loop."""

from __future__ import annotations

import argparse
import asyncio

import _control
import _loops


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=_loops.NAMES, required=True)
    options = parser.parse_args()

    loop = _loops.new_event_loop(options.loop)
    asyncio.set_event_loop(loop)
    endpoint = loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    transport, _ = loop.run_until_complete(endpoint)
    _control.announce(transport.get_extra_info("sockname")[1])
    _control.start(
        stop=lambda: loop.call_soon_threadsafe(loop.stop),
        # Nobody is connected: a datagram is all there is.
        facts=lambda: {"loop": _loops.kind(loop), "connections": 0},
    )
    loop.run_forever()
    transport.close()
    # connection_lost, which closes the socket, is called in the next turn.
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


if __name__ == "__main__":
    main()
