//! The settings of HAProxy's processes in scripts, and the bugs of single versions.

use spoa_sim_haproxy::{Defects, Settings};

/// Calls the macro `$visit` with the settings, one per row: `"name" field kind;`. The names are those of HAProxy's
/// configuration where there are any. A kind is `number`, `time` or `switch`.
macro_rules! each_setting {
    ($visit:ident) => {
        $visit! {
            "threads" threads number;
            "max-frame-size" max_frame_size number;
            "pipelining" pipelining switch;
            "async" asynchronous switch;
            "send-frag-payload" fragmentation switch;
            "max-waiting-frames" max_waiting_frames number;
            "timeout-processing" processing_timeout time;
            "timeout-hello" hello_timeout time;
            "timeout-idle" idle_timeout time;
            "timeout-check" check_timeout time;
            "latency" latency time;
            "servers" servers number;
            "inter" check_inter time;
            "fall" fall number;
            "rise" rise number;
            "redispatch" redispatch switch;
            "error-limit" error_limit number;
            "retries" retries number;
            "retry-delay" retry_delay time;
            "pool-purge-delay" pool_purge time;
            "reuse" reuse switch;
            "maxconn" maxconn number;
            "reconnect-gap" reconnect_gap time;
            "fragment-gap" fragment_gap time;
            "engine-id-of-process" engine_of_process switch;
        }
    };
}

/// Calls the macro `$visit` with the bugs of single versions, one per row: `"name" field;`.
macro_rules! each_defect {
    ($visit:ident) => {
        $visit! {
            "split-hello-resets" split_hello_resets;
            "empty-ack-hangs" empty_ack_hangs;
            "duplicate-ack-fails" duplicate_ack_fails;
            "empty-notify" empty_notify;
            "ignores-negotiated-size" ignores_negotiated_size;
            "bad-hello-resets" bad_hello_resets;
            "normal-exit-releases" normal_exit_releases;
            "waits-for-nobody" waits_for_nobody;
            "full-read-sticks" full_read_sticks;
            "error-exit-fins" error_exit_fins;
        }
    };
}

macro_rules! all_settings {
    ($($name:literal $field:ident $kind:ident;)*) => {
        /// Does not compile if a setting has no row. Scripts do not set the size of buffers, the length of the prefix and the
        /// seed of engine-ids; the engine and the defects have a form of their own.
        const fn _all_settings_have_a_row(settings: &Settings) {
            let Settings { $($field: _,)* engine: _, bufsize: _, prefix_len: _, engine_seed: _, defects: _ } = settings;
        }
    };
}
each_setting!(all_settings);

macro_rules! all_defects {
    ($($name:literal $field:ident;)*) => {
        /// Does not compile if a defect has no row.
        const fn _all_defects_have_a_row(defects: &Defects) {
            let Defects { $($field: _,)* } = defects;
        }
    };
}
each_defect!(all_defects);
