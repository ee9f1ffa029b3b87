//! The socket between HAProxy and the agent: bytes in both directions, with everything that TCP may do to them.

use crate::coverage::{Coverage, Mark};
use crate::script::{Cuts, Nanos, Step};

/// The action that a driver has to take after a step of HAProxy or of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing, or the step is not one that [`apply`] knows.
    Nothing,
    /// Bytes may arrive.
    Deliver,
    /// The socket may accept bytes.
    Write,
}

/// Applies a step to the two directions of a socket. Returns what the driver has to do.
pub fn apply(step: &Step, (inlet, outlet): (&mut Inlet, &mut Outlet), now: Nanos, coverage: &mut Coverage) -> Next {
    match step {
        Step::Send(_, frame) => {
            coverage.sent(frame);
            frame.encode(inlet.send_buf());
            Next::Deliver
        }
        Step::Raw(_, bytes) => {
            inlet.send_buf().extend_from_slice(bytes);
            Next::Deliver
        }
        Step::Cut(_, cuts) => {
            inlet.cut(cuts);
            Next::Nothing
        }
        Step::Hold(_) => {
            inlet.hold(now);
            Next::Nothing
        }
        Step::Release(_) => {
            if inlet.release() && now > inlet.held_at {
                coverage.reach(Mark::Delayed);
            }
            Next::Deliver
        }
        Step::Room(_, room) => {
            outlet.room = *room;
            Next::Write
        }
        Step::Take(_, take) => {
            outlet.take = *take;
            Next::Write
        }
        _ => Next::Nothing,
    }
}

/// The bytes from HAProxy to the agent. They are not moved; two positions divide them:
///
/// ```text
/// bytes:  [ read by the agent | arrived | in transit ]
///         0                   read      arrived      bytes.len()
/// ```
#[derive(Debug, Default)]
pub struct Inlet {
    bytes: Vec<u8>,
    read: usize,
    arrived: usize,
    held: bool,
    /// The time of the last `hold`.
    held_at: Nanos,
    cuts: Cuts,
    fin: bool,
}

impl Inlet {
    /// Returns the state of a new socket, and reuses the memory of this one.
    pub fn recycled(mut self) -> Self {
        self.bytes.clear();
        Self { bytes: self.bytes, ..Self::default() }
    }

    /// Sets the pieces in which later bytes arrive.
    pub fn cut(&mut self, cuts: &Cuts) {
        self.cuts.clone_from(cuts);
    }

    /// Keeps bytes in transit until they are released.
    pub fn hold(&mut self, now: Nanos) {
        self.held = true;
        self.held_at = now;
    }

    /// Lets bytes in transit arrive. Returns false if there are none.
    pub fn release(&mut self) -> bool {
        self.held = false;
        self.arrived < self.bytes.len()
    }

    /// Returns the buffer to which HAProxy appends the bytes that it sends.
    pub fn send_buf(&mut self) -> &mut Vec<u8> {
        if self.read == self.bytes.len() {
            self.bytes.clear();
            (self.read, self.arrived) = (0, 0);
        }
        &mut self.bytes
    }

    /// Lets the `n`th piece of a delivery arrive. Returns false if no bytes are in transit or they are held.
    pub fn arrive(&mut self, n: usize) -> bool {
        let left = self.bytes.len() - self.arrived;
        if self.held || left == 0 {
            return false;
        }
        let Cuts { sizes, repeat } = &self.cuts;
        let last = if *repeat && n < PIECES_MAX { sizes.last() } else { None };
        self.arrived += sizes.get(n).or(last).map_or(left, |&size| left.min(size as usize));
        true
    }

    /// Lets HAProxy's FIN arrive, after all bytes.
    pub fn finish(&mut self) {
        self.fin = true;
    }

    /// Resets the connection: unread bytes are lost, whether they have arrived or not. Returns false if there are none.
    pub fn reset(&mut self) -> bool {
        let lost = self.read < self.bytes.len();
        self.bytes.clear();
        (self.read, self.arrived) = (0, 0);
        self.held = false;
        self.fin = true;
        lost
    }

    /// Returns the bytes that the agent can read.
    pub fn readable(&self) -> &[u8] {
        &self.bytes[self.read..self.arrived]
    }

    /// Removes the first `len` readable bytes, which the agent has read.
    pub fn take(&mut self, len: usize) {
        self.read += len;
    }

