//! Reads the TCP segments of a capture.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, PcapError};
use thiserror::Error;

/// A reason why a file is not a capture.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The file cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file is neither pcap nor pcapng, or is damaged after some packets.
    #[error("not a capture in pcap or pcapng format: {reason}")]
    Format {
        /// The number of packets before the damage.
        packets: usize,
        /// The reason.
        reason: String,
    },
    /// The packets have a header that is not known.
    #[error("packets of the link type {0:?} cannot be read: expected Ethernet, Linux cooked, loopback or raw IP")]
    LinkType(DataLink),
}

/// A TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The time in nanoseconds.
    pub(super) at: u64,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) sequence: u32,
    pub(super) flags: Flags,
    pub(super) payload: Vec<u8>,
    /// The number of bytes of the payload that the capture does not have.
    pub(super) missing: usize,
}

/// The flags of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) syn: bool,
    pub(super) ack: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
}

/// The first bytes of a file in pcapng format, in any byte order.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Calls `each` with each TCP segment of a capture, in the order of the file.
pub(super) fn read(mut file: impl Read, mut each: impl FnMut(Segment)) -> Result<(), CaptureError> {
    let mut head = [0; 4];
    let mut len = 0;
    while len < head.len() {
        match file.read(&mut head[len..])? {
            0 => break,
            read => len += read,
        }
    }
    let whole = io::Cursor::new(head).take(len as u64).chain(file);
    if head == PCAPNG { read_pcapng(whole, &mut each) } else { read_pcap(whole, &mut each) }
}

fn read_pcap(file: impl Read, each: &mut impl FnMut(Segment)) -> Result<(), CaptureError> {
    let mut packets = 0;
    let mut reader = PcapReader::new(file).map_err(|error| format_error(packets, error))?;
    let link = reader.header().datalink;
    while let Some(packet) = reader.next_packet() {
        let packet = packet.map_err(|error| format_error(packets, error))?;
        packets += 1;
        let missing = (packet.orig_len as usize).saturating_sub(packet.data.len());
        let at = packet.timestamp.as_nanos() as u64;
        segment(link, at, &packet.data, missing)?.into_iter().for_each(&mut *each);
    }
    Ok(())
}

fn read_pcapng(file: impl Read, each: &mut impl FnMut(Segment)) -> Result<(), CaptureError> {
    let mut packets = 0;
    let mut reader = PcapNgReader::new(file).map_err(|error| format_error(packets, error))?;
    while let Some(block) = reader.next_block() {
        let block = block.map_err(|error| format_error(packets, error))?.into_owned();
        let (interface, at, len, data) = match block {
            // The crate takes the units of the file for nanoseconds.
            Block::EnhancedPacket(packet) => {
                (packet.interface_id, packet.timestamp.as_nanos() as u64, packet.original_len, packet.data)
            }
            Block::SimplePacket(packet) => (0, 0, packet.original_len, packet.data),
            _ => continue,
        };
        packets += 1;
        let Some(interface) = reader.interfaces().get(interface as usize) else {
            return Err(CaptureError::Format { packets, reason: "a packet of an unknown interface".into() });
        };
        let missing = (len as usize).saturating_sub(data.len());
        let at = nanoseconds(at, interface);
        segment(interface.linktype, at, &data, missing)?.into_iter().for_each(&mut *each);
    }
    Ok(())
}

/// Converts a time in the units of the interface to nanoseconds. The default is microseconds.
fn nanoseconds(at: u64, interface: &InterfaceDescriptionBlock<'_>) -> u64 {
    let resolution = interface.options.iter().find_map(|option| match option {
        InterfaceDescriptionOption::IfTsResol(resolution) => Some(*resolution),
        _ => None,
    });
    let resolution = resolution.unwrap_or(6);
    let nanos = match resolution {
        0..=9 => u128::from(at) * 10_u128.pow(9 - u32::from(resolution)),
        10..=0x7f => u128::from(at) / 10_u128.pow(u32::from(resolution - 9).min(38)),
        // A negative power of two.
        _ => (u128::from(at) * 1_000_000_000) >> (resolution & 0x3f),
    };
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// Returns the TCP segment of a packet, if it is one.
fn segment(link: DataLink, at: u64, data: &[u8], missing: usize) -> Result<Option<Segment>, CaptureError> {
    let packet = match link {
        DataLink::ETHERNET => LaxSlicedPacket::from_ethernet(data).ok(),
        DataLink::RAW | DataLink::IPV4 | DataLink::IPV6 => LaxSlicedPacket::from_ip(data).ok(),
        DataLink::NULL | DataLink::LOOP => data.get(4..).and_then(|ip| LaxSlicedPacket::from_ip(ip).ok()),
        DataLink::LINUX_SLL => of_ether_type(data, 14, 16),
        DataLink::LINUX_SLL2 => of_ether_type(data, 0, 20),
        other => return Err(CaptureError::LinkType(other)),
    };
    let Some(LaxSlicedPacket { net: Some(net), transport: Some(TransportSlice::Tcp(tcp)), .. }) = packet else {
        return Ok(None);
    };
    let (from, to): (IpAddr, IpAddr) = match &net {
        LaxNetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        LaxNetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        LaxNetSlice::Arp(_) => return Ok(None),
    };
    Ok(Some(Segment {
        at,
        from: (from, tcp.source_port()).into(),
        to: (to, tcp.destination_port()).into(),
        sequence: tcp.sequence_number(),
        flags: Flags { syn: tcp.syn(), ack: tcp.ack(), fin: tcp.fin(), rst: tcp.rst() },
        payload: tcp.payload().to_vec(),
        missing,
    }))
}

/// Reads a packet whose Ethernet type is at `ether_type`, and whose IP header is at `header`.
fn of_ether_type(data: &[u8], ether_type: usize, header: usize) -> Option<LaxSlicedPacket<'_>> {
    let ether_type = data.get(ether_type..)?.first_chunk()?;
    Some(LaxSlicedPacket::from_ether_type(EtherType(u16::from_be_bytes(*ether_type)), data.get(header..)?))
}

fn format_error(packets: usize, error: PcapError) -> CaptureError {
    match error {
        PcapError::IoError(error) if error.kind() != io::ErrorKind::UnexpectedEof => error.into(),
        PcapError::IoError(_) | PcapError::IncompleteBuffer => {
            CaptureError::Format { packets, reason: "the file ends too early".into() }
        }
        other => CaptureError::Format { packets, reason: other.to_string() },
    }
}
