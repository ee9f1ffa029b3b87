//! Models health checks (`option spop-check`): each opens a connection, sends HELLO and evaluates the reply.

use crate::codec::{Header, HelloRules, Kind, code, decode_agent_disconnect, decode_agent_hello, encode_healthcheck};
use crate::output::{LinkId, Output};
use crate::servers::ServerId;
use crate::settings::{Engine, Settings};
use crate::time::Time;

/// The description of a successful check.
pub const CHECK_UP: &str = "SPOA server is ok";
/// The description that stands for a crash of HAProxy: up to 3.0, an AGENT-DISCONNECT with a code of 14..=98 makes it
/// read a null pointer.
pub const CHECK_CRASHED: &str = "HAProxy crashed";
/// The `max-frame-size` that HAProxy 3.1 and later offers in a health check: a constant, although HAProxy compares the
/// reply with `tune.bufsize`.
const OFFER: u32 = 16380;

/// The checks in progress.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    open: Vec<Check>,
    /// The results that were not taken yet: true for a check that passed.
    ended: Vec<(ServerId, bool)>,
}

#[derive(Debug)]
struct Check {
    link: LinkId,
    server: ServerId,
    deadline: Time,
    input: Vec<u8>,
}

/// The result of a check, or `None` if more bytes are needed.
type CheckResult = Option<Result<(), &'static str>>;

impl Checks {
    pub(crate) fn start(&mut self, settings: &Settings, out: &mut Output, now: Time, server: ServerId) {
        let offer = match settings.engine {
            Engine::Mux => OFFER,
            Engine::Applet => settings.bufsize - 4,
        };
        let link = out.connect(server);
        out.send(link, |bytes| _ = encode_healthcheck(bytes, offer));
        let deadline = now.saturating_add(settings.check_timeout);
        self.open.push(Check { link, server, deadline, input: Vec::new() });
    }

    pub(crate) fn handle_bytes(&mut self, settings: &Settings, out: &mut Output, link: LinkId, bytes: &[u8]) {
        let Some(at) = self.open.iter().position(|check| check.link == link) else { return };
        self.open[at].input.extend_from_slice(bytes);
        if let Some(result) = evaluate(&self.open[at].input, settings, false) {
            // HAProxy resets the connection as soon as the reply has arrived.
            out.reset(link);
            self.end(out, at, result);
        }
    }

    pub(crate) fn handle_end(&mut self, settings: &Settings, out: &mut Output, link: LinkId, eof: bool) {
        let Some(at) = self.open.iter().position(|check| check.link == link) else { return };
        let input = &self.open[at].input;
        let result = if input.is_empty() { None } else { evaluate(input, settings, true) };
        if eof {
            out.fin(link);
        }
        self.end(out, at, result.unwrap_or(Err("empty response")));
    }

    /// Handles a connection that the server's host refused.
    pub(crate) fn handle_refused(&mut self, out: &mut Output, link: LinkId) {
        if let Some(at) = self.open.iter().position(|check| check.link == link) {
            self.end(out, at, Err("connection refused"));
        }
    }

    /// Takes the result of a check that has ended: the server, and true if the check passed.
    pub(crate) fn take_result(&mut self) -> Option<(ServerId, bool)> {
        self.ended.pop()
    }

    pub(crate) fn handle_timeout(&mut self, out: &mut Output, now: Time) {
        while let Some(at) = self.open.iter().position(|check| check.deadline <= now) {
            out.reset(self.open[at].link);
            self.end(out, at, Err("timeout"));
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.open.iter().map(|check| check.deadline).min()
    }

    fn end(&mut self, out: &mut Output, at: usize, result: Result<(), &'static str>) {
        let check = self.open.remove(at);
        self.ended.push((check.server, result.is_ok()));
        out.check_done(check.link, result.is_ok(), result.err().unwrap_or(CHECK_UP));
    }
}

/// Evaluates a reply. `is_ended` is true if no more bytes will arrive.
fn evaluate(input: &[u8], settings: &Settings, is_ended: bool) -> CheckResult {
    match settings.engine {
        Engine::Applet => evaluate_applet(input, settings, is_ended),
        Engine::Mux => evaluate_mux(input, settings, is_ended),
    }
}

/// Returns the description of a failed check.
fn text(code: u32) -> &'static str {
    code::reason(code).unwrap_or(CHECK_CRASHED)
}

const INVALID: CheckResult = Some(Err("invalid frame received"));

/// Evaluates a reply as HAProxy 1.8 to 3.0 does (`spoe_handle_healthcheck_response`): bytes after the first frame are
/// ignored.
fn evaluate_applet(input: &[u8], settings: &Settings, is_ended: bool) -> CheckResult {
    let Some((len, rest)) = input.split_first_chunk() else { return if is_ended { INVALID } else { None } };
    let len = u32::from_be_bytes(*len) as usize;
    let Some(frame) = rest.get(..len) else { return if is_ended { INVALID } else { None } };
    if frame.len() < 7 {
        return INVALID;
    }
    let flags = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]);
    let ids = frame[5] != 0 || frame[6] != 0;
    Some(match Kind(frame[0]) {
        Kind::AGENT_DISCONNECT | Kind::AGENT_HELLO if flags & 1 == 0 => Err(text(code::FRAGMENTED)),
        Kind::AGENT_DISCONNECT | Kind::AGENT_HELLO if ids => Err(text(code::INVALID)),
        Kind::AGENT_DISCONNECT => {
            let status = decode_agent_disconnect(&frame[7..], Some(255)).unwrap_or(code::INVALID);
            Err(text(status.min(if status >= 100 { code::UNKNOWN } else { status })))
        }
        Kind::AGENT_HELLO => {
            let rules = HelloRules::applet(settings.bufsize - 4);
            decode_agent_hello(&frame[7..], &rules).map(drop).map_err(text)
        }
        _ => Err(text(code::INVALID)),
    })
}

