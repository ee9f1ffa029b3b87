//! Makes IP packets of what a program sees of a TCP connection.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use etherparse::{PacketBuilder, PacketBuilderStep};

/// The longest payload of a packet, in bytes. More bytes are several packets.
const SEGMENT_MAX: usize = 32 << 10;
/// The sequence number of the first packet of each direction.
const FIRST_SEQUENCE: u32 = 1;
const WINDOW: u16 = 65535;
const HOPS: u8 = 64;

/// A side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The side that has opened the connection.
    Client,
    /// The side that has accepted it.
    Server,
}

/// An event of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic<'b> {
    /// The client opens the connection, and the server accepts it.
    Open,
    /// A side sends bytes.
    Bytes(Side, &'b [u8]),
    /// A side closes its direction with FIN.
    Fin(Side),
    /// A side resets the connection.
    Reset(Side),
}

/// A TCP connection in a capture.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The addresses of the client and the server.
    ends: [SocketAddr; 2],
    /// The next sequence number of the client and of the server.
    next: [u32; 2],
}

/// The flags of a packet besides ACK and PSH.
#[derive(Clone, Copy, Default)]
struct Flags {
    syn: bool,
    fin: bool,
    rst: bool,
    is_first: bool,
}

impl Flow {
    /// Returns a connection between these addresses. If only one of them is an IPv6 address, the other is mapped to one.
    pub fn new(client: SocketAddr, server: SocketAddr) -> Self {
        let is_mixed = client.is_ipv4() != server.is_ipv4();
        let ends =
            [client, server].map(|end| if is_mixed { SocketAddr::new(mapped(end.ip()), end.port()) } else { end });
        Self { ends, next: [FIRST_SEQUENCE; 2] }
    }

    /// Calls `each` with the packets of an event, in order. They begin with the IP header.
    pub fn packets(&mut self, traffic: Traffic<'_>, mut each: impl FnMut(&[u8])) {
        match traffic {
            Traffic::Open => {
                self.packet(Side::Client, Flags { syn: true, is_first: true, ..Flags::default() }, &[], &mut each);
                self.packet(Side::Server, Flags { syn: true, ..Flags::default() }, &[], &mut each);
                self.packet(Side::Client, Flags::default(), &[], &mut each);
            }
            Traffic::Bytes(side, bytes) => {
                for part in bytes.chunks(SEGMENT_MAX) {
                    self.packet(side, Flags::default(), part, &mut each);
                }
            }
            Traffic::Fin(side) => self.packet(side, Flags { fin: true, ..Flags::default() }, &[], &mut each),
            Traffic::Reset(side) => self.packet(side, Flags { rst: true, ..Flags::default() }, &[], &mut each),
        }
    }

    /// Makes a packet of one side, and counts its sequence numbers.
    fn packet(&mut self, from: Side, flags: Flags, payload: &[u8], each: &mut impl FnMut(&[u8])) {
        let (from, to) = match from {
            Side::Client => (0, 1),
            Side::Server => (1, 0),
        };
        let (source, target) = (self.ends[from], self.ends[to]);
        let mut builder = ip(source.ip(), target.ip()).tcp(source.port(), target.port(), self.next[from], WINDOW);
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
        each(&packet);
    }
}

fn ip(source: IpAddr, target: IpAddr) -> PacketBuilderStep<etherparse::IpHeaders> {
    match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => PacketBuilder::ipv4(source.octets(), target.octets(), HOPS),
        (source, target) => PacketBuilder::ipv6(v6(source).octets(), v6(target).octets(), HOPS),
    }
}

fn mapped(ip: IpAddr) -> IpAddr {
    IpAddr::V6(v6(ip))
}

const fn v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lens(client: &str, server: &str, traffic: &[Traffic<'_>]) -> Vec<usize> {
        let mut flow = Flow::new(client.parse().unwrap(), server.parse().unwrap());
        let mut lens = Vec::new();
        traffic.iter().for_each(|one| flow.packets(*one, |packet| lens.push(packet.len())));
        lens
    }

    #[test]
    fn a_connection_is_made_of_packets() {
        let bytes = vec![7; SEGMENT_MAX + 1];
        let all = [Traffic::Open, Traffic::Bytes(Side::Server, &bytes), Traffic::Fin(Side::Client)];
        assert_eq!(lens("192.0.2.1:1", "192.0.2.2:2", &all), [40, 40, 40, 40 + SEGMENT_MAX, 41, 40]);
        assert_eq!(lens("[2001:db8::1]:1", "192.0.2.2:2", &all[..1]), [60; 3], "both are IPv6");
    }

    #[test]
    fn sequence_numbers_count_bytes_and_ends() {
        let mut flow = Flow::new("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap());
        for traffic in [Traffic::Open, Traffic::Bytes(Side::Client, b"abc"), Traffic::Fin(Side::Client)] {
            flow.packets(traffic, |_| {});
        }
        assert_eq!(flow.next, [1 + 1 + 3 + 1, 1 + 1]);
    }
}
