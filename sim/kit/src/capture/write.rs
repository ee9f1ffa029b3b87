//! Writes conversations as pcapng, for Wireshark.

use std::io::{self, Write};

use etherparse::PacketBuilder;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::{DataLink, PcapError};
use spoa_sim_haproxy::recording::{LinkEvent, Recording, Side};

use super::AGENT_PORT;

/// The address of HAProxy and that of the agent: reserved for documentation.
const ADDRESSES: [[u8; 4]; 2] = [[192, 0, 2, 1], [192, 0, 2, 2]];
/// The port of HAProxy's first connection.
const FIRST_PORT: u16 = 40000;
/// The longest payload of a packet, in bytes. A longer read is several packets.
const SEGMENT_MAX: usize = 32 << 10;
/// The sequence number of the first byte of each direction.
const FIRST_SEQUENCE: u32 = 1;
const WINDOW: u16 = 65535;

/// Writes a recording as pcapng with raw IP packets: HAProxy is 192.0.2.1, the agent is 192.0.2.2 on port 12345, and each
/// connection has a port of its own from 40000 on. Times are those of the recording.
///
/// # Errors
/// If `out` fails.
pub fn write_pcapng(recording: &Recording, out: impl Write) -> io::Result<()> {
    let mut writer = PcapNgWriter::new(out).map_err(into_io)?;
    let interface = InterfaceDescriptionBlock {
        linktype: DataLink::RAW,
        snaplen: 0,
        // Nanoseconds.
        options: vec![InterfaceDescriptionOption::IfTsResol(9)],
    };
    writer.write_pcapng_block(interface).map_err(into_io)?;
    let mut links: Vec<(u32, Flow)> = Vec::new();
    for step in &recording.steps {
        let known = links.iter().position(|(link, _)| *link == step.link);
        let at = known.unwrap_or_else(|| {
            links.push((step.link, Flow::new(links.len())));
            links.len() - 1
        });
        for packet in links[at].1.packets(&step.event) {
            let block = EnhancedPacketBlock {
                interface_id: 0,
                timestamp: std::time::Duration::from_nanos(step.at),
                original_len: packet.len() as u32,
                data: packet.into(),
                options: Vec::new(),
            };
            writer.write_pcapng_block(block).map_err(into_io)?;
        }
    }
    Ok(())
}

fn into_io(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

/// A TCP connection in a capture.
struct Flow {
    ports: [u16; 2],
    /// The next sequence number of HAProxy and of the agent.
    next: [u32; 2],
}

/// The flags of a packet besides ACK.
#[derive(Clone, Copy, Default)]
struct Flags {
    syn: bool,
    fin: bool,
    rst: bool,
    is_first: bool,
}

impl Flow {
    fn new(number: usize) -> Self {
        Self { ports: [FIRST_PORT + (number % 20000) as u16, AGENT_PORT], next: [FIRST_SEQUENCE; 2] }
    }

    /// Returns the packets of an event.
    fn packets(&mut self, event: &LinkEvent) -> Vec<Vec<u8>> {
        match event {
            LinkEvent::Open => vec![
                self.packet(0, Flags { syn: true, is_first: true, ..Flags::default() }, &[]),
                self.packet(1, Flags { syn: true, ..Flags::default() }, &[]),
                self.packet(0, Flags::default(), &[]),
            ],
            LinkEvent::Bytes(side, bytes) => {
                bytes.chunks(SEGMENT_MAX).map(|part| self.packet(index(*side), Flags::default(), part)).collect()
            }
            LinkEvent::Fin(side) => vec![self.packet(index(*side), Flags { fin: true, ..Flags::default() }, &[])],
            LinkEvent::Reset(side) => vec![self.packet(index(*side), Flags { rst: true, ..Flags::default() }, &[])],
        }
    }

    /// Returns a packet of one side, and counts its sequence numbers.
    fn packet(&mut self, from: usize, flags: Flags, payload: &[u8]) -> Vec<u8> {
        let to = 1 - from;
        let mut builder = PacketBuilder::ipv4(ADDRESSES[from], ADDRESSES[to], 64).tcp(
            self.ports[from],
            self.ports[to],
            self.next[from],
            WINDOW,
        );
        if flags.syn {
            builder = builder.syn();
        }
        if flags.fin {
            builder = builder.fin();
        }
        if flags.rst {
            builder = builder.rst();
        }
        if !flags.is_first {
            builder = builder.ack(self.next[to]);
        }
        if !payload.is_empty() {
            builder = builder.psh();
        }
        let mut packet = Vec::with_capacity(builder.size(payload.len()));
        // It fails only for payloads above 64 KiB.
        let _ = builder.write(&mut packet, payload);
        let len = payload.len() as u32 + u32::from(flags.syn) + u32::from(flags.fin);
        self.next[from] = self.next[from].wrapping_add(len);
        packet
    }
}

const fn index(side: Side) -> usize {
    match side {
        Side::Haproxy => 0,
        Side::Agent => 1,
    }
}
