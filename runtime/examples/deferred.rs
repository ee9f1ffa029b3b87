//! An agent with deferred answers: it resolves a host name while other NOTIFYs are answered.
//!
//! `cargo run -p spoa-runtime --example deferred`, and in HAProxy's SPOE file:
//!
//! ```text
//! spoe-message whose-backend
//!     args host=req.hdr(host)
//!     event on-frontend-http-request
//! ```

use smol::net::resolve;
use spoa_runtime::{Actions, Agent, Error, Scope, SetVars, deferred};

fn main() -> Result<(), Error> {
    Agent::new().listen("127.0.0.1:12345".parse()?).run(deferred(async |request| {
        let mut actions = Actions::new();
        for message in request.messages() {
            // A request without this header is for no backend.
            let Some(host) = message.get::<Option<&str>>("host")? else { continue };
            // An unknown name is an error: HAProxy gets an empty ACK, and a subscriber of tracing the reason.
            if let Some(address) = resolve((host, 0)).await?.first() {
                actions.set_var(Scope::Transaction, "backend_ip", address.ip())?;
            }
        }
        Ok(actions)
    }))
}
