//! Values of options, as the command line and the configuration file have them.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use spoa_runtime::Capabilities;

/// A time as HAProxy's example agent takes it: a whole number of milliseconds, or of the unit that follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

impl FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "it takes a whole number and us, ms, s, m or h";
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
        let micros = number.checked_mul(micros).ok_or("that is longer than can be counted")?;
        Ok(Self(Duration::from_micros(micros)))
    }
}

/// A number from 0 to 100: a score, or a part of a hundred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Percent(pub(crate) u8);

impl FromStr for Percent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        text.parse().ok().filter(|number| *number <= 100).map(Self).ok_or("it takes a number from 0 to 100")
    }
}

/// Capabilities to offer, by one name each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capability(pub(crate) Capabilities);

impl FromStr for Capability {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, &'static str> {
        let known = if name == "none" { Some(Capabilities::NONE) } else { Capabilities::from_name(name) };
        known.map(Self).ok_or("it takes pipelining, fragmentation, async or none")
    }
}

/// Reads what has a text for the command line: from a text or, where that is one, a number.
pub(crate) fn text<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(from: D) -> Result<Option<T>, D::Error> {
    from.deserialize_any(Text(PhantomData)).map(Some)
}

/// Reads one such text, or several in an array.
pub(crate) fn texts<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    from: D,
) -> Result<Option<Vec<T>>, D::Error> {
    from.deserialize_any(Texts(PhantomData)).map(Some)
}

struct Text<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a number")
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
        f.write_str("a text or an array of texts")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
        Ok(vec![Text(PhantomData).visit_str(text)?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, texts: A) -> Result<Vec<T>, A::Error> {
        let each = Vec::<Parsed<T>>::deserialize(SeqAccessDeserializer::new(texts))?;
        Ok(each.into_iter().map(|Parsed(value)| value).collect())
    }
}

/// A value in an array: an error is told with its own place.
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
