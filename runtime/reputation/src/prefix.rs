//! The entries of a list: addresses, prefixes and ranges.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::table::Bits;

/// All addresses with the same first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

    /// Returns its last address.
    pub fn last(self) -> IpAddr {
        match self.address {
            IpAddr::V4(v4) => v4.to_bits().broadcast(self.len).to_ip(),
            IpAddr::V6(v6) => v6.to_bits().broadcast(self.len).to_ip(),
        }
    }

    /// Returns its length in bits.
    pub const fn bits(self) -> u8 {
        self.len
    }

    /// Returns the percentage of the globally routable addresses of its family that it covers.
    pub fn cover(self) -> f64 {
        crate::cover::of_prefix(self)
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
    /// An IPv4 address with leading zeros that are not for three digits each: programs disagree whether it is octal.
    #[error("not an address: leading zeros may mean octal numbers")]
    LeadingZeros,
    /// The text after the slash is not a number, or the number is above 32 (IPv4) or 128 (IPv6).
    #[error("not a prefix length from 0 to {0}")]
    Len(u8),
    /// The text after the slash looks like a netmask, but its bits are not ones and then zeros.
    #[error("not a netmask: its bits have to be ones, then zeros")]
    Netmask,
    /// The address has host bits: it was meant otherwise, or a digit of the prefix length was cut off.
    #[error("an address with host bits: bits are set after its prefix length (host-bits=accept takes its network)")]
    HostBits,
    /// The ends of the range are of different families.
    #[error("a range from IPv4 to IPv6")]
    Families,
    /// The last address of the range is before the first.
    #[error("a range that ends before it begins")]
    Backwards,
    /// A `*` that is not in place of the last numbers of an IPv4 address.
    #[error("a wildcard that does not stand for the last numbers of an IPv4 address")]
    Wildcard,
    /// The text after the address and a colon is not a port.
    #[error("an address with something other than a port after it")]
    Port,
}

/// The treatment of a prefix whose address has host bits, such as `192.0.2.77/24`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostBits {
    /// It is an error.
    #[default]
    Reject,
    /// It stands for its network, as in ipset, nginx and HAProxy.
    Accept,
}

/// Reads an item; host bits are an error. See [`Item::parse`].
impl FromStr for Item {
    type Err = ItemError;

    fn from_str(text: &str) -> Result<Self, ItemError> {
        Self::parse(text, HostBits::Reject)
    }
}

impl Item {
    /// Reads an item as lists have it:
    ///
    /// | text | meaning |
    /// |---|---|
    /// | `192.0.2.1`, `2001:db8::1`, `[2001:db8::1]` | an address |
    /// | `192.0.2.1:80`, `[2001:db8::1]:80`, `socks5://192.0.2.1:80` | the address, without its port and scheme |
    /// | `192.000.002.001` | an address with three digits per number, which are decimal |
    /// | `192.0.2.0/24`, `192.0.2.0/255.255.255.0` | a prefix |
    /// | `192.0.2.*`, `192.0.*.*` | the prefix of the numbers before |
    /// | `192.0.2.1-192.0.2.9`, `192.0.2.1-9` | a range |
    ///
    /// Quotes and blanks around it do not count.
    ///
    /// # Errors
    /// The text is none of these.
    pub fn parse(text: &str, host_bits: HostBits) -> Result<Self, ItemError> {
        let text = text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
        Self::parse_bare(text, host_bits).or_else(|error| match text.split_once("://") {
            Some((scheme, rest)) if !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                let address = rest.strip_suffix('/').unwrap_or(rest);
                // The path of a URL is not a prefix length.
                if address.contains(['/', '-', '*']) { Err(error) } else { Self::parse_bare(address, host_bits) }
            }
            _ => Err(error),
        })
    }

    /// Reads an item without a scheme.
    fn parse_bare(text: &str, host_bits: HostBits) -> Result<Self, ItemError> {
        // Most texts that are not items are found out by their first byte.
        if !matches!(text.as_bytes().first(), Some(b':' | b'[' | b'*'))
            && !text.starts_with(|c: char| c.is_ascii_hexdigit())
        {
            return Err(ItemError::Address);
        }
        if let Some((start, len)) = text.split_once('/') {
            return prefix(address(start)?, len, host_bits);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::host(address));
        }
        if text.contains('*') {
            return wildcard(text);
        }
        if let Some((from, to)) = text.split_once('-') {
            return range(address(from)?, to.trim());
        }
        let (bare, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
            Some((bare, "")) => (bare, None),
            Some((bare, port)) => (bare, Some(port.strip_prefix(':').ok_or(ItemError::Port)?)),
            None => match text.split_once(':') {
                Some((bare, port)) if !port.contains(':') && bare.contains('.') => (bare, Some(port)),
                _ => (text, None),
            },
        };
        let address = address(bare)?;
        if port.is_some_and(|port| port.parse::<u16>().is_err() || !port.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err(ItemError::Port);
        }
        Ok(Self::host(address))
    }

    /// Returns its first and its last address.
    pub fn ends(self) -> (IpAddr, IpAddr) {
        match self {
            Self::Prefix(prefix) => (prefix.address(), prefix.last()),
            Self::Range(from, to) => (from, to),
        }
    }

    /// True if it contains every address of `other`.
    pub fn contains(self, other: Self) -> bool {
        let ((from, to), (first, last)) = (self.ends(), other.ends());
        from.is_ipv4() == first.is_ipv4() && from <= first && last <= to
    }

    fn host(address: IpAddr) -> Self {
        Self::Prefix(Prefix::of(address.to_canonical(), u8::MAX))
    }

    /// Returns the range between two addresses of one family.
    ///
    /// # Errors
    /// They are of different families, or the first is after the last.
    pub fn between(from: IpAddr, to: IpAddr) -> Result<Self, ItemError> {
        let (from, to) = (from.to_canonical(), to.to_canonical());
        match from.is_ipv4() == to.is_ipv4() {
            false => Err(ItemError::Families),
            true if to < from => Err(ItemError::Backwards),
            true => Ok(Self::Range(from, to)),
        }
    }
}

