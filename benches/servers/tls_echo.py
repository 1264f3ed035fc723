"""Echo server with TLS on an asyncio loop; the TLS is the loop's own or aiofastnet's."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import functools
import ssl
import tempfile

import _control
import _loops
import asyncio_echo
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def context() -> ssl.SSLContext:
    """A server's context with a certificate made for this run, which no client looks at."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        private = serialization.PrivateFormat.PKCS8
        pem = serialization.Encoding.PEM
        file.write(key.private_bytes(pem, private, serialization.NoEncryption()))
        file.write(certificate.public_bytes(pem))
        file.flush()
        made.load_cert_chain(file.name)
    return made


async def serve(loop, tls):
    listener = asyncio_echo.listen(None)
    if tls == "aiofastnet":
        import aiofastnet

        create = functools.partial(aiofastnet.create_server, loop)
    else:
        create = loop.create_server
    server = await create(
        asyncio_echo.Echo, sock=listener, ssl=context(), backlog=asyncio_echo.BACKLOG
    )
    _control.announce(listener.getsockname()[1])
    return server


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=_loops.NAMES, required=True)
    parser.add_argument("--tls", choices=("own", "aiofastnet"), default="own")
    options = parser.parse_args()

    _control.raise_descriptor_limit()
    loop = _loops.new_event_loop(options.loop)
    asyncio.set_event_loop(loop)
    server = loop.run_until_complete(serve(loop, options.tls))
    _control.start(
        stop=lambda: loop.call_soon_threadsafe(loop.stop),
        facts=lambda: {
            "loop": _loops.kind(loop),
            "tls": options.tls,
            "connections": asyncio_echo.open_connections,
        },
    )
    loop.run_forever()
    # The process ends here, and the connections that are open with it.
    del server


if __name__ == "__main__":
    main()
