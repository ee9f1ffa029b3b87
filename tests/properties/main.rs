//! Properties that hold for every input, tested with random inputs: codecs, splits, bounds, answers, lists, and
//! agreement with a naive model.
//!
//! A failure prints the smallest failing input that was found. Make it a named test.

mod agreement;
mod answers;
mod any_input;
mod bans;
mod codec;
mod lists;
mod model;
mod splits;
mod words;
