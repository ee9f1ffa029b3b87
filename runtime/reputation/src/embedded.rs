//! IPv4 addresses in IPv6 addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Returns the IPv4 address that an IPv6 address stands for, else the address itself: of IPv4-mapped (`::ffff:0:0/96`),
/// 6to4 (`2002::/16`) and NAT64 (`64:ff9b::/96`) addresses, whose traffic comes from that IPv4 address.
pub fn embedded(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v4_in(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// Returns the IPv4 address in an IPv6 address of one of those kinds.
#[inline]
pub(crate) fn v4_in(address: Ipv6Addr) -> Option<Ipv4Addr> {
    const MAPPED: u128 = 0xffff;
    const NAT64: u128 = 0x0064_ff9b << 64;
    let bits = address.to_bits();
    let low = match bits >> 32 {
        MAPPED | NAT64 => bits,
        high if high >> 80 == 0x2002 => bits >> 80,
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(low as u32))
}
