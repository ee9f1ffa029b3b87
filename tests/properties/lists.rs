//! Lists of addresses against a model that looks through all of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;
use spoa_runtime::reputation::format::{self, Column, Format};
use spoa_runtime::reputation::table::{Bits, Entry, Table};
use spoa_runtime::reputation::{Item, Prefix};

/// Addresses close to each other and to the ends, so that prefixes meet.
fn v4() -> impl Strategy<Value = u32> {
    prop_oneof![
        0_u32..64,
        (0_u32..64).prop_map(|n| u32::MAX - n),
        (0_u32..1024).prop_map(|n| 0x0a00_0000 + n),
        any::<u32>()
    ]
}

fn v6() -> impl Strategy<Value = u128> {
    let spread = |shift: u32| (0_u128..64).prop_map(move |n| (0x2001_0db8 << 96) + (n << shift));
    prop_oneof![(0_u128..64).prop_map(|n| u128::MAX - n), 0_u128..64, spread(0), spread(64), spread(109), any::<u128>()]
}

fn entries<A: Bits + 'static>(address: impl Strategy<Value = A>) -> impl Strategy<Value = Vec<Entry<A>>> {
    let len = prop_oneof![A::LEN - 8..=A::LEN, 0..=A::LEN];
    let entry = (address, len, 0_u16..5).prop_map(|(at, len, list)| Entry { start: at.network(len), len, list });
    vec(entry, 0..60)
}

/// Hundreds of prefixes in few blocks of 16 bits, as those of IPv6 are: a table of these has buckets within blocks.
fn crowd<A: Bits + 'static>(address: fn(u32) -> A) -> impl Strategy<Value = Vec<Entry<A>>> {
    let entry = (any::<u32>(), 17..=A::LEN.min(48), 0_u16..5);
    let entry = entry.prop_map(move |(at, len, list)| Entry { start: address(at).network(len), len, list });
    vec(entry, 200..500)
}

/// An address in one of two blocks.
fn crowded_v4(random: u32) -> u32 {
    0x0a00_0000 | (random & 0x1_ffff)
}

fn crowded_v6(random: u32) -> u128 {
    (0x2a00_u128 << 112 | u128::from(random) << 80) ^ (u128::from(random & 1) << 112)
}

/// Looks through all entries: the lowest rank, then the longest prefix, then the first list.
fn model<A: Bits>(entries: &[Entry<A>], ranks: &[u16], address: A) -> Option<(u16, u8)> {
    let around = entries.iter().filter(|entry| address.network(entry.len) == entry.start);
    let best = around.min_by_key(|entry| (ranks[usize::from(entry.list)], u8::MAX - entry.len, entry.list));
    best.map(|entry| (entry.list, entry.len))
}

fn agrees<A: Bits>(entries: &[Entry<A>], ranks: &[u16], mut addresses: Vec<A>) -> Result<(), TestCaseError> {
    let table = Table::new(entries.to_vec(), |list| ranks[usize::from(list)]);
    for entry in entries {
        let last = entry.start.broadcast(entry.len);
        addresses.extend([entry.start, last].into_iter().chain(last.next()));
    }
    for address in addresses {
        let found = table.get(address).map(|hit| (hit.list(), hit.prefix_len()));
        prop_assert_eq!(found, model(entries, ranks, address), "{:?}", address);
    }
    prop_assert!(table.ranges() <= 2 * entries.len() + 1);
    Ok(())
}

fn formats() -> impl Strategy<Value = Format> {
    prop_oneof![
        Just(Format::Auto),
        Just(Format::Lines),
        Just(Format::JsonLines),
        (0_usize..4).prop_map(|number| Format::Csv(Column::Number(number))),
        Just(Format::Csv(Column::Name("ip".into()))),
    ]
}

/// Pieces of lists, good and bad, in any order.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::sample::select(vec![
            "1.2.3.4",
            "10.0.0.0/8",
            "2001:db8::/32",
            "10.0.0.1-10.0.0.9",
            "\n",
            "\r\n",
            ",",
            "\"",
            "#",
            ";",
            " ",
            "/",
            "-",
            "{\"cidr\":\"1.2.3.0/24\"}",
            "{",
            "}",
            "ip",
            "::",
            "33",
            "\u{feff}",
            "0.0.0.1-255.255.255.254",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        vec(any::<u8>(), 0..6),
        (0_usize..3).prop_map(|n| vec![b'x'; n * 4096]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_table_of_ipv4_agrees_with_a_scan(
        entries in entries(v4()), ranks in vec(0_u16..4, 5), addresses in vec(v4(), 20)
    ) {
        agrees(&entries, &ranks, addresses)?;
    }

    #[test]
    fn the_table_of_ipv6_agrees_with_a_scan(
        entries in entries(v6()), ranks in vec(0_u16..4, 5), addresses in vec(v6(), 20)
    ) {
        agrees(&entries, &ranks, addresses)?;
    }

    #[test]
    fn tables_of_crowds_agree_with_a_scan(
        v4 in crowd(crowded_v4), v6 in crowd(crowded_v6), ranks in vec(0_u16..4, 5), random in vec(any::<u32>(), 20)
    ) {
        agrees(&v4, &ranks, random.iter().copied().map(crowded_v4).collect())?;
        agrees(&v6, &ranks, random.iter().copied().map(crowded_v6).collect())?;
    }

    /// The prefixes of a range are its addresses, no more and no fewer.
    #[test]
    fn a_range_is_cut_into_what_it_was(a in v4(), b in v4()) {
        let (from, to) = (a.min(b), a.max(b));
        let item: Item = format!("{}-{}", Ipv4Addr::from_bits(from), Ipv4Addr::from_bits(to)).parse().expect("a range");
        let mut next = Some(from);
        item.prefixes(|prefix| {
            let IpAddr::V4(start) = prefix.address() else { panic!("{prefix}") };
            assert_eq!(next, Some(start.to_bits()));
            next = start.to_bits().broadcast(prefix.bits()).checked_add(1);
        });
        prop_assert_eq!(next, to.checked_add(1));
    }

    /// What is written is read again.
    #[test]
    fn prefixes_are_read_as_they_are_written(a in v4(), b in v6(), len in 0_u8..=128) {
        for prefix in [Prefix::of(Ipv4Addr::from_bits(a).into(), len), Prefix::of(Ipv6Addr::from_bits(b).into(), len)] {
            let mapped = prefix.address().is_ipv6() && prefix.address().to_canonical().is_ipv4();
            if !mapped {
                prop_assert_eq!(prefix.to_string().parse::<Item>(), Ok(Item::Prefix(prefix)));
            }
        }
    }

    /// Any bytes are lines: good ones, or bad ones with their numbers, and never more of them than there are.
    #[test]
    fn any_bytes_are_read_to_the_end(pieces in vec(piece(), 0..40), format in formats()) {
        let bytes = pieces.concat();
        let lines = bytes.split(|byte| *byte == b'\n').count() as u64;
        let (mut last, mut prefixes) = (0, 0);
        let read = format::read(&bytes[..], &format, |number, said| {
            assert!(last < number && number <= lines, "line {number} behind {last}, of {lines}");
            last = number;
            if let Ok(item) = said {
                item.prefixes(|_| prefixes += 1);
            }
        });
        prop_assert!(read.is_ok() || matches!(format, Format::Csv(Column::Name(_))));
        prop_assert!(prefixes <= 254 * lines);
    }
}
