//! Reads a [`Variant`] from the conditions of a recording.

use crate::accept::Variant;
use crate::recording::Recording;
use crate::settings::{Defects, Settings};
use crate::time::{MILLISECOND, Time};

impl Variant {
    /// Returns the variant that the conditions of `recording` describe: `haproxy` with its version, and each setting
    /// that was not the default. Other conditions are ignored; they inform the reader.
    ///
    /// # Errors
    /// The version is missing or unknown, or a condition has an invalid value.
    pub fn of(recording: &Recording) -> Result<Self, String> {
        let version = recording.condition("haproxy").ok_or("the condition \"haproxy\" with the version is missing")?;
        let settings =
            settings_of_version(version).ok_or_else(|| format!("\"{version}\" is not a version of HAProxy"))?;
        let mut variant = Self::new(settings);
        for (name, value) in &recording.conditions {
            variant
                .apply(name, value)
                .ok_or_else(|| format!("the condition \"{name} {value}\" has an invalid value"))?;
        }
        Ok(variant)
    }

    fn apply(&mut self, name: &str, value: &str) -> Option<()> {
        let settings = &mut self.settings;
        match name {
            "threads" => settings.threads = value.parse().ok()?,
            "max-frame-size" => settings.max_frame_size = value.parse().ok()?,
            "bufsize" => {
                settings.bufsize = value.parse().ok()?;
                settings.max_frame_size = settings.bufsize.checked_sub(4)?;
            }
            "pipelining" => settings.pipelining = parse_switch(value)?,
            "async" => settings.asynchronous = parse_switch(value)?,
            "send-frag-payload" => settings.fragmentation = parse_switch(value)?,
            "processing" => settings.processing_timeout = parse_milliseconds(value)?,
            "hello" => settings.hello_timeout = parse_milliseconds(value)?,
            "idle" => settings.idle_timeout = parse_milliseconds(value)?,
            // The pool is purged in rounds, and a connection is closed in the third round at the latest.
            "pool-purge-delay" => settings.pool_purge = 3 * parse_milliseconds(value)?,
            "check" => settings.check_timeout = parse_milliseconds(value)?,
            "reuse" => settings.reuse = parse_switch(value)?,
            "maxconn" => settings.maxconn = value.parse().ok()?,
            "processes" => self.processes = value.parse().ok()?,
            "may" => match value {
                "abort" => self.aborts = true,
                "stop" => self.stops = true,
                "exit" => self.exits = true,
                _ => return None,
            },
            _ => {}
        }
        Some(())
    }
}

/// The first version with the mux engine.
const FIRST_MUX: (u32, u32) = (3, 1);

/// Returns the default settings of a version, for example `3.2.26-1`.
fn settings_of_version(version: &str) -> Option<Settings> {
    let mut numbers = version.split(['.', '-', '~', '+']).map(str::parse::<u32>);
    let version = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    let patch = numbers.next().and_then(Result::ok).unwrap_or(0);
    let settings = if version >= FIRST_MUX { Settings::mux() } else { Settings::applet() };
    let defects = Defects {
        // 3.2.26 accepts AGENT-HELLO in any pieces. The release that fixed this is unknown.
        split_hello_resets: version == (3, 2) && patch < 26,
        full_read_sticks: version == (3, 2),
        normal_exit_releases: version < (3, 0),
        waits_for_nobody: version < (2, 9),
        error_exit_fins: version < (3, 0),
        ..Defects::default()
    };
    Some(Settings { defects, ..settings })
}

fn parse_switch(value: &str) -> Option<bool> {
    match value {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

/// Parses a time such as `300ms`.
fn parse_milliseconds(value: &str) -> Option<Time> {
    value.strip_suffix("ms")?.parse::<Time>().ok()?.checked_mul(MILLISECOND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Engine;

    fn variant(conditions: &[(&str, &str)]) -> Result<Variant, String> {
        let conditions = conditions.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Variant::of(&Recording { conditions, steps: Vec::new() })
    }

    #[test]
    fn the_version_determines_engine_and_defects() {
        for (version, engine, releases) in [
            ("2.6.12-1+deb12u3", Engine::Applet, true),
            ("3.0.11", Engine::Applet, false),
            ("3.1.0", Engine::Mux, false),
            ("3.2.26-1", Engine::Mux, false),
        ] {
            let settings = variant(&[("haproxy", version)]).unwrap().settings;
            assert_eq!((settings.engine, settings.defects.normal_exit_releases), (engine, releases), "{version}");
            assert!(!settings.defects.split_hello_resets, "{version}");
        }
    }

    #[test]
    fn a_split_hello_was_fixed_within_3_2() {
        assert!(variant(&[("haproxy", "3.2.0")]).unwrap().settings.defects.split_hello_resets);
    }

    #[test]
    fn settings_are_read() {
        let variant = variant(&[
            ("haproxy", "3.2.26"),
            ("scenario", "any words"),
            ("threads", "4"),
            ("processing", "300ms"),
            ("bufsize", "8192"),
            ("may", "stop"),
        ])
        .unwrap();
        let Settings { threads, processing_timeout, max_frame_size, .. } = variant.settings;
        assert_eq!((threads, processing_timeout, max_frame_size), (4, 300 * MILLISECOND, 8188));
        assert!(variant.stops && !variant.exits && !variant.aborts);
    }

    #[test]
    fn invalid_conditions_are_rejected() {
        for conditions in [
            &[][..],
            &[("haproxy", "three")],
            &[("haproxy", "3.2"), ("pipelining", "perhaps")],
            &[("haproxy", "3.2"), ("processing", "300")],
            &[("haproxy", "3.2"), ("bufsize", "3")],
            &[("haproxy", "3.2"), ("may", "sing")],
        ] {
            assert!(variant(conditions).is_err(), "{conditions:?}");
        }
    }
}
