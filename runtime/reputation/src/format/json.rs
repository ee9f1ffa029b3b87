//! Addresses in JSON: one object per line, or whole documents of any shape.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, Read};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{KEYS_SHOWN, LineFault, Reading, shown};
use crate::prefix::Item;

/// The keys that name an address, an array of them, or a range of addresses; the first one in an object counts. Case and `_` do
/// not count.
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

/// The longest string that can be an entry, in bytes.
const ENTRY_LEN_MAX: usize = 128;

/// The number of strings of an object that are considered.
const FIELDS_MAX: usize = 256;

/// Reads entries out of JSON values.
pub(super) struct Walker<'r, F> {
    reading: &'r Reading,
    /// Called with each entry, and with each fault.
    tell: RefCell<F>,
    /// The keys under which entries were found.
    keys: RefCell<Vec<String>>,
    /// The number of objects below the threshold.
    below_min: Cell<u64>,
}

/// Strings of an object that may be entries.
#[derive(Default)]
struct Fields {
    strings: Vec<(String, String)>,
    /// The number under the key of the threshold, or the text that is none.
    number: Option<Result<f64, String>>,
    scope: Option<String>,
    is_metadata: bool,
    /// An array or object inside has had an entry.
    has_found: bool,
}

impl<'r, F: FnMut(Result<Item, LineFault>)> Walker<'r, F> {
    pub(super) fn new(reading: &'r Reading, tell: F) -> Self {
        Self { reading, tell: RefCell::new(tell), keys: RefCell::default(), below_min: Cell::new(0) }
    }

    /// Reads one line. Returns the error and its column if it is not JSON.
    pub(super) fn line(&self, text: &str) -> Result<(), (String, usize)> {
        let mut json = serde_json::Deserializer::from_str(text);
        let read = Node { walker: self, key: "", is_row: true }.deserialize(&mut json).and_then(|_| json.end());
        read.map_err(|error| (what(&error), error.column().max(1)))
    }

    /// Reads a document to its end.
    ///
    /// # Errors
    /// It is not JSON, or cannot be read.
    pub(super) fn document(&self, input: impl Read) -> io::Result<()> {
        let mut json = serde_json::Deserializer::from_reader(input);
        let read = Node { walker: self, key: "", is_row: false }.deserialize(&mut json).and_then(|_| json.end());
        read.map_err(|error| {
            let text = format!("it is not JSON: {error}");
            if error.is_io() { io::Error::from(error) } else { io::Error::new(io::ErrorKind::InvalidData, text) }
        })
    }

    /// Returns the number of objects below the threshold.
    pub(super) const fn below_min(&self) -> u64 {
        self.below_min.get()
    }

    /// Returns the keys under which entries were found.
    pub(super) fn keys(&self) -> Vec<String> {
        self.keys.borrow().clone()
    }

    fn tell(&self, entry: Result<Item, LineFault>) {
        (self.tell.borrow_mut())(entry);
    }

    fn found(&self, key: &str, entry: Result<Item, LineFault>) {
        let mut keys = self.keys.borrow_mut();
        if keys.len() < KEYS_SHOWN && !key.is_empty() && !keys.iter().any(|known| *known == shown(key)) {
            keys.push(shown(key));
        }
        drop(keys);
        self.tell(entry);
    }

    fn item(&self, text: &str) -> Result<Item, LineFault> {
        super::item(text, self.reading)
    }

    /// True if an object with this number under the key of the threshold counts.
    fn reaches_min(&self, number: Option<&Result<f64, String>>) -> bool {
        let Some(min) = &self.reading.min else { return true };
        match number {
            Some(Ok(number)) if *number >= min.value => return true,
            Some(Ok(_)) => self.below_min.set(self.below_min.get() + 1),
            Some(Err(text)) => self.tell(Err(LineFault::NotANumber(text.clone()))),
            None => self.tell(Err(LineFault::NotANumber(String::new()))),
        }
        false
    }

    /// True if strings under this key are entries.
    fn is_key(&self, key: &str) -> bool {
        match &self.reading.key {
            Some(wanted) => wanted == key,
            None => rank(key).is_some(),
        }
    }

    /// Reads the strings of an object, which is a row of an array or a line if `is_row`. Returns true if it had an entry.
    fn object(&self, fields: &Fields, is_row: bool) -> bool {
        let Fields { strings, number, scope, is_metadata, has_found } = fields;
        let wanted = match &self.reading.key {
            Some(key) => strings.iter().find(|(name, _)| name == key),
            None => strings.iter().filter(|(name, _)| rank(name).is_some()).min_by_key(|(name, _)| rank(name)),
        };
        // The scope of a decision is that of its "value"; elsewhere the word means something else.
        let is_other = |text: &str| {
            let is_address = |scope: &str| ["ip", "range"].contains(&scope.to_ascii_lowercase().as_str());
            scope.as_deref().is_some_and(|scope| !is_address(scope)) && self.item(text).is_err()
        };
        if is_row && wanted.is_some_and(|(key, text)| key == "value" && is_other(text)) {
            self.tell(Err(LineFault::Scope));
            return true;
        }
        if let Some((key, text)) = wanted {
            if !self.reaches_min(number.as_ref()) {
                return true;
            }
            let item = self.item(text);
            let is_apart = |(name, text): &(String, String)| {
                let other = self.item(text).ok().filter(|_| self.reading.key.is_none() && rank(name).is_some());
                item.as_ref().ok().zip(other).is_some_and(|(item, other)| !item.contains(other))
            };
            if strings.iter().any(is_apart) {
                self.tell(Err(LineFault::SeveralKeys));
                return true;
            }
            // A name such as "value" or "host" may be of something else in an object that is no row.
            if item.is_ok() || is_row || self.reading.key.is_some() || looks_like_address(text) {
                self.found(key, item);
                return true;
            }
        }
        if self.reading.key.is_none() {
            let mut entries = strings.iter().filter_map(|(key, text)| Some((key, self.item(text).ok()?)));
            match (entries.next(), entries.next()) {
                (Some((key, item)), None) => {
                    self.found(key, Ok(item));
                    return true;
                }
                (Some(_), Some(_)) => {
                    self.tell(Err(LineFault::SeveralKeys));
                    return true;
                }
                _ => {}
            }
        }
        if is_row && !has_found && !is_metadata {
            self.tell(Err(LineFault::NoAddress));
        }
        *has_found
    }
}