/// Evaluates a reply as HAProxy 3.1 and later does (`tcpcheck_spop_expect_hello`): keys are read up to the end of the
/// *buffer*, so a byte after the frame is read as a key. An AGENT-DISCONNECT is read as an AGENT-HELLO without any of
/// the required keys.
fn evaluate_mux(input: &[u8], settings: &Settings, is_ended: bool) -> CheckResult {
    let short = if is_ended { INVALID } else { None };
    if input.len() < 11 {
        return short;
    }
    let Some(header) = Header::peek(input) else { return INVALID };
    if !matches!(header.kind, Kind::AGENT_HELLO | Kind::AGENT_DISCONNECT) || header.flags != 1 {
        return INVALID;
    }
    if input[9] != 0 || input[10] != 0 {
        return INVALID;
    }
    if input.len() < 4usize.saturating_add(header.len as usize) {
        return short;
    }
    let rules = HelloRules::mux_check(settings.bufsize - 4);
    Some(decode_agent_hello(&input[11..], &rules).map(drop).map_err(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Action;
    use crate::process::Process;

    const GOOD: &[u8] = b"\0\0\0\x40\x65\0\0\0\x01\0\0\x07version\x08\x032.0\x0emax-frame-size\x03\xfc\xf0\x06\
        \x0ccapabilities\x08\x0apipelining";
    const NO_CAPS: &[u8] = b"\0\0\0\x27\x65\0\0\0\x01\0\0\x07version\x08\x032.0\x0emax-frame-size\x03\xfc\xf0\x06";

    fn check_result(settings: Settings, replies: &[&[u8]], end: bool) -> (bool, &'static str) {
        let mut process = Process::new(settings, 0);
        process.healthcheck(0);
        let mut result = None;
        let link = LinkId(0);
        assert!(matches!(process.poll_action(), Some(Action::Connect(LinkId(0), ServerId(0)))));
        assert!(matches!(process.poll_action(), Some(Action::Send(_, bytes)) if bytes.len() == 82));
        for reply in replies {
            process.handle_bytes(1, link, reply);
        }
        if end {
            process.handle_eof(2, link);
        }
        while let Some(action) = process.poll_action() {
            if let Action::CheckDone { up, text, .. } = action {
                result = Some((up, text));
            }
        }
        result.expect("the check has ended")
    }

    fn discon(code: u8) -> Vec<u8> {
        let mut frame = b"\0\0\0\x25\x66\0\0\0\x01\0\0\x0bstatus-code\x03\0\x07message\x08\x06normal".to_vec();
        frame[24] = code;
        frame
    }

    #[test]
    fn good_replies_pass_in_any_pieces() {
        for settings in [Settings::mux(), Settings::applet()] {
            assert_eq!(check_result(settings.clone(), &[GOOD], false), (true, CHECK_UP));
            for cut in 1..GOOD.len() {
                assert_eq!(
                    check_result(settings.clone(), &[&GOOD[..cut], &GOOD[cut..]], false),
                    (true, CHECK_UP),
                    "{cut}"
                );
            }
        }
    }

    #[test]
    fn capabilities_are_required_since_3_1() {
        assert_eq!(check_result(Settings::applet(), &[NO_CAPS], false), (true, CHECK_UP));
        assert_eq!(check_result(Settings::mux(), &[NO_CAPS], false), (false, "capabilities value not found"));
    }

    #[test]
    fn bytes_after_the_reply_fail_a_check_since_3_1() {
        let trailing = [GOOD, &discon(0)].concat();
        assert_eq!(check_result(Settings::applet(), &[&trailing], false), (true, CHECK_UP));
        assert_eq!(check_result(Settings::mux(), &[&trailing], false), (false, "invalid frame received"));
    }

    #[test]
    fn disconnects_fail_a_check() {
        for code in 0..=13 {
            let text = code::reason(u32::from(code)).unwrap();
            assert_eq!(check_result(Settings::applet(), &[&discon(code)], false), (false, text));
        }
        for code in [14, 50, 98] {
            assert_eq!(check_result(Settings::applet(), &[&discon(code)], false), (false, CHECK_CRASHED));
        }
        for code in [99, 100, 239] {
            assert_eq!(check_result(Settings::applet(), &[&discon(code)], false), (false, "an unknown error occurred"));
        }
        for code in [0, 8, 50] {
            assert_eq!(check_result(Settings::mux(), &[&discon(code)], false), (false, "version value not found"));
        }
    }

    #[test]
    fn the_frame_size_is_compared_with_bufsize() {
        let small = |settings: Settings| Settings { bufsize: 8192, ..settings };
        assert_eq!(
            check_result(small(Settings::mux()), &[GOOD], false),
            (false, "max-frame-size too big or too small")
        );
        // Up to 3.0 HAProxy offers 8188 here, so an agent that follows the protocol answers with at most that.
        assert!(!check_result(small(Settings::applet()), &[GOOD], false).0);
    }

    #[test]
    fn extra_flags_fail_a_check_since_3_1_and_missing_bytes_always() {
        let mut abort = GOOD.to_vec();
        abort[8] = 3;
        assert_eq!(check_result(Settings::applet(), &[&abort], false), (true, CHECK_UP));
        assert_eq!(check_result(Settings::mux(), &[&abort], false), (false, "invalid frame received"));
        for settings in [Settings::mux(), Settings::applet()] {
            assert_eq!(check_result(settings.clone(), &[], true), (false, "empty response"));
            assert_eq!(check_result(settings, &[&GOOD[..20]], true), (false, "invalid frame received"));
        }
    }
}
