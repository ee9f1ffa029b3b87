//! One connection, seen from outside: which of the faults that were meant for it the agent really met.
//!
//! That a script says "cut" does not mean that anything was cut: the connection may have been closed by then. So marks
//! are set by what the agent reads, and in which state.

use spoa_core::table::{Input, StateName};
use spoa_core::wire::{Flags, Frame, FrameType};

use super::{Coverage, Mark};

/// The kept part of a frame: its length, type, flags and the longest ids.
const HEAD_LEN_MAX: usize = 29;
/// A length, type and flags, and the shortest ids.
const HEAD_LEN_MIN: usize = 11;

/// The state of a connection, as observed so far.
#[derive(Clone, Debug)]
pub struct Observer {
    head: [u8; HEAD_LEN_MAX],
    /// Bytes of the frame under way that were read, its length included.
    read: usize,
    /// The number of bytes of the frame, once its length is known.
    whole: usize,
    /// Reads of one byte, one after the other.
    single: u32,
    /// The largest frame there may be.
    frame_max: u32,
    pipelining: bool,
    /// The ids of the NOTIFY whose fragments come.
    open: Option<Ids>,
    last: Option<Ids>,
    /// Behind a length that ends everything there are no frames any more.
    lost: bool,
}

type Ids = (u64, u64);

impl Observer {
    /// Of a connection that was just accepted.
    pub const fn new(frame_max: u32) -> Self {
        Self {
            head: [0; HEAD_LEN_MAX],
            read: 0,
            whole: 0,
            single: 0,
            frame_max,
            pipelining: true,
            open: None,
            last: None,
            lost: false,
        }
    }

    /// The negotiated values.
    pub const fn ready(&mut self, frame_max: u32, pipelining: bool) {
        (self.frame_max, self.pipelining) = (frame_max, pipelining);
    }

    /// The agent reads `bytes` in `state`, with so many NOTIFYs in flight.
    pub fn read(&mut self, coverage: &mut Coverage, state: StateName, in_flight: usize, bytes: &[u8]) {
        self.single = if bytes.len() == 1 { self.single + 1 } else { 0 };
        if self.single == 8 {
            coverage.reach(Mark::ByteByByte);
        }
        let (mut rest, mut frames) = (bytes, 0);
        while !rest.is_empty() && !self.lost {
            let taken = self.take(coverage, state, rest);
            rest = &rest[taken..];
            if self.whole > 0 && self.read == self.whole {
                self.frame(coverage, state, in_flight, frames == 0);
                (self.read, self.whole) = (0, 0);
                frames += 1;
            }
        }
        if frames > 1 {
            coverage.reach(Mark::SeveralFrames);
        }
        if let Some(mark) = self.border() {
            coverage.reach(mark);
        }
    }

    /// The agent reads the end.
    pub fn end(&self, coverage: &mut Coverage) {
        if self.lost || self.read == 0 {
            return;
        }
        coverage.reach(match self.read {
            1..=4 => Mark::EndInLength,
            read if read < HEAD_LEN_MIN => Mark::EndInHeader,
            _ => Mark::EndInPayload,
        });
    }

    /// Takes what belongs to the frame under way; gives how much that was.
    fn take(&mut self, coverage: &mut Coverage, state: StateName, bytes: &[u8]) -> usize {
        // The length first: how far the frame goes is not known before.
        let end = if self.read < 4 { 4 } else { self.whole };
        let taken = bytes.len().min(end - self.read);
        let kept = HEAD_LEN_MAX.min(self.read + taken);
        if self.read < kept {
            self.head[self.read..kept].copy_from_slice(&bytes[..kept - self.read]);
        }
        self.read += taken;
        if self.read == 4 && self.whole == 0 {
            let length = u32::from_be_bytes([self.head[0], self.head[1], self.head[2], self.head[3]]);
            self.whole = 4 + length as usize;
            self.length(coverage, state, length);
        }
        taken
    }

    fn length(&mut self, coverage: &mut Coverage, state: StateName, length: u32) {
        let mark = match length {
            0 => Mark::LengthZero,
            1..=6 => Mark::LengthShort,
            u32::MAX => Mark::LengthMax,
            0x8000_0000.. => Mark::LengthNegative,
            _ if length > self.frame_max => Mark::LengthAbove,
            _ => return,
        };
        coverage.reach(mark);
        coverage.cell(state, Input::Malformed);
        self.lost = true;
    }

    fn frame(&mut self, coverage: &mut Coverage, state: StateName, in_flight: usize, first: bool) {
        let head = &self.head[4..self.whole.min(HEAD_LEN_MAX)];
        let Ok(Frame { frame_type, flags, stream_id, frame_id, .. }) = Frame::decode(head) else {
            return coverage.cell(state, Input::Malformed);
        };
        // What comes behind another frame may meet another state than the one before the read.
        if first {
            coverage.cell(state, Input::of_frame(frame_type));
        }
        let ids = (stream_id.0, frame_id.0);
        if flags.0 & !Flags::FIN_ABORT.0 != 0 {
            coverage.reach(Mark::ReservedFlags);
        }
        match frame_type {
            FrameType::HAPROXY_HELLO if ids != (0, 0) => coverage.reach(Mark::HelloWithIds),
            FrameType::HAPROXY_DISCONNECT if state == StateName::Running => coverage.reach(match self.open {
                Some(_) => Mark::DisconnectAmidFragments,
                None if in_flight > 0 => Mark::DisconnectInFlight,
                None => Mark::DisconnectIdle,
            }),
            FrameType::NOTIFY if state == StateName::Running => self.notify(coverage, flags, ids, in_flight),
            FrameType::UNSET if state == StateName::Running => self.fragment(coverage, flags, ids),
            _ => {}
        }
    }

    fn notify(&mut self, coverage: &mut Coverage, flags: Flags, ids: Ids, in_flight: usize) {
        if in_flight > 0 && !self.pipelining {
            coverage.reach(Mark::NotPipelined);
        }
        if self.last == Some(ids) {
            coverage.reach(if in_flight > 0 { Mark::IdsInFlight } else { Mark::IdsAgain });
        }
        self.last = Some(ids);
        if !flags.is_fin() {
            coverage.reach(Mark::FirstFragment);
            self.open = Some(ids);
        }
    }

    fn fragment(&mut self, coverage: &mut Coverage, flags: Flags, ids: Ids) {
        let known = self.open == Some(ids);
        let (last, abort) = (flags.is_fin(), flags.is_abort());
        match (known, abort) {
            (true, true) => coverage.reach(Mark::Aborted),
            (true, false) if last => coverage.reach(Mark::LastFragment),
            (false, true) => coverage.reach(Mark::AbortAlone),
            _ => {}
        }
        if known && (last || abort) {
            self.open = None;
        }
    }

    /// Where in a frame a read ended, if that is worth a mark.
    fn border(&self) -> Option<Mark> {
        match self.read {
            1..=3 => Some(Mark::CutInLength),
            4 => Some(Mark::CutBehindLength),
            read if (5..HEAD_LEN_MIN).contains(&read) => Some(Mark::CutInHeader),
            HEAD_LEN_MIN => Some(Mark::CutBehindHeader),
            _ => None,
        }
    }
}
