//! Values of options, from the command line and the configuration file.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use spoa_runtime::Capabilities;

/// A time: a whole number of milliseconds, as for HAProxy's example agent, or of the unit that follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

impl FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "expected a whole number of ms, or one with a unit: us, ms, s, m or h";
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let micros = match unit {
            "us" => 1,
            "" | "ms" => 1_000,
            "s" => 1_000_000,
            "m" => 60_000_000,
            "h" => 3_600_000_000,
            _ => return Err(WRONG),
        };
        let number = number.parse::<u64>().map_err(|_| WRONG)?;
        let micros = number.checked_mul(micros).ok_or("the time is too long")?;
        Ok(Self(Duration::from_micros(micros)))
    }
}

impl Time {
    /// Returns the number of nanoseconds, at most 584 years.
    pub(crate) fn number(self) -> u64 {
        self.0.as_nanos().try_into().unwrap_or(u64::MAX)
    }
}

/// A whole number in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole<const MIN: u64, const MAX: u64>(pub(crate) u64);

impl<const MIN: u64, const MAX: u64> FromStr for Whole<MIN, MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|number| (MIN..=MAX).contains(number));
        number.map(Self).ok_or_else(|| match MAX {
            u64::MAX if MIN == 0 => "expected a whole number".into(),
            u64::MAX => format!("expected a whole number from {MIN} on"),
            _ => format!("expected a whole number from {MIN} to {MAX}"),
        })
    }
}

/// A number of things or bytes.
pub(crate) type Number = Whole<0, { u64::MAX }>;
/// A number of things or bytes, at least one.
pub(crate) type Positive = Whole<1, { u64::MAX }>;
/// A TCP port.
pub(crate) type Port = Whole<1, 65_535>;

impl<const MIN: u64, const MAX: u64> Whole<MIN, MAX> {
    /// Returns the number.
    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    /// Returns it as a size; on machines where that is smaller, at most the largest one.
    pub(crate) fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// A score or percentage, 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Percent(pub(crate) u8);

impl FromStr for Percent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        text.parse().ok().filter(|number| *number <= 100).map(Self).ok_or("expected a number from 0 to 100")
    }
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilePath(pub(crate) PathBuf);

impl FromStr for FilePath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() { Err("expected a file") } else { Ok(Self(text.into())) }
    }
}

/// A folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Folder(pub(crate) PathBuf);

impl FromStr for Folder {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() { Err("expected a folder") } else { Ok(Self(text.into())) }
    }
}

/// A capability to offer, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capability(pub(crate) Capabilities);

impl FromStr for Capability {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, &'static str> {
        let known = if name == "none" { Some(Capabilities::NONE) } else { Capabilities::from_name(name) };
        known.map(Self).ok_or("expected pipelining, fragmentation, async or none")
    }
}

/// Reads from a TOML string or number what the command line reads from text.
pub(crate) fn text<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(from: D) -> Result<Option<T>, D::Error> {
    from.deserialize_any(Text(PhantomData)).map(Some)
}

/// Reads one such value, or an array of them.
pub(crate) fn texts<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    from: D,
) -> Result<Option<Vec<T>>, D::Error> {
    from.deserialize_any(Texts(PhantomData)).map(Some)
}

struct Text<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a number")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

struct Texts<T>(PhantomData<T>);

impl<'de, T: FromStr<Err: fmt::Display>> Visitor<'de> for Texts<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of strings")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
        Ok(vec![Text(PhantomData).visit_str(text)?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, texts: A) -> Result<Vec<T>, A::Error> {
        let each = Vec::<Parsed<T>>::deserialize(SeqAccessDeserializer::new(texts))?;
        Ok(each.into_iter().map(|Parsed(value)| value).collect())
    }
}

/// A value in an array, so that an error has the place of the value.
struct Parsed<T>(T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Text(PhantomData)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, micros) in
            [("0", 0), ("15", 15_000), ("15ms", 15_000), ("7us", 7), ("2s", 2_000_000), ("3m", 180_000_000)]
        {
            assert_eq!(text.parse(), Ok(Time(Duration::from_micros(micros))));
        }
        for text in ["", "s", "1d", "1.5s", "-1", "1 s", "1sec", "99999999999999999999", "18446744073709551615s"] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }
}
