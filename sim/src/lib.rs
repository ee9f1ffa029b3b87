//! Plays HAProxy against [`spoa_core`], deterministically: seed to script, script to trace, and a checker of its own
//! beside it.
//!
//! A seed is a short name for a [script](script::Script), which says everything that happens; nothing is drawn at
//! random while it [runs](world::run). A share of the scripts is [compared](metamorphic) with others that must come to the
//! same. What fails [shrinks](shrink::shrink) to a script of a few lines, and scripts are what is kept.

#![forbid(unsafe_code)]

pub mod application;
pub mod conversation;
pub mod coverage;
pub mod digest;
pub mod distil;
mod encode;
pub mod failure;
pub mod generate;
pub mod link;
pub mod metamorphic;
pub mod plan;
pub mod planted;
pub mod random;
pub mod script;
pub mod search;
mod setup;
pub mod shrink;
pub mod text;
pub mod trace;
pub mod world;
