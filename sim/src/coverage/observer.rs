//! Observes the input of one connection and counts the faults that the agent really met.
//!
//! A step of a script is no proof of its effect: the connection may have been closed before a cut, for example. So
//! marks are counted by what the agent reads, and in which state.

use spoa_core::table::{Input, StateName};
use spoa_core::wire::{Flags, Frame, FrameType};

use super::{Coverage, Mark};

/// The size of the stored part of a frame: length, type, flags, and ids of the largest size.
const HEAD_LEN_MAX: usize = 29;
/// The size of length, type, flags, and ids of the smallest size.
const HEAD_LEN_MIN: usize = 11;

/// The observed state of a connection.
#[derive(Clone, Debug)]
pub struct Observer {
    head: [u8; HEAD_LEN_MAX],
    /// The number of bytes of the current frame that were read, with its length.
    read: usize,
    /// The size of the current frame with its length; 0 until the length was read.
    frame_len: usize,
    /// The number of consecutive reads of one byte.
    single: u32,
    /// The largest allowed frame.
    frame_max: u32,
    pipelining: bool,
    /// The ids of the NOTIFY that arrives in fragments.
    open: Option<Ids>,
    /// The ids of the last NOTIFY.
    last: Option<Ids>,
    /// True after an invalid length: the following bytes cannot be divided into frames.
    lost: bool,
}

type Ids = (u64, u64);

impl Observer {
    /// Creates the observer of a connection that was just accepted.
    pub const fn new(frame_max: u32) -> Self {
        Self {
            head: [0; HEAD_LEN_MAX],
            read: 0,
            frame_len: 0,
            single: 0,
            frame_max,
            pipelining: true,
            open: None,
            last: None,
            lost: false,
        }
    }

    /// Sets the negotiated values.
    pub const fn ready(&mut self, frame_max: u32, pipelining: bool) {
        (self.frame_max, self.pipelining) = (frame_max, pipelining);
    }

    /// Observes that the agent reads `bytes` in `state`, with `in_flight` NOTIFYs in flight.
    pub fn read(&mut self, coverage: &mut Coverage, state: StateName, in_flight: usize, bytes: &[u8]) {
        self.single = if bytes.len() == 1 { self.single + 1 } else { 0 };
        if self.single == 8 {
            coverage.reach(Mark::ByteByByte);
        }
        let (mut rest, mut frames) = (bytes, 0);
        while !rest.is_empty() && !self.lost {
            let taken = self.take(coverage, state, rest);
            rest = &rest[taken..];
            if self.frame_len > 0 && self.read == self.frame_len {
                self.frame(coverage, state, in_flight, frames == 0);
                (self.read, self.frame_len) = (0, 0);
                frames += 1;
            }
        }
        if frames > 1 {
            coverage.reach(Mark::SeveralFrames);
        }
        if let Some(mark) = self.boundary() {
            coverage.reach(mark);
        }
    }

    /// Observes that the agent reads the end of HAProxy's bytes.
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

    /// Takes the bytes that belong to the current frame, and returns their number.
    fn take(&mut self, coverage: &mut Coverage, state: StateName, bytes: &[u8]) -> usize {
        // The size of the frame is not known before its length was read.
        let end = if self.read < 4 { 4 } else { self.frame_len };
        let taken = bytes.len().min(end - self.read);
        let head_end = HEAD_LEN_MAX.min(self.read + taken);
        if self.read < head_end {
            self.head[self.read..head_end].copy_from_slice(&bytes[..head_end - self.read]);
        }
        self.read += taken;
        if self.read == 4 && self.frame_len == 0 {
            let length = u32::from_be_bytes([self.head[0], self.head[1], self.head[2], self.head[3]]);
            self.frame_len = 4 + length as usize;
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
        let head = &self.head[4..self.frame_len.min(HEAD_LEN_MAX)];
        let Ok(Frame { frame_type, flags, stream_id, frame_id, .. }) = Frame::decode(head) else {
            return coverage.cell(state, Input::Malformed);
        };
        // `state` is the state before the read. Frames after the first one may be handled in another state.
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

    /// Returns the mark for the position in the frame at which a read ended, if there is one.
    fn boundary(&self) -> Option<Mark> {
        match self.read {
            1..=3 => Some(Mark::CutInLength),
            4 => Some(Mark::CutAfterLength),
            read if (5..HEAD_LEN_MIN).contains(&read) => Some(Mark::CutInHeader),
            HEAD_LEN_MIN => Some(Mark::CutAfterHeader),
            _ => None,
        }
    }
}
