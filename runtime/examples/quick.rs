//! An agent with immediate answers: which requests are for the admin pages.
//!
//! `cargo run -p spoa-runtime --example quick`, and in HAProxy's SPOE file:
//!
//! ```text
//! spoe-message route
//!     args path=path
//!     event on-frontend-http-request
//! ```

use spoa_runtime::{Agent, Error, Scope, SetVars, quick};

fn main() -> Result<(), Error> {
    Agent::new().listen("127.0.0.1:12345".parse()?).run(quick(|request, ack| {
        for message in request.messages().filter(|message| message.name() == b"route") {
            let path = message.get::<&[u8]>("path")?;
            ack.set_var(Scope::Transaction, "is_admin", path.starts_with(b"/admin"))?;
        }
        Ok(())
    }))
}
