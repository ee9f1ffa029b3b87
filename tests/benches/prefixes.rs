//! Random prefixes that resemble those of real lists: most IPv4 prefixes are /32 or /24, IPv6 prefixes are /32 to /64,
//! and lists overlap.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spoa_reputation::table::Bits;

/// Number of lists.
pub(crate) const LISTS: usize = 20;

/// Number of IPv4 prefixes among six: there are five for each IPv6 prefix.
pub(crate) const V4_OF_SIX: usize = 5;

/// Returns a random IPv4 prefix.
pub(crate) fn v4(random: &mut impl Rng) -> (u32, u8) {
    let len = match random.random_range(0..10) {
        0..6 => 32,
        6..9 => 24,
        _ => random.random_range(19..=31),
    };
    // Unicast addresses, 1.0.0.0 to 223.255.255.255.
    (random.random_range(0x0100_0000..0xe000_0000_u32).network(len), len)
}

/// Returns a random IPv6 prefix in one of the blocks that have been allocated.
pub(crate) fn v6(random: &mut impl Rng) -> (u128, u8) {
    let block = [0x2001_u128, 0x2400, 0x2600, 0x2800, 0x2a00, 0x2a01, 0x2c00][random.random_range(0..7)];
    let len = [32, 40, 48, 56, 64][random.random_range(0..5)];
    ((block << 112 | u128::from(random.next_u64()) << 48).network(len), len)
}

/// A prefix of either family.
pub(crate) enum Listed {
    V4(u32, u8),
    V6(u128, u8),
}

/// Returns the prefixes of one of the lists. They depend only on the number of the list.
pub(crate) fn list(number: usize, count: usize) -> impl Iterator<Item = Listed> {
    let mut random = ChaCha8Rng::seed_from_u64(number as u64);
    (0..count).map(move |n| {
        if n % (V4_OF_SIX + 1) < V4_OF_SIX {
            let (start, len) = v4(&mut random);
            Listed::V4(start, len)
        } else {
            let (start, len) = v6(&mut random);
            Listed::V6(start, len)
        }
    })
}

/// Writes [`LISTS`] lists, with this number of prefixes in total, to files in a new folder. Returns the total size in
/// bytes.
pub(crate) fn write_lists(folder: &Path, prefixes: usize) -> u64 {
    fs::create_dir(folder).expect("the folder does not exist yet");
    let mut size = 0;
    for number in 0..LISTS {
        let mut text = String::new();
        for listed in list(number, prefixes / LISTS) {
            text += &match listed {
                Listed::V4(start, len) => format!("{}/{len}\n", Ipv4Addr::from_bits(start)),
                Listed::V6(start, len) => format!("{}/{len}\n", Ipv6Addr::from_bits(start)),
            };
        }
        size += text.len() as u64;
        fs::write(folder.join(number.to_string()), text).expect("the file can be written");
    }
    size
}
