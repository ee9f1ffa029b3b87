//! Sends NOTIFYs and receives ACKs on one connection of the applet engine.

use super::link::{Fragment, Sent, State};
use super::{Applet, Context, Progress};
use crate::codec::{FIN_ABORT, Header, Kind, code, decode_varint, encode_fragment, encode_notify, varint_len};
use crate::output::Output;
use crate::settings::Settings;
use crate::time::Time;

impl Applet {
    /// Handles a frame that should be an ACK (`spoe_handle_agentack_frame`). The error is the code of HAProxy's
    /// DISCONNECT. A frame that is not a readable ACK is dropped without an error.
    pub(super) fn take_ack(&mut self, out: &mut Output, at: usize, len: usize) -> Result<(), u32> {
        let link = &mut self.links[at];
        let frame = &link.input[..len];
        let header = if link.kind() == Kind::ACK { ack_header(frame) } else { Ok(None) };
        let Some(header) = header.inspect_err(|_| drop(link.input.drain(..len)))? else {
            link.input.drain(..len);
            return Ok(());
        };
        let (id, asynchronous) = (link.id, link.capabilities.asynchronous);
        let (sid, fid) = (header.sid as u32, header.fid as u32);
        let thread = link.thread;
        let is_waiting = |context: &Context| match context.progress {
            Progress::Waiting { queue: Some(queue), .. } => !asynchronous && queue == id,
            Progress::Waiting { queue: None, .. } => asynchronous && context.thread == thread,
            _ => false,
        };
        let has_ids = |context: &Context| context.sid == sid && context.fid == fid;
        if let Some(context) = self.contexts.iter().position(|context| is_waiting(context) && has_ids(context)) {
            let mut input = std::mem::take(&mut self.links[at].input);
            self.finish(out, context, 0, &input[header.size..len]);
            input.drain(..len);
            let link = &mut self.links[at];
            link.input = input;
            if link.state == State::WaitingSync {
                link.state = State::Processing;
            }
            return Ok(());
        }
        self.links[at].input.drain(..len);
        self.stray_ack(out, at, &header)
    }

    /// Handles an ACK that no event waits for: it may abort the NOTIFY whose fragments are being sent. Otherwise it is
    /// late, wrong or a duplicate.
    fn stray_ack(&mut self, out: &mut Output, at: usize, header: &Header) -> Result<(), u32> {
        let (sid, fid) = (header.sid as u32, header.fid as u32);
        if let Fragment::Of(event, fragment_sid, fragment_fid) = self.links[at].fragment
            && (sid, fid) == (fragment_sid, fragment_fid)
        {
            if header.is_abort()
                && let Some(context) = self.context_at(event)
            {
                self.finish(out, context, 4, b"");
                let link = &mut self.links[at];
                link.fragment = Fragment::None;
                link.state = State::Processing;
                // The NOTIFY was never counted, because its last fragment was not sent. HAProxy subtracts it all the
                // same. If none was in flight the unsigned count wraps, and this connection never sends again.
                link.in_flight = link.in_flight.wrapping_sub(1);
            }
            return Ok(());
        }
        if self.links[at].state == State::WaitingSync {
            let id = self.links[at].id;
            let is_waiting =
                |context: &Context| matches!(context.progress, Progress::Waiting { queue, .. } if queue == Some(id));
            if self.contexts.iter().any(is_waiting) {
                return Err(code::UNKNOWN_FRAME_ID);
            }
            self.links[at].state = State::Processing;
            self.links[at].in_flight = 0;
        }
        Ok(())
    }

    /// Sends the next NOTIFY or fragment (`spoe_handle_sending_frame_appctx`).
    pub(super) fn send_next(&mut self, settings: &Settings, out: &mut Output, now: Time, at: usize) -> Sent {
        let link = &mut self.links[at];
        if link.state != State::SendingFragments {
            let queued = |context: &Context| context.thread == link.thread && context.progress == Progress::Queued;
            let Some(context) = self.contexts.iter().position(queued) else { return Sent::Nothing };
            return self.send_part(settings, out, now, at, context);
        }
        match link.fragment {
            Fragment::Orphan(sid, fid) => {
                out.send(link.id, |bytes| _ = encode_fragment(bytes, FIN_ABORT, sid.into(), fid.into(), b""));
                link.fragment = Fragment::None;
                link.state = State::Processing;
                Sent::More
            }
            Fragment::Of(event, ..) => match self.context_at(event) {
                Some(context) if matches!(self.contexts[context].progress, Progress::Sending(_, true)) => {
                    self.send_part(settings, out, now, at, context)
                }
                _ => Sent::Nothing, // not encoded yet
            },
            Fragment::None => Sent::Nothing,
        }
    }

    /// Sends the encoded part of an event: the whole NOTIFY, or one of its fragments.
    fn send_part(&mut self, settings: &Settings, out: &mut Output, now: Time, at: usize, context_at: usize) -> Sent {
        let (link, context) = (&mut self.links[at], &mut self.contexts[context_at]);
        let is_first = context.progress == Progress::Queued;
        let is_last = context.is_last();
        if is_first && !is_last && !link.capabilities.fragmentation {
            return Sent::Refused(code::FRAGMENTED);
        }
        let (sid, fid) = (u64::from(context.sid), u64::from(context.fid));
        let payload = &context.messages.bytes()[context.from..context.to];
        let len = 5 + varint_len(sid) + varint_len(fid) + payload.len();
        // HAProxy checks `p + sz >= end`, so the last byte of the size is never used.
        if len >= link.max_frame_size as usize {
            self.finish(out, context_at, 256 + code::TOO_BIG, b"");
            // Fragments that were sent before are aborted in the same call.
            return if is_first { Sent::Last } else { Sent::More };
        }
        let flags = u32::from(is_last);
        out.send(link.id, |bytes| {
            let encode = if is_first { encode_notify } else { encode_fragment };
            encode(bytes, flags, sid, fid, payload);
        });
        link.weight = link.weight.saturating_sub(1);
        if !is_last {
            link.state = State::SendingFragments;
            link.fragment = Fragment::Of(context.event, context.sid, context.fid);
            context.progress = Progress::Sending(link.id, false);
            context.encode_at = Some(now.saturating_add(settings.fragment_gap));
            return Sent::Last;
        }
        link.fragment = Fragment::None;
        link.in_flight = link.in_flight.wrapping_add(1);
        let queue = if link.capabilities.asynchronous { None } else { Some(link.id) };
        context.progress = Progress::Waiting { queue, counted: Some(link.id) };
        if link.capabilities.asynchronous || link.capabilities.pipelining {
            link.state = State::Processing;
            return Sent::More;
        }
        link.state = State::WaitingSync;
        Sent::Last
    }
}

/// Returns the header of an ACK, or `None` if its ids are cut off, in which case the frame is dropped.
fn ack_header(frame: &[u8]) -> Result<Option<Header>, u32> {
    if frame[8] & 1 == 0 {
        return Err(code::FRAGMENTED);
    }
    let ids = decode_varint(&frame[9..]).and_then(|(_, len)| decode_varint(&frame[9 + len..]));
    Ok(ids.and_then(|_| Header::peek(frame)))
}