/// The longest key that can name an address, in bytes: keys are compared often, and a hostile one may be long.
const KEY_LEN_MAX: usize = 64;

/// Returns the place of a key among those that name addresses.
fn rank(key: &str) -> Option<usize> {
    if key.len() > KEY_LEN_MAX {
        return None;
    }
    let plain = |byte: &u8| !matches!(byte, b'_' | b'-');
    KEYS.iter().position(|known| {
        let mut bytes = key.bytes().filter(plain);
        known.bytes().all(|byte| bytes.next().is_some_and(|other| other.eq_ignore_ascii_case(&byte)))
            && bytes.next().is_none()
    })
}

/// True if a text was meant as an address, though it is none.
fn looks_like_address(text: &str) -> bool {
    let is_made_of =
        text.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':' | b'/' | b'-' | b'*'));
    is_made_of && (text.matches('.').count() >= 3 || text.matches(':').count() >= 2)
}

/// Keys whose values are not entries beside them: details of an alert, and decisions that have ended.
const SKIPPED: [&str; 2] = ["events", "deleted"];

/// Returns what is wrong, without a line number, which would be that of a line on its own.
fn what(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what).to_owned()
}

/// A value under a key.
struct Node<'w, 'r, F> {
    walker: &'w Walker<'r, F>,
    key: &'w str,
    /// It is a line, or an element of an array in which others have had an entry.
    is_row: bool,
}

/// The part of a value that matters to the object that it is in.
enum Value {
    Text(String),
    Number(f64),
    /// An array or object, and whether it had an entry.
    Nested(bool),
    Other,
}

impl<'de, F: FnMut(Result<Item, LineFault>)> DeserializeSeed<'de> for Node<'_, '_, F> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnMut(Result<Item, LineFault>)> Visitor<'de> for Node<'_, '_, F> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(if text.len() <= ENTRY_LEN_MAX { Value::Text(text.to_owned()) } else { Value::Other })
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Value, A::Error> {
        let Self { walker, key, .. } = self;
        let mut has_found = false;
        let is_named = walker.is_key(key) || key.is_empty() && walker.reading.key.is_none();
        while let Some(value) = array.next_element_seed(Node { walker, key, is_row: has_found || key.is_empty() })? {
            match value {
                Value::Text(text) if walker.reading.key.is_none() || is_named => match walker.item(&text) {
                    Ok(item) => {
                        walker.found(key, Ok(item));
                        has_found = true;
                    }
                    // Tags and the like are strings too.
                    Err(fault) if has_found || is_named || looks_like_address(&text) => walker.tell(Err(fault)),
                    Err(_) => {}
                },
                Value::Nested(found) => has_found |= found,
                Value::Text(_) | Value::Number(_) | Value::Other => {}
            }
        }
        Ok(Value::Nested(has_found))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let Self { walker, is_row, .. } = self;
        let mut fields = Fields::default();
        let threshold = walker.reading.min.as_ref().and_then(|min| match &min.column {
            Some(super::Column::Name(name)) => Some(name.as_str()),
            _ => None,
        });
        while let Some(key) = object.next_key::<String>()? {
            if SKIPPED.contains(&key.as_str()) && walker.reading.key.is_none() {
                object.next_value::<IgnoredAny>()?;
                continue;
            }
            match object.next_value_seed(Node { walker, key: &key, is_row: false })? {
                Value::Nested(found) => fields.has_found |= found,
                Value::Number(number) if threshold == Some(key.as_str()) => fields.number = Some(Ok(number)),
                Value::Text(text) => {
                    if threshold == Some(key.as_str()) {
                        fields.number = Some(text.parse().map_err(|_| shown(&text)));
                    }
                    if key.eq_ignore_ascii_case("scope") {
                        fields.scope = Some(text.clone());
                    }
                    fields.is_metadata |= key == "type" && text == "metadata";
                    if fields.strings.len() >= FIELDS_MAX {
                        return Err(A::Error::custom(format!("an object has more than {FIELDS_MAX} strings")));
                    }
                    fields.strings.push((key, text));
                }
                Value::Number(_) | Value::Other => {}
            }
        }
        Ok(Value::Nested(walker.object(&fields, is_row)))
    }
}
