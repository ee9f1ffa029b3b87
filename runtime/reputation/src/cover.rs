//! The share of the globally routable addresses that a list covers. A default route in a list would refuse every client.

use std::net::IpAddr;

use crate::prefix::Prefix;

/// IPv4 ranges that are not globally routable, in order: the first and the last address (RFC 6890, and multicast).
const SPECIAL: [(u32, u32); 14] = [
    (0x0000_0000, 0x00ff_ffff), // 0.0.0.0/8
    (0x0a00_0000, 0x0aff_ffff), // 10.0.0.0/8
    (0x6440_0000, 0x647f_ffff), // 100.64.0.0/10
    (0x7f00_0000, 0x7fff_ffff), // 127.0.0.0/8
    (0xa9fe_0000, 0xa9fe_ffff), // 169.254.0.0/16
    (0xac10_0000, 0xac1f_ffff), // 172.16.0.0/12
    (0xc000_0000, 0xc000_00ff), // 192.0.0.0/24
    (0xc000_0200, 0xc000_02ff), // 192.0.2.0/24
    (0xc058_6300, 0xc058_63ff), // 192.88.99.0/24
    (0xc0a8_0000, 0xc0a8_ffff), // 192.168.0.0/16
    (0xc612_0000, 0xc613_ffff), // 198.18.0.0/15
    (0xc633_6400, 0xc633_64ff), // 198.51.100.0/24
    (0xcb00_7100, 0xcb00_71ff), // 203.0.113.0/24
    (0xe000_0000, 0xffff_ffff), // 224.0.0.0/3
];

/// The IPv6 blocks that IANA has allocated to registries, in networks of 48 bits: the first and the last one. Most of 2000::/3 is
/// in no use.
const V6: [(u64, u64); 6] = [
    (0x2001_0000_0000, 0x2003_ffff_ffff), // 2001::/16 to 2003::/18, with 6to4
    (0x2400_0000_0000, 0x240f_ffff_ffff), // 2400::/12
    (0x2600_0000_0000, 0x260f_ffff_ffff), // 2600::/12
    (0x2800_0000_0000, 0x280f_ffff_ffff), // 2800::/12
    (0x2a00_0000_0000, 0x2a1f_ffff_ffff), // 2a00::/11
    (0x2c00_0000_0000, 0x2c0f_ffff_ffff), // 2c00::/12
];

/// Returns the percentage of the globally routable addresses of its family that a prefix covers.
pub(crate) fn of_prefix(prefix: Prefix) -> f64 {
    match (prefix.address(), prefix.last()) {
        (IpAddr::V4(first), IpAddr::V4(last)) => percent_v4(global_v4(first.to_bits(), last.to_bits())),
        (IpAddr::V6(first), IpAddr::V6(last)) => percent_v6(global_v6(first.to_bits(), last.to_bits())),
        _ => unreachable!("a prefix is of one family"),
    }
}

/// Returns the percentage of the globally routable IPv4 addresses that these ranges cover together.
pub(crate) fn of_v4(ranges: impl Iterator<Item = (u32, u32)>) -> f64 {
    percent_v4(union(ranges).into_iter().map(|(first, last)| global_v4(first, last)).sum())
}

/// Returns the percentage of the globally routable IPv6 addresses that these ranges cover together.
pub(crate) fn of_v6(ranges: impl Iterator<Item = (u128, u128)>) -> f64 {
    percent_v6(union(ranges).into_iter().map(|(first, last)| global_v6(first, last)).sum())
}

/// Returns which percentage of the globally routable IPv4 addresses this number is.
pub(crate) fn percent_v4(count: u64) -> f64 {
    let special: u64 = SPECIAL.iter().map(|(first, last)| u64::from(last - first) + 1).sum();
    count as f64 * 100.0 / ((1_u64 << 32) - special) as f64
}

fn percent_v6(count: f64) -> f64 {
    let all: u64 = V6.iter().map(|(first, last)| last - first + 1).sum();
    count * 100.0 / all as f64
}

/// Returns the number of globally routable addresses in a range.
fn global_v4(first: u32, last: u32) -> u64 {
    let special = SPECIAL.iter().map(|(from, to)| {
        let (from, to) = ((*from).max(first), (*to).min(last));
        if from <= to { u64::from(to - from) + 1 } else { 0 }
    });
    u64::from(last - first) + 1 - special.sum::<u64>()
}

/// Returns the globally routable part of a range, in networks of 48 bits.
fn global_v6(first: u128, last: u128) -> f64 {
    let parts = V6.iter().map(|(from, to)| {
        let (from, to) = (first.max(u128::from(*from) << 80), last.min((u128::from(*to) << 80) | ((1 << 80) - 1)));
        if from <= to { ((to - from) as f64 + 1.0) / 2_f64.powi(80) } else { 0.0 }
    });
    parts.sum()
}

/// Returns the largest share of the allocated IPv6 addresses that prefixes of these lengths can cover.
pub(crate) fn bound_v6(lens: impl Iterator<Item = u8>) -> f64 {
    percent_v6(lens.map(|len| 2_f64.powi(48 - i32::from(len))).sum())
}

/// Returns the union of ranges, as ranges that do not touch each other.
fn union<A: Copy + Ord>(ranges: impl Iterator<Item = (A, A)>) -> Vec<(A, A)> {
    let mut ranges: Vec<_> = ranges.collect();
    ranges.sort_unstable();
    let mut union: Vec<(A, A)> = Vec::new();
    for (first, last) in ranges {
        match union.last_mut() {
            Some((_, end)) if first <= *end => *end = last.max(*end),
            _ => union.push((first, last)),
        }
    }
    union
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> f64 {
        let (address, len) = text.split_once('/').unwrap();
        of_prefix(Prefix::of(address.parse().unwrap(), len.parse().unwrap()))
    }

    #[test]
    fn special_ranges_do_not_count() {
        for text in ["10.0.0.0/8", "224.0.0.0/3", "127.0.0.1/32", "192.168.0.0/16", "fc00::/7", "ff00::/8"] {
            assert_eq!(of(text), 0.0, "{text}");
        }
        assert_eq!([of("0.0.0.0/0"), of("::/0"), of("2000::/3")], [100.0; 3]);
        assert!((of("128.0.0.0/1") - 43.5).abs() < 0.1, "{}", of("128.0.0.0/1"));
        assert!((of("8.0.0.0/8") - 0.45).abs() < 0.01, "{}", of("8.0.0.0/8"));
    }

    #[test]
    fn overlapping_prefixes_count_once() {
        let eight = |n: u32| (n << 24, (n << 24) | 0x00ff_ffff);
        let once = of_v4([eight(8)].into_iter());
        assert_eq!(of_v4([eight(8), eight(8), (8 << 24, (8 << 24) + 5)].into_iter()), once);
        assert!((of_v4([eight(8), eight(9)].into_iter()) - 2.0 * once).abs() < 1e-9);
    }
}