/// Reads an address, which may be padded with zeros.
fn address(text: &str) -> Result<IpAddr, ItemError> {
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (mut octets, mut count) = ([0; 4], 0);
    for part in text.split('.') {
        if part.is_empty() || part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ItemError::Address);
        }
        let octet = octets.get_mut(count).ok_or(ItemError::Address)?;
        *octet = part.parse().map_err(|_| ItemError::Address)?;
        count += 1;
    }
    if count < 4 {
        return Err(ItemError::Address);
    }
    // The parser of Rust refuses leading zeros alone. With three digits each they are padding.
    let is_padding = |part: &str| part.len() == 1 || part.len() == 3 || !part.starts_with('0');
    if text.split('.').all(is_padding) { Ok(Ipv4Addr::from(octets).into()) } else { Err(ItemError::LeadingZeros) }
}

/// Returns the prefix of an address and what follows the slash: a length or a netmask.
fn prefix(start: IpAddr, len: &str, host_bits: HostBits) -> Result<Item, ItemError> {
    let max = if start.is_ipv4() { u32::LEN } else { u128::LEN };
    let len = len.trim();
    let len = if len.contains('.') && start.is_ipv4() {
        let mask: Ipv4Addr = len.parse().map_err(|_| ItemError::Netmask)?;
        let len = mask.to_bits().leading_ones();
        if len + mask.to_bits().trailing_zeros().min(32 - len) != 32 {
            return Err(ItemError::Netmask);
        }
        len as u8
    } else {
        // Digits only, because the number parser of Rust accepts a sign.
        let len = Some(len).filter(|len| len.bytes().all(|byte| byte.is_ascii_digit()));
        len.and_then(|len| len.parse().ok()).filter(|len| *len <= max).ok_or(ItemError::Len(max))?
    };
    let prefix = Prefix::of(start, len);
    if prefix.address != start && host_bits == HostBits::Reject {
        return Err(ItemError::HostBits);
    }
    Ok(Item::Prefix(unmapped(prefix)))
}

/// Returns the range from `from` to an address or, of the same first three numbers, to a number.
fn range(from: IpAddr, to: &str) -> Result<Item, ItemError> {
    let is_number = !to.is_empty() && to.len() <= 3 && to.bytes().all(|byte| byte.is_ascii_digit());
    let to = match from {
        IpAddr::V4(v4) if is_number => {
            let [a, b, c, _] = v4.octets();
            Ipv4Addr::new(a, b, c, to.parse().map_err(|_| ItemError::Address)?).into()
        }
        _ => address(to)?,
    };
    Item::between(from, to)
}

/// Returns the prefix of an address whose last numbers are `*`.
fn wildcard(text: &str) -> Result<Item, ItemError> {
    let (mut octets, mut len) = ([0; 4], 0_u8);
    let parts: Vec<_> = text.split('.').collect();
    let stars = parts.iter().rev().take_while(|part| **part == "*").count();
    let known = &parts[..parts.len() - stars];
    if stars == 0 || parts.len() > 4 || known.is_empty() {
        return Err(ItemError::Wildcard);
    }
    for (octet, part) in octets.iter_mut().zip(known) {
        if !part.bytes().all(|byte| byte.is_ascii_digit()) || part.len() > 1 && part.starts_with('0') {
            return Err(ItemError::Wildcard);
        }
        *octet = part.parse().map_err(|_| ItemError::Wildcard)?;
        len += 8;
    }
    Ok(Item::Prefix(Prefix::of(Ipv4Addr::from(octets).into(), len)))
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
            ("192.0.2.0/255.255.255.0", &["192.0.2.0/24"]),
            ("0.0.0.0/0.0.0.0", &["0.0.0.0/0"]),
            ("192.0.2.*", &["192.0.2.0/24"]),
            ("192.0.*.*", &["192.0.0.0/16"]),
            ("198.51.100.10-13", &["198.51.100.10/31", "198.51.100.12/31"]),
            ("192.000.002.001", &["192.0.2.1"]),
            ("010.000.000.000-010.000.000.255", &["10.0.0.0/24"]),
            ("192.0.2.1:8080", &["192.0.2.1"]),
            ("[2001:db8::1]:80", &["2001:db8::1"]),
            ("[2001:db8::1]", &["2001:db8::1"]),
            ("\"192.0.2.1\"", &["192.0.2.1"]),
            ("'2001:db8::/32'", &["2001:db8::/32"]),
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
            ("192.0.2.1/255.255.255.0", ItemError::HostBits),
            ("192.0.2.0/255.0.255.0", ItemError::Netmask),
            ("192.0.2.0/0.0.0.255", ItemError::Netmask),
            ("192.0.2.01", ItemError::LeadingZeros),
            ("0192.0.2.1", ItemError::Address),
            ("192.0.*.1", ItemError::Wildcard),
            ("*.*.*.*", ItemError::Wildcard),
            ("192.0.2.1:x", ItemError::Port),
            ("192.0.2.1:", ItemError::Port),
            ("[2001:db8::1]80", ItemError::Port),
            ("192.0.2.1-300", ItemError::Address),
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
