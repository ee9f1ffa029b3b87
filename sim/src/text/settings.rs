//! The settings of a HAProxy process as `key=value`. Only settings that differ from the defaults of the engine are
//! written.

use spoa_sim_haproxy::{Defects, Engine, Settings};

use super::Time;
use super::words::{Words, number, time};

/// Reads the engine and the settings of a process from the rest of a line.
pub(super) fn read(words: &mut Words<'_>) -> Result<Box<Settings>, String> {
    let mut settings = match words.need("engine=mux or engine=applet")? {
        "engine=mux" => Settings::mux(),
        "engine=applet" => Settings::applet(),
        word => return Err(format!("expected engine=mux or engine=applet, got '{word}'")),
    };
    while let Some(word) = words.next_word() {
        set(word, &mut settings)?;
    }
    Ok(Box::new(settings))
}

/// Applies one `key=value` to the settings.
fn set(word: &str, settings: &mut Settings) -> Result<(), String> {
    let (name, value) = word.split_once('=').ok_or(format!("expected SETTING=VALUE, got '{word}'"))?;
    if name == "defects" {
        return value.split(',').try_for_each(|name| defect(name, &mut settings.defects));
    }
    macro_rules! read {
        ($($name:literal $field:ident $kind:ident;)*) => {
            $(if name == $name {
                settings.$field = $kind(value)?;
                return Ok(());
            })*
        };
    }
    each_setting!(read);
    Err(format!("'{name}' is not a setting of HAProxy"))
}

fn defect(name: &str, defects: &mut Defects) -> Result<(), String> {
    macro_rules! read {
        ($($name:literal $field:ident;)*) => {
            match name {
                $($name => defects.$field = true,)*
                _ => return Err(format!("'{name}' is not a defect of HAProxy")),
            }
        };
    }
    each_defect!(read);
    Ok(())
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("expected on or off, got '{text}'")),
    }
}

/// Returns the engine and the settings that differ from its defaults as text.
pub(super) fn text(settings: &Settings) -> String {
    let defaults = Settings::of(settings.engine);
    let mut words = vec![match settings.engine {
        Engine::Mux => "engine=mux".into(),
        Engine::Applet => "engine=applet".into(),
    }];
    macro_rules! value {
        (number $value:expr) => {
            $value
        };
        (time $value:expr) => {
            Time($value)
        };
        (switch $value:expr) => {
            if $value { "on" } else { "off" }
        };
    }
    macro_rules! show {
        ($($name:literal $field:ident $kind:ident;)*) => {
            $(if settings.$field != defaults.$field {
                words.push(format!(concat!($name, "={}"), value!($kind settings.$field)));
            })*
        };
    }
    each_setting!(show);
    macro_rules! named {
        ($($name:literal $field:ident;)*) => {
            [$((settings.defects.$field, $name),)*]
        };
    }
    let defects: Vec<_> = each_defect!(named).iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
    if !defects.is_empty() {
        words.push(format!("defects={}", defects.join(",")));
    }
    words.join(" ")
}
