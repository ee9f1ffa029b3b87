//! The forms of the second field of steps: how each is read, written and simplified.

use spoa_sim_haproxy::Settings;

use super::words::{Words, or_all};
use super::{parts, settings as setup, words, write};
use crate::script::{Cuts, EventSpec, FrameSpec, Nanos};
use crate::simpler;

/// Defines a module for each form, with its functions `read`, `text` and `simpler`.
macro_rules! forms {
    ($($(#[$doc:meta])* $form:ident: $value:ty { $read:expr, $text:expr, $simpler:expr $(,)? })*) => {
        $(
            $(#[$doc])*
            pub(crate) mod $form {
                use super::*;

                /// Reads the value from the rest of a line. The error describes what was expected.
                pub(crate) fn read(words: &mut Words<'_>) -> Result<$value, String> {
                    $read(words)
                }

                /// Returns the text of the value.
                pub(crate) fn text(value: &$value) -> String {
                    $text(value)
                }

                /// Returns simpler values. Each is smaller in some measure, so that simplifying ends.
                pub(crate) fn simpler(value: &$value) -> Vec<$value> {
                    $simpler(value)
                }
            }
        )*
    };
}

forms! {
    /// Bytes in hexadecimal.
    hex: Vec<u8> {
        |words: &mut Words<'_>| words::hex(words.need("bytes in hex")?),
        |bytes: &Vec<u8>| write::hex(bytes),
        |bytes: &Vec<u8>| simpler::bytes(bytes),
    }
    /// A frame: its kind, ids and content.
    frame: FrameSpec { parts::frame, FrameSpec::to_string, simpler::frames }
    /// The sizes of pieces.
    sizes: Cuts {
        |words: &mut Words<'_>| parts::cuts(words.need("sizes")?),
        Cuts::to_string,
        simpler::cuts,
    }
    /// A number of bytes that may be 0, or any number.
    room: Option<u32> { bytes, write::or_all, simpler::room }
    /// A number of bytes at once, or any number.
    take: Option<u32> { bytes, write::or_all, simpler::take }
    /// The settings of a process.
    settings: Box<Settings> {
        setup::read,
        |value: &Settings| setup::text(value),
        |value: &Settings| simpler::settings(value).into_iter().map(Box::new).collect(),
    }
    /// An event with its messages.
    event: EventSpec { parts::event, EventSpec::to_string, simpler::events }
    /// A time.
    time: Nanos {
        |words: &mut Words<'_>| words::time(words.need("a time")?),
        |time: &Nanos| write::Time(*time).to_string(),
        |time: &Nanos| simpler::times(*time),
    }
    /// A grace period.
    grace: Nanos {
        Words::grace,
        |grace: &Nanos| format!("grace={}", write::Time(*grace)),
        |grace: &Nanos| simpler::times(*grace),
    }
}

fn bytes(words: &mut Words<'_>) -> Result<Option<u32>, String> {
    or_all(words.need("a number of bytes")?)
}
