//! The configuration of an HAProxy process, and the bugs of its version.

use crate::codec::EngineId;
use crate::time::{MICROSECOND, MILLISECOND, SECOND, Time};

/// The part of HAProxy that owns the connections to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// `src/mux_spop.c`, HAProxy 3.1 and later.
    Mux,
    /// `src/flt_spoe.c`, HAProxy 1.8 to 3.0.
    Applet,
}

/// The bugs of single versions. By default there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defects {
    /// Mux, 3.2-dev16 to 3.5-dev5 (#3478): the rest of an AGENT-HELLO that is cut after its header is read as a header.
    pub split_hello_resets: bool,
    /// Mux, 3.1.0 (fixed in 3.2-dev7): an ACK without actions does not end its event.
    pub empty_ack_hangs: bool,
    /// Mux, 3.1.0: an event fails if two ACKs of it arrive in one read. Later versions apply both.
    pub duplicate_ack_fails: bool,
    /// Mux, 3.1.0 to 3.3-dev6: a NOTIFY is sent although the conditions of all messages are false.
    pub empty_notify: bool,
    /// Mux, 3.1.0 (fixed in 3.2-dev12): the size of NOTIFYs is limited by HAProxy's own frame size, not by the
    /// negotiated one.
    pub ignores_negotiated_size: bool,
    /// Mux, 3.1.0 (fixed in 3.2-dev16): HAProxy answers a bad AGENT-HELLO with RST in place of DISCONNECT.
    pub bad_hello_resets: bool,
    /// Mux, 3.2.26 (other versions were not tested): a connection reads nothing more after a read that fills the
    /// buffer, even with complete frames. The bytes of that read have no effect, nor does the agent's FIN. HAProxy
    /// continues to use the connection.
    pub full_read_sticks: bool,
    /// Applet, 2.6: AGENT-DISCONNECT 0 ends the connection immediately. 3.0 sends FIN and waits for the agent's FIN.
    pub normal_exit_releases: bool,
    /// Applet, up to 2.9.6 (#2478): a thread that has lost all its connections opens none for its next event if it was
    /// fast in the last second. The event waits for its processing timeout.
    pub waits_for_nobody: bool,
    /// Applet, 2.6: a connection that ends with an error, such as a handshake that takes too long, is sometimes closed
    /// by FIN and not by RST.
    pub error_exit_fins: bool,
}

impl Defects {
    /// The bugs of 3.1.0.
    pub const V3_1_0: Self = Self {
        split_hello_resets: false,
        empty_ack_hangs: true,
        duplicate_ack_fails: true,
        empty_notify: true,
        ignores_negotiated_size: true,
        bad_hello_resets: true,
        full_read_sticks: false,
        normal_exit_releases: false,
        waits_for_nobody: false,
        error_exit_fins: false,
    };
}

/// The configuration of one HAProxy process with one SPOE filter. [`Settings::mux`] and [`Settings::applet`] return the
/// defaults of each engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The engine.
    pub engine: Engine,
    /// `nbthread`.
    pub threads: u32,
    /// `max-frame-size`, by default `tune.bufsize` minus 4.
    pub max_frame_size: u32,
    /// `tune.bufsize`, which limits the frame size in health checks.
    pub bufsize: u32,
    /// `option pipelining`.
    pub pipelining: bool,
    /// `option async`, which the mux no longer has.
    pub asynchronous: bool,
    /// `option send-frag-payload`, which the mux no longer has.
    pub fragmentation: bool,
    /// Applet: `max-waiting-frames`. The mux always uses 20 with pipelining.
    pub max_waiting_frames: u32,
    /// `timeout processing`: the total time that an event may wait.
    pub processing_timeout: Time,
    /// `timeout hello`, which the mux ignores (#3173).
    pub hello_timeout: Time,
    /// `timeout idle`, which the mux ignores.
    pub idle_timeout: Time,
    /// `retries`.
    pub retries: u32,
    /// The pause before each retry on the same server.
    pub retry_delay: Time,
    /// Mux: the time after which an idle connection is closed.
    pub pool_purge: Time,
    /// Mux: false models a backend in `mode tcp` that is declared before the frontend: each event gets its own
    /// connection.
    pub reuse: bool,
    /// Applet: `maxconn` of the server line, 0 for none. With several threads, HAProxy disconnects when the server is
    /// full (#1340).
    pub maxconn: u32,
    /// Applet: the pause before a lost connection is replaced. Real HAProxy was measured to open more than 2000 per
    /// second.
    pub reconnect_gap: Time,
    /// Applet: the pause between two fragments, because the stream has to be scheduled to encode the next one.
    pub fragment_gap: Time,
    /// The time that bytes take between HAProxy and the agent, in each direction. The driver of the model delays them.
    pub latency: Time,
    /// `timeout check`.
    pub check_timeout: Time,
    /// The number of servers in the backend, each at least one. They take turns (`balance roundrobin`).
    pub servers: u32,
    /// `inter`: the pause between two health checks of a server; 0 for no checks but requested ones.
    pub check_inter: Time,
    /// `fall`: the number of failed checks in a row after which a server is down.
    pub fall: u32,
    /// `rise`: the number of checks in a row that must pass before a server is up again.
    pub rise: u32,
    /// `option redispatch 1`: an attempt to connect that fails is repeated on another server.
    pub redispatch: bool,
    /// `observe layer4 on-error mark-down error-limit N`: a server is down after this many failed attempts to connect;
    /// 0 if they are not observed.
    pub error_limit: u32,
    /// The length of `option var-prefix` in bytes.
    pub prefix_len: usize,
    /// The seed of the engine-ids. Each process needs a different one.
    pub engine_seed: u64,
    /// Applet, 1.8 to 2.0: the process has one engine-id, in upper case.
    pub engine_of_process: bool,
    /// The bugs.
    pub defects: Defects,
}

