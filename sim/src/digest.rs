//! The hash by which traces and conversations are compared.

/// A hash of 128 bits, which depends on every word and on their order. It is not cryptographic, because nobody has a
/// reason to forge a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    a: u64,
    b: u64,
}

impl Default for Digest {
    fn default() -> Self {
        Self { a: 0x243f_6a88_85a3_08d3, b: 0x1319_8a2e_0370_7344 }
    }
}

impl Digest {
    /// Adds a word.
    #[inline]
    pub fn word(&mut self, word: u64) {
        self.a = (self.a ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        self.b = self.b.rotate_left(31).wrapping_add(self.a ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93);
    }

    /// Adds bytes and their number.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            self.word(rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        }
    }

    /// Returns the hash of everything that was added.
    pub const fn value(&self) -> u128 {
        ((self.a as u128) << 64) | self.b as u128
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&[u8]]) -> u128 {
        let mut digest = Digest::default();
        parts.iter().for_each(|part| digest.bytes(part));
        digest.value()
    }

    #[test]
    fn different_parts_have_different_hashes() {
        let all = [of(&[]), of(&[b""]), of(&[b"a"]), of(&[b"a\0"]), of(&[b"a", b"b"]), of(&[b"ab"]), of(&[b"b", b"a"])];
        for (n, one) in all.iter().enumerate() {
            assert!(all[..n].iter().all(|other| other != one), "{n}");
        }
    }
}