    /// True if bytes are in transit and not held.
    pub const fn is_deliverable(&self) -> bool {
        !self.held && self.has_transit()
    }

    /// True if bytes are in transit, held or not.
    pub const fn has_transit(&self) -> bool {
        self.arrived < self.bytes.len()
    }

    /// True if the agent can read bytes or the end.
    pub fn is_ready(&self) -> bool {
        self.fin || self.read < self.arrived
    }

    /// True if the next read of the agent returns the end.
    pub fn is_at_end(&self) -> bool {
        self.fin && self.read == self.arrived
    }
}

/// The number of pieces after which a repeated size ends. Errors with small pieces are found in the first few dozen,
/// and 16 KiB byte by byte would take as long as hundreds of runs.
const PIECES_MAX: usize = 64;

/// The bytes from the agent to HAProxy.
#[derive(Debug, Default)]
pub struct Outlet {
    /// The number of bytes that the socket still accepts; `None` for any number.
    pub room: Option<u32>,
    /// The number of bytes that the socket accepts at once; `None` for any number.
    pub take: Option<u32>,
    /// True if a model of HAProxy reads the bytes. Otherwise they are not stored.
    pub has_reader: bool,
    /// The bytes that the model has not read yet, in the pieces in which they were written.
    pub pieces: Vec<Vec<u8>>,
}

impl Outlet {
    /// True if the socket accepts at least one byte.
    pub fn has_room(&self) -> bool {
        self.room != Some(0) && self.take != Some(0)
    }

    /// Writes bytes to the socket. Returns the number of bytes that it accepted.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let limit = |limit: Option<u32>| limit.map_or(usize::MAX, |limit| limit as usize);
        let len = bytes.len().min(limit(self.room)).min(limit(self.take));
        if let Some(room) = &mut self.room {
            *room -= len as u32;
        }
        if self.has_reader && len > 0 {
            self.pieces.push(bytes[..len].to_vec());
        }
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the sizes of the pieces that arrive.
    fn arrivals(inlet: &mut Inlet) -> Vec<usize> {
        let mut sizes = Vec::new();
        while inlet.arrive(sizes.len()) {
            sizes.push(inlet.readable().len());
            inlet.take(inlet.readable().len());
        }
        sizes
    }

    fn pieces(sizes: &[u32], repeat: bool, len: usize) -> Vec<usize> {
        let mut inlet = Inlet { cuts: Cuts { sizes: sizes.into(), repeat }, ..Inlet::default() };
        inlet.send_buf().resize(len, 0);
        arrivals(&mut inlet)
    }

    #[test]
    fn bytes_arrive_in_the_pieces_of_the_cut() {
        assert_eq!(pieces(&[], false, 10), [10]);
        assert_eq!(pieces(&[3, 1], false, 10), [3, 1, 6]);
        assert_eq!(pieces(&[3, 1], false, 2), [2]);
        assert_eq!(pieces(&[4, 2], true, 9), [4, 2, 2, 1]);
        assert_eq!(pieces(&[1], true, 0), [0; 0]);
        assert_eq!(pieces(&[1], true, 100).last(), Some(&36));
    }

    #[test]
    fn held_bytes_arrive_together_when_released() {
        let mut inlet = Inlet::default();
        inlet.send_buf().push(1);
        assert_eq!(arrivals(&mut inlet), [1]);
        inlet.hold(0);
        inlet.send_buf().push(2);
        inlet.send_buf().push(3);
        assert_eq!(arrivals(&mut inlet), [0; 0]);
        inlet.release();
        assert!(inlet.arrive(0));
        assert_eq!(inlet.readable(), [2, 3]);
        inlet.send_buf().push(4);
        assert_eq!(inlet.readable(), [2, 3], "bytes do not arrive at the moment when they are sent");
    }

    #[test]
    fn a_socket_accepts_only_the_bytes_that_it_has_room_for() {
        let mut outlet = Outlet { room: Some(5), take: Some(3), has_reader: true, pieces: Vec::new() };
        assert_eq!([outlet.write(b"abcd"), outlet.write(b"defg"), outlet.write(b"fg")], [3, 2, 0]);
        assert_eq!(outlet.pieces, [b"abc".to_vec(), b"de".to_vec()]);
    }
}
