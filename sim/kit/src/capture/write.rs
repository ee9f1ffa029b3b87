//! Writes conversations as pcapng, for Wireshark.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use spoa_capture::{Flow, Traffic, Writer};
use spoa_sim_haproxy::recording::{LinkEvent, Recording, Side};

use super::AGENT_PORT;

/// The address of HAProxy and that of the agent: reserved for documentation.
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
/// The port of HAProxy's first connection.
const FIRST_PORT: u16 = 40000;

/// Writes a recording as pcapng with raw IP packets: HAProxy is 192.0.2.1, the agent is 192.0.2.2 on port 12345, and each
/// connection has a port of its own from 40000 on. Times are those of the recording.
///
/// # Errors
/// If `out` fails.
pub fn write_pcapng(recording: &Recording, out: impl Write) -> io::Result<()> {
    let mut writer = Writer::new(out)?;
    let mut links: Vec<(u32, Flow)> = Vec::new();
    for step in &recording.steps {
        let known = links.iter().position(|(link, _)| *link == step.link);
        let at = known.unwrap_or_else(|| {
            links.push((step.link, flow(links.len())));
            links.len() - 1
        });
        let mut written = Ok(());
        links[at].1.packets(traffic(&step.event), |packet| {
            if written.is_ok() {
                written = writer.write(Duration::from_nanos(step.at), packet);
            }
        });
        written?;
    }
    writer.flush()
}

fn flow(number: usize) -> Flow {
    let ports = [FIRST_PORT + (number % 20000) as u16, AGENT_PORT];
    let [haproxy, agent] = [0, 1].map(|side| SocketAddr::new(ADDRESSES[side].into(), ports[side]));
    Flow::new(haproxy, agent)
}

fn traffic(event: &LinkEvent) -> Traffic<'_> {
    match event {
        LinkEvent::Open => Traffic::Open,
        LinkEvent::Bytes(side, bytes) => Traffic::Bytes(end(*side), bytes),
        LinkEvent::Fin(side) => Traffic::Fin(end(*side)),
        LinkEvent::Reset(side) => Traffic::Reset(end(*side)),
    }
}

const fn end(side: Side) -> spoa_capture::Side {
    match side {
        Side::Haproxy => spoa_capture::Side::Client,
        Side::Agent => spoa_capture::Side::Server,
    }
}
