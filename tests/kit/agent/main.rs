//! An agent with one planted fault, for the tests of the conformance kit: `faulty-agent CASE PORT`.
//!
//! Without its fault it passes every case. With `none` as the case it has no fault; with `unfragmented` it has none either, and
//! does not announce fragmentation. `faulty-agent list` prints, for each fault, its case and the other cases that have to fail.

mod connection;
mod fault;
mod faults;

use std::env;
use std::net::{Ipv4Addr, TcpListener};
use std::process::exit;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

use connection::{Agent, Served};
use fault::{Fault, NONE, Special};
use faults::FAULTS;

fn main() {
    let arguments: Vec<_> = env::args().collect();
    let [_, case, port] = &arguments[..] else {
        FAULTS.iter().for_each(|fault| println!("{} {}", fault.case, fault.also.join(" ")));
        return;
    };
    let fault: &'static Fault = match &**case {
        "none" | "unfragmented" => &NONE,
        _ => FAULTS.iter().find(|fault| fault.case == case).expect("a case with a fault"),
    };
    let fragmentation = case != "unfragmented" && fault.fragmentation;
    let agent = Arc::new(Agent::new(fault, fragmentation));
    let port = port.parse().expect("a port");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
    let mut signals = Signals::new([SIGTERM]).expect("SIGTERM can be handled");
    let stopping = Arc::clone(&agent);
    thread::spawn(move || {
        signals.forever().next();
        if fault.special != Special::DiesWhenStopped {
            stopping.stop();
            // The kit closes its connections as soon as it has read their end.
            while stopping.is_busy() {
                thread::sleep(Duration::from_millis(5));
            }
        }
        exit(0);
    });
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let served = Served::accept(&agent, stream);
        if fault.special == Special::HandshakesInTurn {
            served.handshake();
        }
        thread::spawn(move || served.serve());
    }
}
