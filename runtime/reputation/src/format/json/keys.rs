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

/// True if a key is this known one, whatever its case, `_` and `-`.
pub(super) fn is_named(key: &str, known: &str) -> bool {
    let mut plain = key.bytes().filter(|byte| !matches!(byte, b'_' | b'-'));
    known.bytes().all(|byte| plain.next().is_some_and(|other| other.eq_ignore_ascii_case(&byte)))
        && plain.next().is_none()
}

/// The longest key that can name an address, in bytes: keys are compared often, and a hostile one may be long.
const KEY_LEN_MAX: usize = 64;

/// Returns the place of a key among those that name addresses.
pub(super) fn rank(key: &str) -> Option<usize> {
    // As long as the longest of them.
    let (mut plain, mut len) = ([0; 10], 0);
    if key.len() > KEY_LEN_MAX {
        return None;
    }
    for byte in key.bytes().filter(|byte| !matches!(byte, b'_' | b'-')) {
        *plain.get_mut(len)? = byte.to_ascii_lowercase();
        len += 1;
    }
    KEYS.iter().position(|known| known.as_bytes() == &plain[..len])
}

/// True if a key names a netmask or prefix length.
pub(super) fn is_mask(key: &str) -> bool {
    MASKS.iter().any(|mask| is_named(key, mask))
}

/// True if two keys name the first and the last address of a range.
pub(super) fn is_range(from: &str, to: &str) -> bool {
    RANGES.iter().any(|[first, last]| is_named(from, first) && is_named(to, last))
}

/// True if a key names an end of a range.
pub(super) fn is_range_end(key: &str) -> bool {
    RANGES.as_flattened().iter().any(|end| is_named(key, end))
}
