//! Addresses in JSON: one object per line, or whole documents of any shape.

use std::cell::{Cell, Ref, RefCell};
use std::fmt;
use std::io::{self, Read};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Column, Entry, KEYS_SHOWN, LineFault, Parsed, Reading, beginning, shown};
use crate::prefix::Item;

/// The keys that name an address, an array of them, or a range of addresses; the first one in an object counts. Case, `_` and
/// `-` do not count.
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
pub(super) struct Walker<'r> {
    reading: &'r Reading,
    /// The keys under which entries were found.
    keys: RefCell<Vec<String>>,
    /// The number of objects below the threshold.
    below_min: Cell<u64>,
}

/// Strings and numbers of an object that matter to its entry.
#[derive(Default)]
struct Fields {
    strings: Vec<(String, String)>,
    /// The number under the key of the threshold.
    min: Option<Number>,
    /// The number under the key of the score.
    score: Option<Number>,
    scope: Option<String>,
    is_metadata: bool,
    /// An array or object inside has had an entry.
    has_found: bool,
}

/// A number, or the text that is none.
type Number = Result<f64, String>;

/// The entry of an object, with its key, or a fault.
type Picked<'f> = Result<(&'f str, Item), LineFault>;

impl<'r> Walker<'r> {
    pub(super) fn new(reading: &'r Reading) -> Self {
        Self { reading, keys: RefCell::default(), below_min: Cell::new(0) }
    }

    /// Reads one line, and reports each of its entries and faults. Returns the error and its column if it is not JSON.
    pub(super) fn line(&self, text: &str, report: impl FnMut(Parsed)) -> Result<(), (String, usize)> {
        let mut json = serde_json::Deserializer::from_str(text);
        let read = self.root(&RefCell::new(report), true).deserialize(&mut json).and_then(|_| json.end());
        read.map_err(|error| (what(&error), error.column().max(1)))
    }

    /// Reads a document to its end, and reports each of its entries and faults.
    ///
    /// # Errors
    /// It is not JSON, or cannot be read.
    pub(super) fn document(&self, input: impl Read, report: impl FnMut(Parsed)) -> io::Result<()> {
        let mut json = serde_json::Deserializer::from_reader(input);
        let read = self.root(&RefCell::new(report), false).deserialize(&mut json).and_then(|_| json.end());
        read.map_err(|error| {
            let text = format!("it is not JSON: {error}");
            if error.is_io() { io::Error::from(error) } else { io::Error::new(io::ErrorKind::InvalidData, text) }
        })
    }

