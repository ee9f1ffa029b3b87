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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use etherparse::PacketBuilder;
    use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};

    use super::*;

    /// Returns an IP packet with a TCP segment.
    fn ip_packet() -> Vec<u8> {
        let builder = PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64).tcp(40000, 12345, 7, 100).fin();
        let mut packet = Vec::new();
        builder.write(&mut packet, b"bytes").expect("a buffer can be written");
        packet
    }

    /// Returns the segments of a capture in the classic format with one packet.
    fn read_one(link: DataLink, data: &[u8], orig_len: usize) -> Result<Vec<Segment>, CaptureError> {
        let header = PcapHeader { datalink: link, ..PcapHeader::default() };
        let mut writer = PcapWriter::with_header(Vec::new(), header).expect("a buffer can be written");
        let packet = PcapPacket::new(Duration::from_micros(3), orig_len as u32, data);
        writer.write_packet(&packet).expect("a buffer can be written");
        let mut segments = Vec::new();
        read(&writer.into_writer()[..], |segment| segments.push(segment)).map(|()| segments)
    }

    #[test]
    fn segments_are_read_behind_every_link_header() {
        let ip = ip_packet();
        let with = |header: &[u8]| [header, &ip].concat();
        let mut ethernet = [0; 14];
        ethernet[12..].copy_from_slice(&[8, 0]);
        let mut cooked = [0; 16];
        cooked[14..].copy_from_slice(&[8, 0]);
        let mut cooked_2 = [0; 20];
        cooked_2[..2].copy_from_slice(&[8, 0]);
        for (link, data) in [
            (DataLink::RAW, ip.clone()),
            (DataLink::ETHERNET, with(&ethernet)),
            (DataLink::LINUX_SLL, with(&cooked)),
            (DataLink::LINUX_SLL2, with(&cooked_2)),
            (DataLink::NULL, with(&[2, 0, 0, 0])),
        ] {
            let segments = read_one(link, &data, data.len()).expect("a capture");
            let [segment] = &segments[..] else { panic!("{link:?}: expected a segment, got {segments:?}") };
            assert_eq!((segment.at, segment.sequence, &segment.payload[..]), (3000, 7, &b"bytes"[..]), "{link:?}");
            assert_eq!((segment.from.port(), segment.to.port(), segment.missing), (40000, 12345, 0), "{link:?}");
            assert!(segment.flags.fin && !segment.flags.syn, "{link:?}");
        }
    }

    #[test]
    fn missing_bytes_are_counted_and_other_packets_left_out() {
        let ip = ip_packet();
        let segments = read_one(DataLink::RAW, &ip[..ip.len() - 2], ip.len()).expect("a capture");
        assert_eq!((&segments[0].payload[..], segments[0].missing), (&b"byt"[..], 2));
        assert_eq!(read_one(DataLink::RAW, b"no packet", 9).expect("a capture"), []);
        let error = read_one(DataLink::USB_LINUX, &ip, ip.len()).expect_err("no network").to_string();
        assert!(error.contains("USB_LINUX"), "{error}");
    }

    #[test]
    fn times_have_the_resolution_of_their_interface() {
        for (resolution, at, expected) in [
            (None, 5, 5000),
            (Some(9), 5, 5),
            (Some(3), 5, 5_000_000),
            (Some(12), 5000, 5),
            (Some(0x81), 3, 1_500_000_000),
        ] {
            let options = resolution.map(InterfaceDescriptionOption::IfTsResol).into_iter().collect();
            let interface = InterfaceDescriptionBlock { linktype: DataLink::RAW, snaplen: 0, options };
            assert_eq!(nanoseconds(at, &interface), expected, "{resolution:?}");
        }
    }
}
