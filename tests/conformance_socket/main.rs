//! The rows of the conformance table that a socket can show, against the binary `spoa`; and what only a process can
//! get wrong: its options, its signals, its memory, and peers that break off.

mod disconnect;
mod fragments;
mod health;
mod hello;
mod hostile;
mod limits;
mod lists;
mod notify;
mod operations;
mod options;
mod scores;
mod signals;
mod unix;
