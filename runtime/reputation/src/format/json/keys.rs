//! The keys of JSON that name addresses, netmasks and ranges.

/// The keys that name an address, an array of them, or a range of addresses; the first one in an object counts. Case, `_` and
/// `-` do not count.
const KEYS: [&str; 24] = [
    "cidr",
    "prefix",
    "ipprefix",
    "ipv4prefix",
    "ipv6prefix",
    "network",
    "ip",
    "ipaddress",
    "ipaddr",
    "ipv4",
    "ipv6",
    "address",
    "addr",
    "value",
    "indicator",
    "src",
    "srcip",
    "sourceip",
    "remoteip",
    "clientip",
    "dstip",
    "host",
    "subnet",
    "range",
];

/// The keys of a netmask or prefix length beside an address without one. Case, `_` and `-` do not count here either.
const MASKS: [&str; 6] = ["netmask", "mask", "subnetmask", "prefixlen", "prefixlength", "masklen"];

/// The keys of the first and the last address of a range.
const RANGES: [[&str; 2]; 4] = [["start", "end"], ["startip", "endip"], ["ipfrom", "ipto"], ["rangestart", "rangeend"]];

/// Keys whose values are not entries beside them: details of an alert, and decisions that have ended.
pub(super) const SKIPPED: [&str; 2] = ["events", "deleted"];

/// The longest key that is compared, in bytes: keys are compared often, and a hostile one may be long.
const KEY_LEN_MAX: usize = 64;

/// The longest known key, in bytes.
const KNOWN_LEN_MAX: usize = 12;

/// A key in lower case, without `_` and `-`.
pub(super) struct PlainKey {
    bytes: [u8; KNOWN_LEN_MAX],
    len: usize,
}

impl PlainKey {
    /// Returns the plain form of a key; `None` if it is longer than every known one.
    pub(super) fn of(key: &str) -> Option<Self> {
        let mut plain = Self { bytes: [0; KNOWN_LEN_MAX], len: 0 };
        if key.len() > KEY_LEN_MAX {
            return None;
        }
        for byte in key.bytes().filter(|byte| !matches!(byte, b'_' | b'-')) {
            *plain.bytes.get_mut(plain.len)? = byte.to_ascii_lowercase();
            plain.len += 1;
        }
        Some(plain)
    }

    fn is(&self, known: &str) -> bool {
        self.bytes[..self.len] == *known.as_bytes()
    }

    /// True if it names a netmask or prefix length.
    pub(super) fn is_mask(&self) -> bool {
        MASKS.iter().any(|mask| self.is(mask))
    }

    /// True if it names an end of a range.
    pub(super) fn is_range_end(&self) -> bool {
        RANGES.as_flattened().iter().any(|end| self.is(end))
    }
}

/// Returns the place of a key among those that name addresses.
pub(super) fn rank(key: &str) -> Option<usize> {
    let key = PlainKey::of(key)?;
    KEYS.iter().position(|known| key.is(known))
}

/// True if two keys name the first and the last address of a range.
pub(super) fn is_range(from: &str, to: &str) -> bool {
    let (Some(from), Some(to)) = (PlainKey::of(from), PlainKey::of(to)) else { return false };
    RANGES.iter().any(|[first, last]| from.is(first) && to.is(last))
}
