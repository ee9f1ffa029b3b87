//! Addresses in JSON: one object per line, or whole documents of any shape.

mod keys;
mod node;

use std::cell::{Cell, Ref, RefCell};
use std::io::{self, Read};
use std::net::IpAddr;

use serde::de::DeserializeSeed;

use keys::{PlainKey, is_range, rank};
use node::{Node, Value};

use super::layout::is_at_edges;
use super::{Column, Entry, KEYS_SHOWN, LineFault, Parsed, Reading, beginning, shown};
use crate::prefix::Item;

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
    /// The text or number under a key that [names](PlainKey::is_mask) a netmask or prefix length.
    mask: Option<String>,
    /// The number of keys that [name](PlainKey::is_range_end) an end of a range.
    range_ends: u8,
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
        let number = |number: &Option<Number>, column: Option<&Column>| match (number, column) {
            (Some(Ok(number)), _) => Ok(*number),
            (Some(Err(text)), _) => Err(LineFault::NotANumber(text.clone())),
            (None, Some(Column::Name(name))) => Err(LineFault::NoNumber(shown(name))),
            (None, Some(Column::Number(number))) => Err(LineFault::NoNumber(number.to_string())),
            (None, None) => Err(LineFault::NoMinKey),
        };
        if let Some(min) = &self.reading.min
            && number(&fields.min, min.column.as_ref())? < min.value
        {
            return Ok(None);
        }
        let (key, item) = picked?;
        let score = match self.reading.score {
            Some(ref column) => Some(self.reading.score_of(number(&fields.score, Some(column))?)?),
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
            let item = self.network(fields, text);
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
        if !is_chosen && let Some(picked) = self.pick_unnamed(fields) {
            return Some(picked);
        }
        (is_row && !has_found && !is_metadata).then_some(Err(LineFault::NoAddress))
    }

    /// Returns the entry of an object without a key that names one: its only address, or the two ends of a range.
    fn pick_unnamed<'f>(&self, fields: &'f Fields) -> Option<Picked<'f>> {
        let mut entries = fields.strings.iter().filter(|(_, text)| self.item_if_any(text).is_some());
        match (entries.next(), entries.next(), entries.next()) {
            (None, ..) => None,
            (Some((key, _)), None, _) if fields.range_ends > 1 && is_range_end(key) => Some(Err(LineFault::HalfRange)),
            (Some((key, text)), None, _) => Some(self.network(fields, text).map(|item| (key.as_str(), item))),
            (Some(one), Some(other), None) => Some(self.range(one, other)),
            (Some(_), Some(_), Some(_)) => Some(Err(LineFault::SeveralKeys)),
        }
    }

    /// Reads an address, with the netmask or prefix length beside it if there is one.
    fn network(&self, fields: &Fields, text: &str) -> Result<Item, LineFault> {
        match &fields.mask {
            Some(mask) if !text.contains('/') => self.item(&format!("{text}/{mask}")),
            _ => self.item(text),
        }
    }

    /// Returns the range between two addresses, if their keys are those of its ends, and it begins and ends at the edges of
    /// networks: other pairs of addresses may be far apart.
    fn range<'f>(&self, one: &'f (String, String), other: &'f (String, String)) -> Picked<'f> {
        let (from, to) = if is_range(&other.0, &one.0) { (other, one) } else { (one, other) };
        let end = |text: &str| text.trim().parse::<IpAddr>().ok();
        match (end(&from.1), end(&to.1)) {
            (Some(first), Some(last)) if is_range(&from.0, &to.0) && is_at_edges(first, last) => {
                self.item(&format!("{}-{}", from.1, to.1)).map(|range| (from.0.as_str(), range))
            }
            _ => Err(LineFault::SeveralKeys),
        }
    }
}

/// True if a key names an end of a range.
fn is_range_end(key: &str) -> bool {
    PlainKey::of(key).is_some_and(|key| key.is_range_end())
}

/// True if a text was meant as an address, though it is none.
fn looks_like_address(text: &str) -> bool {
    let is_made_of =
        text.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':' | b'/' | b'-' | b'*'));
    is_made_of && (text.matches('.').count() >= 3 || text.matches(':').count() >= 2)
}

/// Returns what is wrong, without a line number, which would be that of a line on its own.
fn what(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what).to_owned()
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
        let plain = PlainKey::of(&key);
        if plain.as_ref().is_some_and(PlainKey::is_range_end) {
            self.range_ends = self.range_ends.saturating_add(1);
        }
        if plain.is_some_and(|key| key.is_mask()) {
            match &value {
                // A prefix is one, whatever its key.
                Value::Text(text) if !text.contains('/') => {
                    self.mask = Some(text.clone()).filter(|text| !text.is_empty());
                    return;
                }
                Value::Number(number) => self.mask = Some(number.to_string()),
                Value::Text(_) | Value::Nested(_) | Value::Other => {}
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
