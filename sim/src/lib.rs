//! Plays HAProxy against [`spoa_core`] deterministically, and compares the core with an independent checker.
//!
//! A seed is a short name for a [script](script::Script), which contains everything that happens: nothing is random
//! while a script [runs](run::run). Some scripts are [compared](metamorphic) with other scripts that must have the
//! same result. A script that fails is [shrunk](shrink::shrink) to a few lines, and is kept as a test.

#![forbid(unsafe_code)]

// Its macros are used by the modules after it.
#[macro_use]
pub mod script;

pub mod application;
mod bare;
mod compare;
pub mod conversation;
pub mod coverage;
pub mod digest;
pub mod distil;
mod encode;
pub mod failure;
pub mod generate;
pub mod guided;
pub mod import;
pub mod link;
pub mod live;
pub mod metamorphic;
mod models;
pub mod outcome;
pub mod plan;
pub mod planted;
pub mod profiles;
pub mod random;
pub mod run;
pub mod search;
mod setup;
pub mod shrink;
mod simpler;
pub mod states;
pub mod text;
pub mod time;
pub mod trace;
pub mod when;
mod wording;
mod world;
