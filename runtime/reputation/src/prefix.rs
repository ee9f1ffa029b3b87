//! The entries of a list: addresses, prefixes and ranges.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::table::Bits;

/// All addresses with the same first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    address: IpAddr,
    len: u8,
}

impl Prefix {
    /// Returns the prefix of `len` bits that contains `address`; a higher `len` counts as all bits.
    #[inline]
    pub fn of(address: IpAddr, len: u8) -> Self {
        match address {
            IpAddr::V4(v4) => Self { address: v4.to_bits().network(len.min(32)).to_ip(), len: len.min(32) },
            IpAddr::V6(v6) => Self { address: v6.to_bits().network(len.min(128)).to_ip(), len: len.min(128) },
        }
    }

    /// Returns its first address.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// Returns its length in bits.
    pub const fn bits(self) -> u8 {
        self.len
    }
}

/// Writes `192.0.2.0/24`; a single address without a length.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.len) {
            (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => write!(f, "{}", self.address),
            (address, len) => write!(f, "{address}/{len}"),
        }
    }
}

/// One entry of a list.
///
/// An IPv4-mapped address or prefix (`::ffff:192.0.2.0/120`) is read as the IPv4 one, because it is looked up as that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A single address or a prefix.
    Prefix(Prefix),
    /// From the first address to the last, both included, of one family.
    Range(IpAddr, IpAddr),
}

/// The reason why a text is not an [`Item`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// It is neither an IPv4 nor an IPv6 address.
    #[error("not an address")]
    Address,
    /// The text after the slash is not a number, or the number is above 32 (IPv4) or 128 (IPv6).
    #[error("not a prefix length from 0 to {0}")]
    Len(u8),
    /// The address has host bits: it was meant otherwise, or a digit of the prefix length was cut off.
    #[error("an address with host bits: bits are set after its prefix length")]
    HostBits,
    /// The ends of the range are of different families.
    #[error("a range from IPv4 to IPv6")]
    Families,
    /// The last address of the range is before the first.
    #[error("a range that ends before it begins")]
    Backwards,
}

impl FromStr for Item {
    type Err = ItemError;

    fn from_str(text: &str) -> Result<Self, ItemError> {
        let address = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| ItemError::Address);
        if let Some((from, to)) = text.split_once('-') {
            let (from, to) = (address(from)?.to_canonical(), address(to)?.to_canonical());
            return match from.is_ipv4() == to.is_ipv4() {
                false => Err(ItemError::Families),
                true if to < from => Err(ItemError::Backwards),
                true => Ok(Self::Range(from, to)),
            };
        }
        let Some((start, len)) = text.split_once('/') else {
            return Ok(Self::Prefix(Prefix::of(address(text)?.to_canonical(), u8::MAX)));
        };
        let start = address(start)?;
        let max = if start.is_ipv4() { u32::LEN } else { u128::LEN };
        // Digits only, because the number parser of Rust accepts a sign.
        let len = Some(len).filter(|len| len.bytes().all(|byte| byte.is_ascii_digit()));
        let len = len.and_then(|len| len.parse().ok()).filter(|len| *len <= max).ok_or(ItemError::Len(max))?;
        let prefix = Prefix::of(start, len);
        if prefix.address != start {
            return Err(ItemError::HostBits);
        }
        Ok(Self::Prefix(unmapped(prefix)))
    }
}

/// Returns the IPv4 prefix that an IPv4-mapped one stands for, else the prefix itself.
fn unmapped(prefix: Prefix) -> Prefix {
    const MAPPED: u8 = 96;
    match prefix.address.to_canonical() {
        v4 @ IpAddr::V4(_) if prefix.len >= MAPPED && prefix.address.is_ipv6() => Prefix::of(v4, prefix.len - MAPPED),
        _ => prefix,
    }
}

impl Item {
    /// Calls `tell` with each prefix that it consists of, in order: at most 62 for a range of IPv4, 254 for one of
    /// IPv6.
    pub fn prefixes(self, mut tell: impl FnMut(Prefix)) {
        match self {
            Self::Prefix(prefix) => tell(prefix),
            Self::Range(IpAddr::V4(from), IpAddr::V4(to)) => split(from.to_bits(), to.to_bits(), tell),
            Self::Range(from, to) => split(v6(from).to_bits(), v6(to).to_bits(), tell),
        }
    }
}

const fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// Calls `tell` with the largest prefixes that make up a range, in order.
fn split<A: Bits>(from: A, to: A, mut tell: impl FnMut(Prefix)) {
    let mut at = Some(from);
    while let Some(start) = at.filter(|start| *start <= to) {
        let mut len = A::LEN - start.trailing_zeros().min(A::LEN);
        while start.broadcast(len) > to {
            len += 1;
        }
        tell(Prefix { address: start.to_ip(), len });
        at = start.broadcast(len).next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &str) -> Result<Item, ItemError> {
        text.parse()
    }

    fn prefixes(text: &str) -> Vec<String> {
        let mut all = Vec::new();
        item(text).unwrap().prefixes(|prefix| all.push(prefix.to_string()));
        all
    }

    #[test]
    fn addresses_prefixes_and_ranges() {
        for (text, wanted) in [
            ("192.0.2.1", &["192.0.2.1"][..]),
            ("192.0.2.0/24", &["192.0.2.0/24"]),
            ("0.0.0.0/0", &["0.0.0.0/0"]),
            ("2001:db8::1", &["2001:db8::1"]),
            ("2001:db8::/32", &["2001:db8::/32"]),
            ("::ffff:192.0.2.0/120", &["192.0.2.0/24"]),
            ("::ffff:192.0.2.7", &["192.0.2.7"]),
            ("::/0", &["::/0"]),
            ("192.0.2.1-192.0.2.1", &["192.0.2.1"]),
            ("192.0.2.0 - 192.0.2.255", &["192.0.2.0/24"]),
            ("192.0.2.254-192.0.3.1", &["192.0.2.254/31", "192.0.3.0/31"]),
            ("0.0.0.0-255.255.255.255", &["0.0.0.0/0"]),
            ("255.255.255.254-255.255.255.255", &["255.255.255.254/31"]),
            ("2001:db8::-2001:db8::3", &["2001:db8::/126"]),
        ] {
            assert_eq!(prefixes(text), wanted, "{text}");
        }
    }

    #[test]
    fn the_longest_splits() {
        assert_eq!(prefixes("0.0.0.1-255.255.255.254").len(), 62);
        assert_eq!(prefixes("::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe").len(), 254);
    }

    #[test]
    fn what_is_none() {
        for (text, error) in [
            ("", ItemError::Address),
            ("host", ItemError::Address),
            ("192.0.2", ItemError::Address),
            ("192.0.2.256", ItemError::Address),
            ("192.0.2.1/", ItemError::Len(32)),
            ("192.0.2.1/33", ItemError::Len(32)),
            ("192.0.2.1/+8", ItemError::Len(32)),
            ("192.0.2.1/255.255.255.0", ItemError::Len(32)),
            ("192.0.2.1/24", ItemError::HostBits),
            ("1.10.16.0/2", ItemError::HostBits),
            ("2001:db8::1/64", ItemError::HostBits),
            ("2001:db8::/129", ItemError::Len(128)),
            ("2001:db8::/256", ItemError::Len(128)),
            ("192.0.2.1-", ItemError::Address),
            ("192.0.2.1-2001:db8::", ItemError::Families),
            ("192.0.2.2-192.0.2.1", ItemError::Backwards),
        ] {
            assert_eq!(item(text), Err(error), "{text}");
        }
    }
}
