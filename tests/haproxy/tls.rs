//! An agent that serves TLS sessions in tasks of its own: the example of the library.

#[path = "../../runtime/examples/tls.rs"]
#[expect(dead_code, reason = "the example has a `main` of its own")]
mod example;

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair};
use smol::net::TcpListener;
use spoa_runtime::{Actions, Handler, Scope, SetVars, deferred};
use spoa_tests::folder::Folder;

use crate::client::Request;
use crate::haproxy::{Install, Setup};

/// Certificates of two authorities: `agent` and `haproxy` are of the first one, `stranger` of the second one.
fn certificates() -> Folder {
    let folder = Folder::with(&[]);
    for (authority, names) in [("authority", &["agent", "haproxy"][..]), ("other", &["stranger"])] {
        let mut params = CertificateParams::new([]).expect("the parameters are valid");
        params.distinguished_name.push(DnType::CommonName, authority);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("the authority signs itself");
        folder.write(&format!("{authority}.pem"), issuer.pem().as_bytes());
        for name in names {
            let (cert, key) = certificate(name, &issuer);
            folder.write(&format!("{name}.crt"), cert.pem().as_bytes());
            folder.write(&format!("{name}.key"), key.serialize_pem().as_bytes());
            folder.write(&format!("{name}.pem"), (cert.pem() + &key.serialize_pem()).as_bytes());
        }
    }
    folder
}

fn certificate(name: &str, issuer: &Issuer<'_, KeyPair>) -> (Certificate, KeyPair) {
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("the parameters are valid");
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key can be made");
    (params.signed_by(&key, issuer).expect("the authority signs"), key)
}

/// Returns a handler that answers after a while, so that answers do not follow their NOTIFYs at once.
fn handler() -> impl Handler + Clone + Send {
    deferred(async |request| {
        smol::Timer::after(Duration::from_millis(5)).await;
        let mut actions = Actions::new();
        for message in request.messages() {
            actions.set_var(Scope::Transaction, "path", message.get::<&str>("path")?)?;
        }
        Ok(actions)
    })
}

/// Serves on a free port on a thread, which runs until the test ends.
fn start(folder: &Folder) -> SocketAddr {
    let path = |name: &str| folder.path(name).display().to_string();
    let config = example::config(&path("agent.crt"), &path("agent.key"), &path("authority.pem"));
    let config = config.expect("the certificates are valid");
    let (sender, addr) = mpsc::channel();
    let serve = move || {
        smol::block_on(async {
            let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
            sender.send(socket.local_addr().expect("it has an address")).expect("the test waits for it");
            example::serve(socket, config, handler()).await.expect("the socket can accept");
        });
    };
    thread::spawn(serve);
    addr.recv().expect("the thread runs")
}

/// HAProxy with a certificate is served, also with large arguments and a health check; another HAProxy is not.
pub(crate) fn with_client_certificates(install: &Install) {
    let folder = certificates();
    let addr = start(&folder);
    let dir = folder.path("").display().to_string();
    let server = |name: &str| {
        format!(
            "{addr} ssl verify required ca-file {dir}/authority.pem crt {dir}/{name}.pem check inter 100ms fall 1 rise 1"
        )
    };
    let setup = |name: &str| {
        let mut setup = Setup::with_message(&server(name), "on-frontend-http-request", "path=path");
        setup.backend += "    option spop-check\n";
        setup.header("x-path", "%[var(txn.t.path)]").header("x-up", "%[nbsrv(agents)]")
    };
    let haproxy = setup("haproxy").start(install);
    let long = format!("/{}", "x".repeat(4000));
    for path in ["/", "/a", &long, "/b"] {
        let response = Request::get(path).send(haproxy.addr);
        assert_eq!((response.header("x-path"), haproxy.log.status(response.sid())), (path, 0));
    }
    // A client with many requests at once.
    thread::scope(|scope| {
        for client in 0..8 {
            scope.spawn(move || {
                for number in 0..20 {
                    let path = format!("/{client}/{number}");
                    assert_eq!(Request::get(&path).send(haproxy.addr).header("x-path"), path);
                }
            });
        }
    });
    let stranger = setup("stranger").start(install);
    assert_eq!(Request::get("/").send(stranger.addr).header("x-path"), "");
}