impl Settings {
    /// Returns the default configuration of an engine.
    pub const fn of(engine: Engine) -> Self {
        match engine {
            Engine::Mux => Self::mux(),
            Engine::Applet => Self::applet(),
        }
    }

    /// Returns the default configuration of HAProxy 3.2 and later.
    pub const fn mux() -> Self {
        Self {
            engine: Engine::Mux,
            threads: 2,
            max_frame_size: 16380,
            bufsize: 16384,
            pipelining: true,
            asynchronous: false,
            fragmentation: false,
            max_waiting_frames: 20,
            processing_timeout: 500 * MILLISECOND,
            hello_timeout: 500 * MILLISECOND,
            idle_timeout: 30 * SECOND,
            retries: 3,
            retry_delay: SECOND,
            pool_purge: 15 * SECOND,
            reuse: true,
            maxconn: 0,
            reconnect_gap: 400 * MICROSECOND,
            fragment_gap: 0,
            latency: 0,
            check_timeout: 10 * SECOND,
            servers: 1,
            check_inter: 0,
            fall: 3,
            rise: 2,
            redispatch: false,
            error_limit: 0,
            prefix_len: 5,
            engine_seed: 0,
            engine_of_process: false,
            defects: Defects {
                split_hello_resets: false,
                empty_ack_hangs: false,
                duplicate_ack_fails: false,
                empty_notify: false,
                ignores_negotiated_size: false,
                bad_hello_resets: false,
                full_read_sticks: false,
                normal_exit_releases: false,
                waits_for_nobody: false,
                error_exit_fins: false,
            },
        }
    }

    /// Returns the default configuration of HAProxy 2.5 to 3.0.
    pub const fn applet() -> Self {
        Self { engine: Engine::Applet, asynchronous: true, fragmentation: true, ..Self::mux() }
    }

    /// Returns the capabilities that HELLO lists.
    pub const fn capabilities(&self) -> &'static str {
        let asynchronous = self.asynchronous && matches!(self.engine, Engine::Applet);
        match (self.pipelining, asynchronous) {
            (true, true) => "pipelining,async",
            (true, false) => "pipelining",
            (false, true) => "async",
            (false, false) => "",
        }
    }

    /// Returns the engine-id of the connections of `thread`: the mux has one per filter, the applet one per thread.
    pub fn engine_id(&self, thread: u32) -> EngineId {
        let of_thread = matches!(self.engine, Engine::Applet) && !self.engine_of_process;
        uuid(self.engine_seed, if of_thread { thread } else { 0 }, self.engine_of_process)
    }
}

/// Returns a version 4 UUID that depends only on the arguments.
fn uuid(seed: u64, thread: u32, is_upper_case: bool) -> EngineId {
    let digits: &[u8; 16] = if is_upper_case { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    let mut id = [b'-'; 36];
    let mut state = seed ^ (u64::from(thread) << 32) ^ u64::from(thread);
    let (mut bits, mut digits_left) = (0, 0);
    for (at, byte) in id.iter_mut().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            continue;
        }
        if digits_left == 0 {
            // SplitMix64: two steps give 128 bits.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            bits = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            bits ^= bits >> 31;
            digits_left = 16;
        }
        let digit = match at {
            14 => 4,
            19 => 8 | (bits & 3),
            _ => bits & 15,
        };
        *byte = digits[digit as usize];
        bits >>= 4;
        digits_left -= 1;
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_ids_are_different_uuids() {
        let applet = Settings::applet();
        let (first, second) = (applet.engine_id(0), applet.engine_id(1));
        assert_ne!(first, second, "expected one engine-id per thread");
        assert_eq!((first[8], first[13], first[14], first[18], first[23]), (b'-', b'-', b'4', b'-', b'-'));
        assert!(first.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')));
        let mux = Settings::mux();
        assert_eq!(mux.engine_id(0), mux.engine_id(1), "expected one engine-id per filter");
        assert_ne!(mux.engine_id(0), Settings { engine_seed: 1, ..Settings::mux() }.engine_id(0));
        let old = Settings { engine_of_process: true, ..Settings::applet() };
        assert_eq!(old.engine_id(0), old.engine_id(1));
        assert!(old.engine_id(0).iter().all(|byte| !byte.is_ascii_lowercase()));
    }

    #[test]
    fn capabilities_depend_on_the_options() {
        assert_eq!(Settings::mux().capabilities(), "pipelining");
        assert_eq!(Settings { asynchronous: true, ..Settings::mux() }.capabilities(), "pipelining");
        assert_eq!(Settings { pipelining: false, ..Settings::mux() }.capabilities(), "");
        assert_eq!(Settings::applet().capabilities(), "pipelining,async");
        assert_eq!(Settings { pipelining: false, ..Settings::applet() }.capabilities(), "async");
    }
}