    const fn root<'w, F>(&'w self, report: &'w RefCell<F>, is_row: bool) -> Node<'w, 'r, F> {
        Node { walker: self, report, key: "", is_row }
    }

    /// Returns the number of objects below the threshold.
    pub(super) const fn below_min(&self) -> u64 {
        self.below_min.get()
    }

    /// Returns the keys under which entries were found.
    pub(super) fn keys(&self) -> Ref<'_, Vec<String>> {
        self.keys.borrow()
    }

    fn add_key(&self, key: &str) {
        let mut keys = self.keys.borrow_mut();
        let key = beginning(key);
        if keys.len() < KEYS_SHOWN && !key.is_empty() && !keys.iter().any(|known| known == key) {
            keys.push(key.to_owned());
        }
    }

    fn item(&self, text: &str) -> Result<Item, LineFault> {
        super::item(text, self.reading)
    }

    /// Returns the item that a text is, if it is one.
    fn item_if_any(&self, text: &str) -> Option<Item> {
        super::parse(text, self.reading).ok()
    }

    /// Returns the keys of the threshold and of the score.
    fn number_keys(&self) -> [Option<&str>; 2] {
        let name = |column: Option<&'r Column>| match column {
            Some(Column::Name(name)) => Some(name.as_str()),
            _ => None,
        };
        [name(self.reading.min.as_ref().and_then(|min| min.column.as_ref())), name(self.reading.score.as_ref())]
    }

    /// True if strings under this key are entries.
    fn is_key(&self, key: &str) -> bool {
        match &self.reading.key {
            Some(wanted) => wanted == key,
            None => rank(key).is_some(),
        }
    }

    /// Returns the entry of an object; `None` if it is below the threshold.
    fn entry(&self, fields: &Fields, picked: Picked<'_>) -> Result<Option<Entry>, LineFault> {
        let [min_key, score_key] = self.number_keys();
        let number = |number: &Option<Number>, key: Option<&str>| match number {
            Some(Ok(number)) => Ok(*number),
            Some(Err(text)) => Err(LineFault::NotANumber(text.clone())),
            None => Err(LineFault::NoNumber(shown(key.unwrap_or_default()))),
        };
        if let Some(min) = &self.reading.min
            && number(&fields.min, min_key)? < min.value
        {
            return Ok(None);
        }
        let (key, item) = picked?;
        let score = match self.reading.score {
            Some(_) => Some(self.reading.score_of(number(&fields.score, score_key)?)?),
            None => None,
        };
        self.add_key(key);
        Ok(Some(Entry { item, score }))
    }

    /// Returns the entry of an object, which is a row of an array or a line if `is_row`; `None` if it has none.
    fn pick<'f>(&self, fields: &'f Fields, is_row: bool) -> Option<Picked<'f>> {
        let Fields { strings, scope, is_metadata, has_found, .. } = fields;
        let is_chosen = self.reading.key.is_some();
        let wanted = match &self.reading.key {
            Some(key) => strings.iter().find(|(name, _)| name == key),
            None => strings.iter().filter(|(name, _)| rank(name).is_some()).min_by_key(|(name, _)| rank(name)),
        };
        if let Some((key, text)) = wanted {
            let item = self.item(text);
            // The scope of a decision is that of its "value"; elsewhere the word means something else.
            let is_address = |scope: &str| ["ip", "range"].contains(&scope.to_ascii_lowercase().as_str());
            let is_other = item.is_err() && scope.as_deref().is_some_and(|scope| !is_address(scope));
            if is_row && key == "value" && is_other {
                return Some(Err(LineFault::Scope));
            }
            let is_apart = |(name, text): &(String, String)| {
                let other = self.item_if_any(text).filter(|_| !is_chosen && rank(name).is_some());
                item.as_ref().ok().zip(other).is_some_and(|(item, other)| !item.contains(other))
            };
            if strings.iter().any(is_apart) {
                return Some(Err(LineFault::SeveralKeys));
            }
            // A name such as "value" or "host" may be of something else in an object that is no row.
            if item.is_ok() || is_row || is_chosen || looks_like_address(text) {
                return Some(item.map(|item| (key.as_str(), item)));
            }
        }
        if !is_chosen {
            let mut entries = strings.iter().filter_map(|(key, text)| Some((key.as_str(), self.item_if_any(text)?)));
            match (entries.next(), entries.next()) {
                (Some(only), None) => return Some(Ok(only)),
                (Some(_), Some(_)) => return Some(Err(LineFault::SeveralKeys)),
                (None, _) => {}
            }
        }
        (is_row && !has_found && !is_metadata).then_some(Err(LineFault::NoAddress))
    }
}

/// The longest key that can name an address, in bytes: keys are compared often, and a hostile one may be long.
const KEY_LEN_MAX: usize = 64;

