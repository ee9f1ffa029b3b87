//! Logs each frame as one readable line, for `spoa -d`.

use spoa_core::wire::{Frame, LENGTH_LEN};

use crate::name::{Name, tell};

/// Reads the bytes of one connection, in both directions, as they are on the wire.
#[derive(Debug)]
pub(crate) struct FrameLog {
    name: Name,
    received: Splitter,
    sent: Splitter,
}

/// Splits the bytes of one direction into frames.
#[derive(Debug)]
struct Splitter {
    /// The beginning of a frame that is not complete.
    part: Vec<u8>,
    /// The largest frame. The connection stops reading at a larger one, and so does this.
    frame_max: usize,
    lost: bool,
}

impl FrameLog {
    pub(crate) fn new(name: Name, frame_max: u32) -> Self {
        let splitter = || Splitter { part: Vec::new(), frame_max: frame_max as usize, lost: false };
        Self { name, received: splitter(), sent: splitter() }
    }

    /// Returns the bytes of its buffers. It has none while neither direction is inside a frame.
    pub(crate) const fn memory(&self) -> usize {
        self.received.part.capacity() + self.sent.part.capacity()
    }

    /// Logs the frames in bytes that HAProxy sent.
    pub(crate) fn received(&mut self, bytes: &[u8]) {
        let name = &self.name;
        self.received.push(bytes, |line| tell!(debug, name, "-> {line}"));
    }

    /// Logs the frames in bytes that were sent to HAProxy.
    pub(crate) fn sent(&mut self, bytes: &[u8]) {
        let name = &self.name;
        self.sent.push(bytes, |line| tell!(debug, name, "<- {line}"));
    }
}

impl Splitter {
    fn push(&mut self, bytes: &[u8], mut show: impl FnMut(&str)) {
        if self.lost {
            return;
        }
        let mut part = std::mem::take(&mut self.part);
        // Whole frames are read where they are.
        let mut rest = if part.is_empty() {
            bytes
        } else {
            part.extend_from_slice(bytes);
            &part[..]
        };
        while let Some((length, frame)) = rest.split_first_chunk::<LENGTH_LEN>() {
            let len = u32::from_be_bytes(*length) as usize;
            if len > self.frame_max {
                show(&format!("a frame of {len} bytes, above the limit; the rest is not read"));
                self.lost = true;
                return;
            }
            let Some((frame, behind)) = frame.split_at_checked(len) else { break };
            match Frame::decode(frame) {
                Ok(frame) => show(&shortened(frame.to_string())),
                Err(error) => show(&format!("a malformed frame of {len} bytes: {error}")),
            }
            rest = behind;
        }
        // The copy has no spare capacity, because most of many connections are idle. If no frame was completed, the buffer
        // stays.
        self.part = if !part.is_empty() && rest.len() == part.len() { part } else { rest.to_vec() };
    }
}

/// The longest line, in bytes: a NOTIFY may have thousands of arguments.
const LINE_MAX: usize = 4096;

fn shortened(mut line: String) -> String {
    if let Some(end) = (0..=LINE_MAX).rfind(|at| line.is_char_boundary(*at)).filter(|end| *end < line.len()) {
        line.truncate(end);
        line.push_str(" ...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACK: [u8; 11] = [0, 0, 0, 7, 103, 0, 0, 0, 1, 1, 1];

    fn lines(frame_max: usize, pieces: &[&[u8]]) -> Vec<String> {
        let mut splitter = Splitter { part: Vec::new(), frame_max, lost: false };
        let mut lines = Vec::new();
        for piece in pieces {
            splitter.push(piece, |line| lines.push(line.to_string()));
        }
        lines
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let two = [ACK, ACK].concat();
        for cut in 0..two.len() {
            assert_eq!(lines(256, &[&two[..cut], &two[cut..]]), ["ACK sid=1 fid=1"; 2], "cut at {cut}");
        }
    }

    #[test]
    fn memory_is_kept_for_the_part_of_a_frame_alone() {
        let mut splitter = Splitter { part: Vec::new(), frame_max: 16_384, lost: false };
        let (large, whole) = (vec![0; 60_000], ACK.repeat(1000));
        let mut lines = 0;
        splitter.push(&whole, |_| lines += 1);
        assert_eq!((lines, splitter.part.capacity()), (1000, 0));
        splitter.push(&[&whole[..], &ACK[..5]].concat(), |_| lines += 1);
        assert_eq!((lines, splitter.part.capacity()), (2000, 5));
        splitter.push(&[&ACK[5..], &large].concat(), |_| ());
        assert!(splitter.part.capacity() <= 4, "frames of no bytes");
    }

    #[test]
    fn bytes_that_are_no_frame_are_logged_once() {
        let text = lines(256, &[b"GET / HTTP/1.1\r\n", b"Host: x\r\n"]);
        assert_eq!(text, ["a frame of 1195725856 bytes, above the limit; the rest is not read"]);
        assert_eq!(lines(256, &[&[0, 0, 0, 2, 1, 0], &ACK]).len(), 2);
    }
}
