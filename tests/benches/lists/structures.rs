//! Compares the table of `spoa` with crates that could replace it: prefixes in memory, and lookups of the longest
//! match.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::ValueEnum;
use ip_network::{Ipv4Network, Ipv6Network};
use ip_network_table::IpNetworkTable;
use ipnet::{Ipv4Net, Ipv6Net};
use iptrie::{Ipv4LCTrieMap, Ipv4RTrieMap, Ipv6LCTrieMap, Ipv6RTrieMap};
use prefix_trie::PrefixMap;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::getpid;
use spoa_reputation::table::{Bits, Entry, Table};
use spoa_tests::process;

use crate::prefixes::{self, V4_OF_SIX};
use crate::{look_ups, mebibytes};

/// A data structure that finds the prefix of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Structure {
    /// The table of `spoa`
    Table,
    /// A binary trie
    PrefixTrie,
    /// A tree bitmap
    IpNetworkTable,
    /// A trie with compressed levels
    Iptrie,
}

/// Random prefixes of both families.
struct Sample {
    v4: Vec<(u32, u8)>,
    v6: Vec<(u128, u8)>,
}

impl Sample {
    fn new(prefixes: usize) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(prefixes as u64);
        let count = prefixes / (V4_OF_SIX + 1);
        let v4 = (0..count * V4_OF_SIX).map(|_| prefixes::v4(&mut random)).collect();
        Self { v4, v6: (0..count).map(|_| prefixes::v6(&mut random)).collect() }
    }

    /// Measures `build` and lookups of addresses in its result. Returns the row of the table without its first column.
    fn measure<S>(
        &self,
        build: impl Fn(&Self) -> S,
        v4: impl Fn(&S, u32) -> bool,
        v6: impl Fn(&S, u128) -> bool,
    ) -> String {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let hits_v4: Vec<u32> =
            self.v4.iter().map(|(start, len)| start | random.next_u32() & !u32::MAX.network(*len)).collect();
        let low = |random: &mut ChaCha8Rng, len: u8| u128::from(random.next_u64()) & !u128::MAX.network(len);
        let hits_v6: Vec<u128> = self.v6.iter().map(|(start, len)| start | low(&mut random, *len)).collect();
        let any_v4: Vec<u32> = hits_v4.iter().map(|_| random.next_u32()).collect();
        let any_v6: Vec<u128> = hits_v6.iter().map(|_| prefixes::v6(&mut random).0 | 1).collect();
        let (before, had) = (process::cpu_time(getpid()), process::memory(getpid()));
        let built = build(self);
        let (time, memory) = (process::cpu_time(getpid()) - before, process::memory(getpid()).saturating_sub(had));
        assert!(
            hits_v4.iter().all(|address| v4(&built, *address)) && hits_v6.iter().all(|address| v6(&built, *address))
        );
        format!(
            "{:.2} s | {} | {} | {} | {} | {} |",
            time.as_secs_f64(),
            mebibytes(memory),
            look_ups(&hits_v4, 1, |address| v4(&built, address)),
            look_ups(&any_v4, 1, |address| v4(&built, address)),
            look_ups(&hits_v6, 5, |address| v6(&built, address)),
            look_ups(&any_v6, 5, |address| v6(&built, address)),
        )
    }
}

impl Structure {
    /// Measures this structure with this number of prefixes.
    pub(crate) fn measure(self, prefixes: usize) -> String {
        let sample = Sample::new(prefixes);
        let (ip4, ip6) = (Ipv4Addr::from_bits, Ipv6Addr::from_bits);
        match self {
            Self::Table => sample.measure(
                |sample| {
                    let v4 = sample.v4.iter().map(|&(start, len)| Entry { start, len, score: 0, list: 0 });
                    let v6 = sample.v6.iter().map(|&(start, len)| Entry { start, len, score: 0, list: 0 });
                    (Table::new(v4.collect(), |_| 0), Table::new(v6.collect(), |_| 0))
                },
                |(v4, _), address| v4.get(address).is_some(),
                |(_, v6), address| v6.get(address).is_some(),
            ),
            Self::PrefixTrie => sample.measure(
                |sample| {
                    let v4 = sample.v4.iter().map(|&(start, len)| (Ipv4Net::new_assert(ip4(start), len), 0_u16));
                    let v6 = sample.v6.iter().map(|&(start, len)| (Ipv6Net::new_assert(ip6(start), len), 0_u16));
                    (v4.collect::<PrefixMap<_, _>>(), v6.collect::<PrefixMap<_, _>>())
                },
                |(v4, _), address| v4.get_lpm(&Ipv4Net::new_assert(ip4(address), 32)).is_some(),
                |(_, v6), address| v6.get_lpm(&Ipv6Net::new_assert(ip6(address), 128)).is_some(),
            ),
            Self::IpNetworkTable => sample.measure(
                |sample| {
                    let mut table = IpNetworkTable::new();
                    for &(start, len) in &sample.v4 {
                        table.insert(Ipv4Network::new(ip4(start), len).expect("the prefix is valid"), 0_u16);
                    }
                    for &(start, len) in &sample.v6 {
                        table.insert(Ipv6Network::new(ip6(start), len).expect("the prefix is valid"), 0_u16);
                    }
                    table
                },
                |table, address| table.longest_match(IpAddr::V4(ip4(address))).is_some(),
                |table, address| table.longest_match(IpAddr::V6(ip6(address))).is_some(),
            ),
            Self::Iptrie => sample.measure(
                |sample| {
                    // The root, 0.0.0.0/0 or ::/0, matches the addresses that are in none of the prefixes.
                    let (mut v4, mut v6) = (Ipv4RTrieMap::with_root(0_u16), Ipv6RTrieMap::with_root(0_u16));
                    for &(start, len) in &sample.v4 {
                        v4.insert(Ipv4Net::new_assert(ip4(start), len).into(), 1);
                    }
                    for &(start, len) in &sample.v6 {
                        v6.insert(Ipv6Net::new_assert(ip6(start), len).into(), 1);
                    }
                    (v4.compress(), v6.compress())
                },
                |(v4, _): &(Ipv4LCTrieMap<u16>, Ipv6LCTrieMap<u16>), address| *v4.lookup(&ip4(address)).1 > 0,
                |(_, v6), address| *v6.lookup(&ip6(address)).1 > 0,
            ),
        }
    }
}
