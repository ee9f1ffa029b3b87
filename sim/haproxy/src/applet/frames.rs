//! NOTIFYs leaving and ACKs coming in, on one connection of the applet engine.

use super::link::{Fragment, State};
use super::{Applet, Context, Place};
use crate::codec::{FIN_ABORT, Header, Kind, code, decode_varint, encode_fragment, encode_notify, varint_len};
use crate::output::Output;
use crate::settings::Settings;
use crate::time::Time;

impl Applet {
    /// One frame that ought to be an ACK (`spoe_handle_agentack_frame`). The error is the DISCONNECT's code; whatever
    /// cannot be made sense of is dropped without one.
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
        let waits = |context: &Context| match context.place {
            Place::Waiting { queue: Some(queue), .. } => !asynchronous && queue == id,
            Place::Waiting { queue: None, .. } => asynchronous && context.thread == thread,
            _ => false,
        };
        let mine = |context: &Context| context.sid == sid && context.fid == fid;
        if let Some(context) = self.contexts.iter().position(|context| waits(context) && mine(context)) {
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

    /// An ACK that no event waits for: it may cancel the fragments under way, else it is late, wrong or a duplicate.
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
                // The NOTIFY was never counted, as its last fragment had not left. HAProxy takes it off all the same,
                // and with none in flight the unsigned count wraps: this connection never sends again.
                link.in_flight = link.in_flight.wrapping_sub(1);
            }
            return Ok(());
        }
        if self.links[at].state == State::WaitingSync {
            let id = self.links[at].id;
            let waits = |context: &Context| matches!(context.place, Place::Waiting { queue, .. } if queue == Some(id));
            if self.contexts.iter().any(waits) {
                return Err(code::UNKNOWN_FRAME_ID);
            }
            self.links[at].state = State::Processing;
            self.links[at].in_flight = 0;
        }
        Ok(())
    }

    /// `spoe_handle_sending_frame_appctx`.
    pub(super) fn send_next(&mut self, settings: &Settings, out: &mut Output, now: Time, at: usize) -> Sent {
        let link = &mut self.links[at];
        if link.state != State::SendingFragments {
            let queued = |context: &Context| context.thread == link.thread && context.place == Place::Queued;
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
                Some(context) if matches!(self.contexts[context].place, Place::Sending(_, true)) => {
                    self.send_part(settings, out, now, at, context)
                }
                _ => Sent::Nothing, // not encoded yet
            },
            Fragment::None => Sent::Nothing,
        }
    }

    /// Sends what is encoded of an event: all of it, the first fragment, a further one, the last.
    fn send_part(&mut self, settings: &Settings, out: &mut Output, now: Time, at: usize, context_at: usize) -> Sent {
        let (link, context) = (&mut self.links[at], &mut self.contexts[context_at]);
        let is_first = context.place == Place::Queued;
        let is_last = context.is_last();
        if is_first && !is_last && !link.capabilities.fragmentation {
            return Sent::Refused(code::FRAGMENTED);
        }
        let (sid, fid) = (u64::from(context.sid), u64::from(context.fid));
        let payload = &context.messages.bytes()[context.from..context.to];
        let len = 5 + varint_len(sid) + varint_len(fid) + payload.len();
        // `p + sz >= end`: one byte less than the size it stands for.
        if len >= link.max_frame_size as usize {
            self.finish(out, context_at, 256 + code::TOO_BIG, b"");
            // Fragments that are out already are taken back in the same turn.
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
            context.place = Place::Sending(link.id, false);
            context.encode_at = Some(now.saturating_add(settings.fragment_gap));
            return Sent::Last;
        }
        link.fragment = Fragment::None;
        link.in_flight = link.in_flight.wrapping_add(1);
        let queue = if link.capabilities.asynchronous { None } else { Some(link.id) };
        context.place = Place::Waiting { queue, counted: Some(link.id) };
        if link.capabilities.asynchronous || link.capabilities.pipelining {
            link.state = State::Processing;
            return Sent::More;
        }
        link.state = State::WaitingSync;
        Sent::Last
    }
}

/// The outcome of an attempt to send.
pub(super) enum Sent {
    Nothing,
    More,
    /// Sent, or dropped, and nothing may follow until its ACK.
    Last,
    Refused(u32),
}

/// The header of an ACK; `None` if its ids are cut off, which drops the frame.
fn ack_header(frame: &[u8]) -> Result<Option<Header>, u32> {
    if frame[8] & 1 == 0 {
        return Err(code::FRAGMENTED);
    }
    let ids = decode_varint(&frame[9..]).and_then(|(_, len)| decode_varint(&frame[9 + len..]));
    Ok(ids.and_then(|_| Header::peek(frame)))
}
