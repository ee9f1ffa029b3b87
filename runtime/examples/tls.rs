//! An agent over TLS, which only clients with a certificate of its authority can reach.
//!
//! `cargo run -p spoa-runtime --example tls -- 0.0.0.0:12345 agent.pem agent.key authority.pem`, and in HAProxy's configuration:
//!
//! ```text
//! backend agents
//!     mode spop                             # up to HAProxy 3.0: mode tcp
//!     option spop-check
//!     server agent1 192.0.2.10:12345 ssl verify required ca-file authority.pem crt haproxy.pem check
//! ```
//!
//! `haproxy.pem` has the certificate and the key of HAProxy. The certificate of the agent has the address on the server line, or add
//! `verifyhost NAME`.

use std::error::Error;
use std::sync::Arc;

use futures_rustls::TlsAcceptor;
use futures_rustls::pki_types::pem::PemObject;
use futures_rustls::pki_types::{CertificateDer, PrivateKeyDer};
use futures_rustls::rustls::server::WebPkiClientVerifier;
use futures_rustls::rustls::{RootCertStore, ServerConfig};
use smol::LocalExecutor;
use smol::net::{TcpListener, TcpStream};
use spoa_runtime::{Handler, Scope, SetVars, StreamServer, quick};

fn main() -> Result<(), Box<dyn Error>> {
    let files: Vec<_> = std::env::args().skip(1).collect();
    let [addr, cert, key, authority] = &files[..] else {
        return Err("expected the arguments IP:PORT CERTIFICATE KEY AUTHORITY".into());
    };
    let config = config(cert, key, authority)?;
    let handler = quick(|request, ack| {
        for message in request {
            let path = message.get::<&[u8]>("path")?;
            ack.set_var(Scope::Transaction, "is_admin", path.starts_with(b"/admin"))?;
        }
        Ok(())
    });
    smol::block_on(async { serve(TcpListener::bind(addr).await?, config, handler).await })
}

/// Reads the certificate and the key of the agent, and the certificate of the authority that has signed those of clients.
pub(crate) fn config(cert: &str, key: &str, authority: &str) -> Result<ServerConfig, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(authority)? {
        roots.add(cert?)?;
    }
    let clients = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<_, _>>()?;
    let config = ServerConfig::builder().with_client_cert_verifier(clients);
    Ok(config.with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?)
}

/// Serves all connections of a socket in tasks on this thread.
pub(crate) async fn serve(
    socket: TcpListener,
    config: ServerConfig,
    handler: impl Handler + Clone,
) -> Result<(), Box<dyn Error>> {
    let (acceptor, executor) = (TlsAcceptor::from(Arc::new(config)), LocalExecutor::new());
    let accept = async {
        loop {
            let (stream, peer) = socket.accept().await?;
            let (acceptor, handler) = (acceptor.clone(), handler.clone());
            let task = async move {
                if let Err(error) = session(stream, peer.to_string(), acceptor, handler).await {
                    eprintln!("{peer}: {error}");
                }
            };
            executor.spawn(task).detach();
        }
    };
    executor.run(accept).await
}

async fn session(stream: TcpStream, peer: String, acceptor: TlsAcceptor, handler: impl Handler) -> std::io::Result<()> {
    let session = acceptor.accept(stream).await?;
    StreamServer::new().peer(peer).serve(session, handler).await
}
