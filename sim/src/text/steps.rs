//! The text of steps and their simplification, from their rows.

use std::fmt::{self, Display, Formatter};

use super::forms;
use super::words::Words;
use crate::script::Step;

macro_rules! text {
    (targeted {
        $($(#[$doc:meta])* $variant:ident = $word:literal $($second:literal)? $target:ident
          [$($form:ident: $type:ty)?] [$($effect:ident)*];)*
    } untargeted {
        $($(#[$free_doc:meta])* $free:ident = $free_word:literal [$free_form:ident: $free_type:ty];)*
    }) => {
        /// Reads the step whose line begins with `verb`.
        pub(super) fn read(verb: &str, words: &mut Words<'_>) -> Result<Step, String> {
            $(if verb == $word $(&& words.has_second($second))? {
                let target = words.$target()?;
                $(words.need($second)?;)?
                return Ok(Step::$variant(target $(, forms::$form::read(words)?)?));
            })*
            $(if verb == $free_word {
                return Ok(Step::$free(forms::$free_form::read(words)?));
            })*
            Err(format!("'{verb}' is not a step"))
        }

        impl Display for Step {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant(target $(, $form)?) => {
                        write!(f, concat!($word, " {}" $(, " ", $second)?), target)?;
                        $(after_space(&forms::$form::text($form), f)?;)?
                        Ok(())
                    })*
                    $(Self::$free(value) => {
                        f.write_str($free_word)?;
                        after_space(&forms::$free_form::text(value), f)
                    })*
                }
            }
        }

        /// Returns simpler versions of `step`. Each is smaller in some measure, so that simplifying ends.
        pub(crate) fn simpler(step: &Step) -> Vec<Step> {
            match step {
                $(Step::$variant(_target $(, $form)?) => simpler_form!($variant _target $($form)?),)*
                $(Step::$free(value) => forms::$free_form::simpler(value).into_iter().map(Step::$free).collect(),)*
            }
        }
    };
}

/// Simplifies the second field of a step, if it has one.
macro_rules! simpler_form {
    ($variant:ident $target:ident) => {
        Vec::new()
    };
    ($variant:ident $target:ident $form:ident) => {
        forms::$form::simpler($form).into_iter().map(|$form| Step::$variant(*$target, $form)).collect()
    };
}

each_step!(text);

/// Writes a text after a space, unless it is empty.
fn after_space(text: &str, f: &mut Formatter<'_>) -> fmt::Result {
    if text.is_empty() { Ok(()) } else { write!(f, " {text}") }
}