/// Returns the place of a key among those that name addresses.
fn rank(key: &str) -> Option<usize> {
    // As long as the longest of them.
    let (mut plain, mut len) = ([0; 10], 0);
    if key.len() > KEY_LEN_MAX {
        return None;
    }
    for byte in key.bytes().filter(|byte| !matches!(byte, b'_' | b'-')) {
        *plain.get_mut(len)? = byte.to_ascii_lowercase();
        len += 1;
    }
    KEYS.iter().position(|known| known.as_bytes() == &plain[..len])
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
    walker: &'w Walker<'r>,
    /// Called with each entry, and with each fault.
    report: &'w RefCell<F>,
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

impl<'w, 'r, F: FnMut(Parsed)> Node<'w, 'r, F> {
    fn report(&self, parsed: Parsed) {
        (self.report.borrow_mut())(parsed);
    }

    /// Returns the node of a value inside this one.
    const fn inner<'i>(&self, key: &'i str, is_row: bool) -> Node<'i, 'r, F>
    where
        'w: 'i,
    {
        Node { walker: self.walker, report: self.report, key, is_row }
    }

    /// Reports a string of an array as an entry: it has no number beside it.
    fn report_string(&self, item: Item) {
        match self.walker.number_keys().into_iter().flatten().next() {
            Some(key) => self.report(Err(LineFault::NoNumber(shown(key)))),
            None => {
                self.walker.add_key(self.key);
                self.report(Ok(Entry { item, score: None }));
            }
        }
    }

    /// Reads the strings and numbers of an object. Returns true if it had an entry or a fault.
    fn object(&self, fields: &Fields) -> bool {
        let Some(picked) = self.walker.pick(fields, self.is_row) else { return fields.has_found };
        let has_found = !matches!(picked, Err(LineFault::NoAddress));
        match self.walker.entry(fields, picked) {
            Ok(Some(entry)) => self.report(Ok(entry)),
            Ok(None) => self.walker.below_min.set(self.walker.below_min.get() + 1),
            Err(fault) => self.report(Err(fault)),
        }
        has_found
    }
}

impl<'de, F: FnMut(Parsed)> DeserializeSeed<'de> for Node<'_, '_, F> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnMut(Parsed)> Visitor<'de> for Node<'_, '_, F> {
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
        while let Some(value) = array.next_element_seed(self.inner(key, has_found || key.is_empty()))? {
            match value {
                Value::Text(text) if walker.reading.key.is_none() || is_named => match walker.item(&text) {
                    Ok(item) => {
                        self.report_string(item);
                        has_found = true;
                    }
                    // Tags and the like are strings too.
                    Err(fault) if has_found || is_named || looks_like_address(&text) => self.report(Err(fault)),
                    Err(_) => {}
                },
                Value::Nested(found) => has_found |= found,
                Value::Text(_) | Value::Number(_) | Value::Other => {}
            }
        }
        Ok(Value::Nested(has_found))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = object.next_key::<String>()? {
            if SKIPPED.contains(&key.as_str()) && self.walker.reading.key.is_none() {
                object.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = object.next_value_seed(self.inner(&key, false))?;
            if fields.strings.len() >= FIELDS_MAX && matches!(value, Value::Text(_)) {
                return Err(A::Error::custom(format!("an object has more than {FIELDS_MAX} strings")));
            }
            fields.add(key, value, self.walker.number_keys());
        }
        Ok(Value::Nested(self.object(&fields)))
    }
}

impl Fields {
    /// Adds the value under a key. `number_keys` are those of the threshold and of the score.
    fn add(&mut self, key: String, value: Value, number_keys: [Option<&str>; 2]) {
        for (wanted, field) in number_keys.into_iter().zip([&mut self.min, &mut self.score]) {
            if wanted == Some(key.as_str()) {
                *field = match &value {
                    Value::Number(number) => Some(Ok(*number)),
                    Value::Text(text) => Some(text.parse().map_err(|_| shown(text))),
                    Value::Nested(_) | Value::Other => None,
                };
            }
        }
        match value {
            Value::Text(text) => {
                if key.eq_ignore_ascii_case("scope") {
                    self.scope = Some(text.clone());
                }
                self.is_metadata |= key == "type" && text == "metadata";
                self.strings.push((key, text));
            }
            Value::Nested(found) => self.has_found |= found,
            Value::Number(_) | Value::Other => {}
        }
    }
}
