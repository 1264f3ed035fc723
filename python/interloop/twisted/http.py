"""The protocols of `twisted.web`'s server whose `dataReceived` is native on our connections. Imports `twisted.web`."""

from __future__ import annotations

from typing import Any

from twisted.web.http import HTTPChannel
from twisted.web.http import _GenericHTTPChannelProtocol as Front

from interloop.twisted.lines import known

__all__ = ["Front", "HTTPChannel", "channel_data_received", "front_data_received"]

channel_data_received: Any = known(
    vars(HTTPChannel)["dataReceived"], {"resetTimeout", "basic", "LineReceiver", "dataReceived"}
)

# What it does once it knows the protocol: `self._channel.dataReceived(data)`. The rest is how it gets to know.
front_data_received: Any = known(
    vars(Front)["dataReceived"],
    {
        "_negotiatedProtocol",
        "getattr",
        "_channel",
        "transport",
        "H2_ENABLED",
        "ValueError",
        "_networkProducer",
        "unregisterProducer",
        "setTimeout",
        "H2Connection",
        "_requestFactory",
        "requestFactory",
        "_site",
        "site",
        "_factory",
        "factory",
        "_timeOut",
        "timeOut",
        "_callLater",
        "callLater",
        "makeConnection",
        "registerProducer",
        "dataReceived",
    },
)
