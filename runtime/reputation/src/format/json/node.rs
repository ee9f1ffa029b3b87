//! Walks through JSON values, whatever their shape, without keeping more than one object in memory.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::keys::SKIPPED;
use super::{Fields, Walker, looks_like_address};
use crate::format::{Entry, LineFault, Parsed, shown};
use crate::prefix::Item;

/// The longest string that can be an entry, in bytes.
const ENTRY_LEN_MAX: usize = 128;

/// The number of strings of an object that are considered.
const FIELDS_MAX: usize = 256;

/// A value under a key.
pub(super) struct Node<'w, 'r, F> {
    pub(super) walker: &'w Walker<'r>,
    /// Called with each entry, and with each fault.
    pub(super) report: &'w RefCell<F>,
    pub(super) key: &'w str,
    /// It is a line, or an element of an array in which others have had an entry.
    pub(super) is_row: bool,
}

/// The part of a value that matters to the object that it is in.
pub(super) enum Value {
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
        let mut fields = Fields { strings: Vec::with_capacity(8), ..Fields::default() };
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
