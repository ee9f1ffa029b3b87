//! The content of a list's file, and the limits on it.

use std::io;
use std::net::IpAddr;

use super::prefixes::Prefixes;
use super::stamp::Stamp;
use super::{BAD_MAX, COVER_MAX, FirstBad, ListConfig, LoadError};
use crate::cover;
use crate::format::{self, Detected, LineError};
use crate::prefix::Prefix;
use crate::table::Bits;

/// The number of bad lines that are kept for reports.
const BAD_KEPT: usize = 5;

/// The content of a file.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) v4: Prefixes<u32>,
    pub(super) v6: Prefixes<u128>,
    /// The first bad lines, with their numbers.
    pub(super) bad: Vec<(u64, LineError)>,
    pub(super) detected: Detected,
    /// The share of the globally routable addresses, at most: overlaps count twice.
    pub(super) cover_bound: f64,
    pub(super) stamp: Option<Stamp>,
}

impl Content {
    /// Reads a file; keeps hardly more than `room` prefixes of it.
    pub(super) fn read(config: &ListConfig, room: usize) -> io::Result<Self> {
        let (file, metadata) = format::open(config.file())?;
        let mut content = Self { stamp: Some(Stamp::of(&metadata)), ..Self::default() };
        content.detected = format::read(file, &config.reading, |line, parsed| match parsed {
            Ok(entry) if content.prefixes() <= room => content.add(entry),
            Ok(_) => {}
            Err(error) => {
                if content.bad.len() < BAD_KEPT {
                    content.bad.push((line, error));
                }
            }
        })?;
        let sum_v4: u64 = content.v4.kept.iter().map(|kept| 1_u64 << (32 - kept.len)).sum();
        let v6 = cover::bound_v6(content.v6.kept.iter().map(|kept| kept.len));
        content.cover_bound = cover::percent_v4(sum_v4).max(v6).min(100.0) / 100.0;
        content.v4.finish();
        content.v6.finish();
        Ok(content)
    }

    pub(super) fn add(&mut self, entry: format::Entry) {
        entry.item.prefixes(|prefix| {
            let len = prefix.bits();
            match prefix.address() {
                IpAddr::V4(start) => self.v4.add(start.to_bits(), len, entry.score),
                IpAddr::V6(start) => self.v6.add(start.to_bits(), len, entry.score),
            }
        });
    }

    pub(super) const fn prefixes(&self) -> usize {
        self.v4.kept.len() + self.v6.kept.len()
    }

    /// Returns the percentage of the globally routable addresses of a family that the prefixes cover, and the family.
    pub(super) fn cover(&self) -> (f64, &'static str) {
        let v4 = cover::of_v4(self.v4.kept.iter().map(|kept| (kept.start, kept.start.broadcast(kept.len))));
        let v6 = cover::of_v6(self.v6.kept.iter().map(|kept| (kept.start, kept.start.broadcast(kept.len))));
        if v4 >= v6 { (v4, "IPv4") } else { (v6, "IPv6") }
    }

    /// Checks the share of bad lines.
    pub(super) fn check_bad_lines(&self, config: &ListConfig) -> Result<(), LoadError> {
        let (max, count) = (config.max_bad.unwrap_or(BAD_MAX), self.detected.bad_lines);
        let total = count + self.detected.entries + self.detected.below_min;
        let Some(first) = self.first_bad().filter(|_| count * 100 > total * u64::from(max)) else { return Ok(()) };
        let (name, path) = (config.name.clone(), config.file().to_owned());
        Err(LoadError::TooManyBadLines { name, path, count, total, max, first })
    }

    pub(super) fn first_bad(&self) -> Option<Box<FirstBad>> {
        let (line, error) = self.bad.first()?;
        Some(Box::new(FirstBad { line: *line, error: error.clone(), layout: self.detected.layout.clone() }))
    }

    /// Checks that neither a prefix nor all together cover more than they may.
    pub(super) fn check_cover(&self, config: &ListConfig) -> Result<(), LoadError> {
        let max = config.prefix_cover_max();
        // Shorter prefixes alone can cover that much.
        let v4 = self.v4.kept.iter().filter(|kept| kept.len < 8).map(|kept| Prefix::of(kept.start.to_ip(), kept.len));
        let v6 = self.v6.kept.iter().filter(|kept| kept.len < 16).map(|kept| Prefix::of(kept.start.to_ip(), kept.len));
        for prefix in v4.chain(v6) {
            let percent = cover::of_prefix(prefix);
            if percent > max {
                let (name, path) = (config.name.clone(), config.file().to_owned());
                return Err(LoadError::TooWide { name, path, prefix, percent, max });
            }
        }
        let max = config.max_cover.unwrap_or(COVER_MAX);
        // A sum that counts overlaps twice is enough for nearly every list, and is much faster.
        if self.cover_bound * 100.0 <= f64::from(max) {
            return Ok(());
        }
        let (percent, family) = self.cover();
        if percent > f64::from(max) {
            let (name, path) = (config.name.clone(), config.file().to_owned());
            return Err(LoadError::CoversTooMuch { name, path, family, percent, max });
        }
        Ok(())
    }
}
