//! A connection as the load uses it: the socket itself, or TLS over it.
//!
//! TLS 1.3 by rustls. The server's certificate is one that it made for the run, and is not looked at: what is measured
//! lies behind the handshake.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use crate::sys::{Io, Socket};

pub enum Channel {
    Plain(Socket),
    Tls(Box<Tls>),
}

pub struct Tls {
    socket: Socket,
    session: ClientConnection,
}

/// What all TLS connections of a run have in common.
pub fn configuration() -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(schemes)))
        .with_no_client_auth();
    // Each connection makes the whole handshake, as the first one of a client does.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

impl Channel {
    /// A connected socket, which blocks: with TLS, the handshake is over when this returns.
    pub fn new(socket: Socket, tls: Option<&Arc<ClientConfig>>) -> io::Result<Channel> {
        let Some(config) = tls else {
            return Ok(Channel::Plain(socket));
        };
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let mut session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        // A message is handed over whole; the socket takes it as it can.
        session.set_buffer_limit(None);
        while session.is_handshaking() {
            session.complete_io(&mut Stream(&socket))?;
        }
        Ok(Channel::Tls(Box::new(Tls { socket, session })))
    }

    pub fn socket(&self) -> &Socket {
        match self {
            Channel::Plain(socket) => socket,
            Channel::Tls(tls) => &tls.socket,
        }
    }

    /// Sends what the socket takes. TLS takes everything, and keeps what the socket does not.
    #[inline]
    pub fn send(&mut self, bytes: &[u8]) -> Io {
        match self {
            Channel::Plain(socket) => socket.send(bytes),
            Channel::Tls(tls) => match tls.session.writer().write_all(bytes) {
                Ok(()) => match tls.flush() {
                    Io::Done(_) | Io::WouldBlock => Io::Done(bytes.len()),
                    failed @ Io::Failed(_) => failed,
                },
                Err(error) => Io::Failed(error),
            },
        }
    }

    /// The socket has room again: sends what TLS has kept.
    pub fn flush(&mut self) -> Io {
        match self {
            Channel::Plain(_) => Io::Done(0),
            Channel::Tls(tls) => tls.flush(),
        }
    }

    /// Receives what fits; 0 bytes mean that the server has closed.
    #[inline]
    pub fn recv(&mut self, buffer: &mut [u8]) -> Io {
        match self {
            Channel::Plain(socket) => socket.recv(buffer),
            Channel::Tls(tls) => tls.recv(buffer),
        }
    }

    /// Whether a `recv` that fills less than it was given has emptied the socket.
    pub fn short_read_empties(&self) -> bool {
        matches!(self, Channel::Plain(_))
    }
}

impl Tls {
    fn flush(&mut self) -> Io {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Stream(&self.socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Io::WouldBlock,
                Err(error) => return Io::Failed(error),
            }
        }
        Io::Done(0)
    }

    fn recv(&mut self, buffer: &mut [u8]) -> Io {
        loop {
            match self.session.reader().read(buffer) {
                Ok(count) => return Io::Done(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Io::Failed(error),
            }
            match self.session.read_tls(&mut Stream(&self.socket)) {
                Ok(0) => return Io::Done(0),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Io::WouldBlock,
                Err(error) => return Io::Failed(error),
            }
            if let Err(error) = self.session.process_new_packets() {
                return Io::Failed(io::Error::other(error));
            }
        }
    }
}

/// The socket as rustls wants it.
struct Stream<'a>(&'a Socket);

fn answer(outcome: Io) -> io::Result<usize> {
    match outcome {
        Io::Done(count) => Ok(count),
        Io::WouldBlock => Err(io::ErrorKind::WouldBlock.into()),
        Io::Failed(error) => Err(error),
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        answer(self.0.recv(buffer))
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        answer(self.0.send(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes any certificate: over loopback, from a server that this run has started.
#[derive(Debug)]
struct Anyone(Vec<SignatureScheme>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
