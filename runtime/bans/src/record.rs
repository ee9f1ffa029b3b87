//! A change of a ban as a JSON object: in requests and answers, in exports and in the journal.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use spoa_reputation::{Item, ItemError, Prefix};

/// A change, such as `{"action":"ban","address":"192.0.2.7","list":"bans","until":"2026-11-28T08:00:00.000Z","reason":"scans"}`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Record<'r> {
    /// The kind of change.
    pub action: Action,
    /// The address or prefix.
    pub address: Address,
    /// The name of the list. By default it is `bans`, or `allowed` for [`Action::Allow`]; [`Action::Remove`] then concerns all lists
    /// but those of [`Action::Allow`].
    #[serde(borrow, default, deserialize_with = "borrowed", skip_serializing_if = "Option::is_none")]
    pub list: Option<Cow<'r, str>>,
    /// The score, 0 to 100; by default that of the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<u8>,
    /// The seconds from now to its end; only in requests.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// The time of its end; by default, and without `for`, it does not end by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The time when the ban was added; by default now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// The time that orders the changes of one ban on several agents; by default `created`. A change with one of the two has no effect
    /// if the agent has a later change of the same prefix, list and origin. A change with neither is the latest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Timestamp>,
    /// The reason, for people.
    #[serde(borrow, default, skip_serializing_if = "is_empty")]
    pub reason: Cow<'r, str>,
    /// The program or person that added it, by default an empty text. Each origin has its own ban of a prefix in a list.
    /// [`Action::Remove`] without it concerns all origins.
    #[serde(borrow, default, deserialize_with = "borrowed", skip_serializing_if = "Option::is_none")]
    pub origin: Option<Cow<'r, str>>,
}

/// Reads a text without a copy, which serde does for a `Cow` but not for one in an `Option`.
fn borrowed<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    #[derive(Deserialize)]
    struct Borrowed<'b>(#[serde(borrow)] Cow<'b, str>);
    Ok(Option::<Borrowed<'de>>::deserialize(from)?.map(|Borrowed(text)| text))
}

fn is_empty(text: &str) -> bool {
    text.is_empty()
}

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Adds the prefix to a list whose addresses are bad, or replaces its ban of the same origin.
    Ban,
    /// Adds the prefix to an `allow` list, or replaces its entry of the same origin.
    Allow,
    /// Removes what was added.
    Remove,
}

impl<'r> Record<'r> {
    /// Returns a change with nothing but an action and an address.
    pub const fn new(action: Action, prefix: Prefix) -> Self {
        let reason = Cow::Borrowed("");
        let (list, score, seconds, until, created, changed, origin) = (None, None, None, None, None, None, None);
        Self { action, address: Address(prefix), list, score, seconds, until, created, changed, reason, origin }
    }

    /// Returns it as a JSON object on one line.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).expect("a record has no maps, whose keys could be no strings")
    }

    /// Returns it with texts of its own.
    pub fn into_owned(self) -> Record<'static> {
        let Self { action, address, list, score, seconds, until, created, changed, reason, origin } = self;
        let owned = |text: Cow<'r, str>| Cow::Owned(text.into_owned());
        let (list, reason, origin) = (list.map(owned), owned(reason), origin.map(owned));
        Record { action, address, list, score, seconds, until, created, changed, reason, origin }
    }
}

/// An address or prefix, as text: `192.0.2.7` or `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub Prefix);

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<Item>() {
            Ok(Item::Prefix(prefix)) => Ok(Self(prefix)),
            Ok(Item::Range(..)) => Err("expected an address or a prefix, not a range".into()),
            Err(ItemError::HostBits) => Err("bits are set after the prefix length: write the network's address".into()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text("an address or a prefix", |text: &str| {
            text.parse().map_err(|error| format!("{}: {error}", text.escape_debug()))
        }))
    }
}

/// A time on the clock of the day, in milliseconds since 1970; as text `2026-11-28T08:00:00.000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

/// The last time that can be written as text, the end of the year 9999.
const TIME_MAX: u64 = 253_402_300_799_999;

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(self.0.min(TIME_MAX))).fmt(f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text("a time such as 2026-11-28T08:00:00Z", |text: &str| {
            let time = humantime::parse_rfc3339(text).map_err(|error| error.to_string())?;
            let since = time.duration_since(UNIX_EPOCH).map_err(|_| "it is before 1970")?;
            Ok(Self(u64::try_from(since.as_millis()).unwrap_or(TIME_MAX)))
        }))
    }
}

/// Reads a value from a string.
struct Text<P>(&'static str, P);

impl<T, P: FnOnce(&str) -> Result<T, String>> Visitor<'_> for Text<P> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let Self(_, parse) = self;
        parse(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_written() {
        let full = r#"{"action":"ban","address":"192.0.2.0/24","list":"ssh","score":5,"until":"2026-11-28T08:00:00.250Z","created":"2026-11-28T07:00:00.000Z","changed":"2026-11-28T07:00:01.000Z","reason":"\"scans\"","origin":"fail2ban"}"#;
        let record: Record<'_> = serde_json::from_str(full).expect("a record");
        assert_eq!(record.until.map(|until| until.0 % 1000), Some(250));
        assert_eq!(serde_json::to_string(&record).expect("a record is written"), full);
        let least = r#"{"action":"remove","address":"2001:db8::1"}"#;
        let record: Record<'_> = serde_json::from_str(least).expect("a record");
        assert_eq!(serde_json::to_string(&record).expect("a record is written"), least);
    }

    #[test]
    fn wrong_records_are_explained() {
        for (text, error) in [
            (r#"{"action":"ban"}"#, "missing field `address`"),
            (r#"{"action":"bann","address":"192.0.2.1"}"#, "unknown variant `bann`"),
            (r#"{"action":"ban","address":"192.0.2.7/24"}"#, "192.0.2.7/24: bits are set after the prefix length"),
            (r#"{"action":"ban","address":"192.0.2.1-5"}"#, "not a range"),
            (r#"{"action":"ban","address":"host"}"#, "host: not an address"),
            (r#"{"action":"ban","address":"192.0.2.1","fro":1}"#, "unknown field `fro`"),
            (r#"{"action":"ban","address":"192.0.2.1","until":"tomorrow"}"#, "at line"),
            (r#"{"action":"ban","address":"192.0.2.1","score":300}"#, "300"),
        ] {
            let text = serde_json::from_str::<Record<'_>>(text).expect_err(text).to_string();
            assert!(text.contains(error), "{text}");
        }
    }
}
