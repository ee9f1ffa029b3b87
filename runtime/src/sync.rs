//! The primitives of [`ready`](crate::ready) and [`bell`](crate::bell). The test `threads` replaces them by those of `loom`, to run
//! these modules in every order in which threads can run.

pub(crate) use std::sync::Mutex;
pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
