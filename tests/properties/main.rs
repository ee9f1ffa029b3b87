//! What holds for every input, on random ones: codecs, splits, bounds, answers, and a naive model.
//!
//! A failure prints the smallest input found; make it a named test of its own.

mod agreement;
mod answers;
mod any_input;
mod codec;
mod lists;
mod model;
mod splits;
mod words;
