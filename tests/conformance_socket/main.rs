//! Tests the binary `spoa` over sockets: the rows of the conformance table that apply there, and the properties of the
//! whole process, such as options, signals, limits, lists, metrics and hostile peers.

mod bans;
mod capture;
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
mod status_page;
mod top;
mod unix;
