//! The settings of a HAProxy process as `key=value`. Only settings that differ from the defaults of the engine are
//! written.

use std::fmt::{self, Display, Formatter};

use spoa_sim_haproxy::{Defects, Engine, Settings};

use super::Time;
use super::words::{number, time};

/// The settings: the name of each in scripts, its field, and the function that reads its value. The names are those of
/// HAProxy's configuration where there are any.
macro_rules! settings {
    ($visit:ident) => {
        $visit!("threads", threads, number);
        $visit!("max-frame-size", max_frame_size, number);
        $visit!("pipelining", pipelining, switch);
        $visit!("async", asynchronous, switch);
        $visit!("send-frag-payload", fragmentation, switch);
        $visit!("max-waiting-frames", max_waiting_frames, number);
        $visit!("timeout-processing", processing_timeout, time);
        $visit!("timeout-hello", hello_timeout, time);
        $visit!("timeout-idle", idle_timeout, time);
        $visit!("timeout-check", check_timeout, time);
        $visit!("latency", latency, time);
        $visit!("servers", servers, number);
        $visit!("inter", check_inter, time);
        $visit!("fall", fall, number);
        $visit!("rise", rise, number);
        $visit!("redispatch", redispatch, switch);
        $visit!("error-limit", error_limit, number);
        $visit!("retries", retries, number);
        $visit!("retry-delay", retry_delay, time);
        $visit!("pool-purge-delay", pool_purge, time);
        $visit!("reuse", reuse, switch);
        $visit!("maxconn", maxconn, number);
        $visit!("reconnect-gap", reconnect_gap, time);
        $visit!("fragment-gap", fragment_gap, time);
        $visit!("engine-id-of-process", engine_of_process, switch);
    };
}

/// The bugs of single versions, as `defects=NAME,NAME`.
macro_rules! defects {
    ($visit:ident) => {
        $visit!("split-hello-resets", split_hello_resets);
        $visit!("empty-ack-hangs", empty_ack_hangs);
        $visit!("duplicate-ack-fails", duplicate_ack_fails);
        $visit!("empty-notify", empty_notify);
        $visit!("ignores-negotiated-size", ignores_negotiated_size);
        $visit!("bad-hello-resets", bad_hello_resets);
        $visit!("normal-exit-releases", normal_exit_releases);
        $visit!("waits-for-nobody", waits_for_nobody);
        $visit!("full-read-sticks", full_read_sticks);
        $visit!("error-exit-fins", error_exit_fins);
    };
}

/// Returns the default settings of the engine `engine=mux` or `engine=applet`.
pub(super) fn engine(word: &str) -> Result<Settings, String> {
    match word {
        "engine=mux" => Ok(Settings::mux()),
        "engine=applet" => Ok(Settings::applet()),
        _ => Err(format!("expected engine=mux or engine=applet, got '{word}'")),
    }
}

/// Applies one `key=value` to the settings.
pub(super) fn set(word: &str, settings: &mut Settings) -> Result<(), String> {
    let (name, value) = word.split_once('=').ok_or(format!("expected SETTING=VALUE, got '{word}'"))?;
    if name == "defects" {
        return value.split(',').try_for_each(|name| defect(name, &mut settings.defects));
    }
    macro_rules! read {
        ($name:literal, $field:ident, $kind:ident) => {
            if name == $name {
                settings.$field = $kind(value)?;
                return Ok(());
            }
        };
    }
    settings!(read);
    Err(format!("'{name}' is not a setting of HAProxy"))
}

fn defect(name: &str, defects: &mut Defects) -> Result<(), String> {
    macro_rules! read {
        ($name:literal, $field:ident) => {
            if name == $name {
                defects.$field = true;
                return Ok(());
            }
        };
    }
    defects!(read);
    Err(format!("'{name}' is not a defect of HAProxy"))
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("expected on or off, got '{text}'")),
    }
}

/// Displays the engine and the settings that differ from its defaults.
pub(super) struct Setup<'s>(pub(super) &'s Settings);

impl Display for Setup<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(settings) = self;
        let defaults = Settings::of(settings.engine);
        let name = match settings.engine {
            Engine::Mux => "mux",
            Engine::Applet => "applet",
        };
        write!(f, "engine={name}")?;
        macro_rules! show {
            ($name:literal, $field:ident, number) => {
                show!($name, $field, |value| value)
            };
            ($name:literal, $field:ident, time) => {
                show!($name, $field, Time)
            };
            ($name:literal, $field:ident, switch) => {
                show!($name, $field, |on| if on { "on" } else { "off" })
            };
            ($name:literal, $field:ident, $show:expr) => {
                if settings.$field != defaults.$field {
                    write!(f, " {}={}", $name, $show(settings.$field))?;
                }
            };
        }
        settings!(show);
        if settings.defects == Defects::default() {
            return Ok(());
        }
        f.write_str(" defects=")?;
        let mut names = Vec::new();
        macro_rules! name {
            ($name:literal, $field:ident) => {
                if settings.defects.$field {
                    names.push($name);
                }
            };
        }
        defects!(name);
        f.write_str(&names.join(","))
    }
}
