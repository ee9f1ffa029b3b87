//! The socket between HAProxy and the agent: one pipe of bytes each way, with everything that TCP may do to them.

use crate::script::Cuts;

/// HAProxy's bytes on their way to the agent, each of which is written once and stays where it is:
///
/// ```text
/// bytes:  [ read by the agent | arrived | under way ]
///         0                   read      arrived     bytes.len()
/// ```
#[derive(Debug, Default)]
pub struct Inlet {
    bytes: Vec<u8>,
    read: usize,
    arrived: usize,
    held: bool,
    cuts: Cuts,
    fin: bool,
}

impl Inlet {
    /// A new one, in the memory of this one.
    pub fn renewed(mut self) -> Self {
        self.bytes.clear();
        Self { bytes: self.bytes, ..Self::default() }
    }

    /// How further deliveries are cut.
    pub fn cut(&mut self, cuts: &Cuts) {
        self.cuts.clone_from(cuts);
    }

    /// Keeps further bytes under way.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Lets what was held go; false if that is nothing.
    pub fn release(&mut self) -> bool {
        self.held = false;
        self.arrived < self.bytes.len()
    }

    /// Where HAProxy appends what it sends.
    pub fn end(&mut self) -> &mut Vec<u8> {
        if self.read == self.bytes.len() {
            self.bytes.clear();
            (self.read, self.arrived) = (0, 0);
        }
        &mut self.bytes
    }

    /// The `n`th piece of what is under way arrives; false if nothing is, or it is held.
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

    /// HAProxy's end arrives, behind all bytes.
    pub fn finish(&mut self) {
        self.fin = true;
    }

    /// The link is reset: what has arrived is lost with it, and what was under way. False if that is nothing.
    pub fn reset(&mut self) -> bool {
        let lost = self.read < self.bytes.len();
        self.bytes.clear();
        (self.read, self.arrived) = (0, 0);
        self.held = false;
        self.fin = true;
        lost
    }

    /// The bytes that the agent can read.
    pub fn readable(&self) -> &[u8] {
        &self.bytes[self.read..self.arrived]
    }

    /// The agent read `len` bytes of it.
    pub fn take(&mut self, len: usize) {
        self.read += len;
    }

    /// True if there is something to read: bytes or the end.
    pub fn is_ready(&self) -> bool {
        self.fin || self.read < self.arrived
    }

    /// True if the agent would read the end now.
    pub fn is_at_end(&self) -> bool {
        self.fin && self.read == self.arrived
    }
}

/// The largest number of pieces that a repeated size makes: what is wrong with small pieces shows in the first few dozen, and
/// 16 KiB byte by byte would take the time of hundreds of runs.
const PIECES_MAX: usize = 64;

/// The agent's bytes on their way to HAProxy.
#[derive(Debug, Default)]
pub struct Outlet {
    /// The number of bytes that the socket still takes; `None` for any number.
    pub room: Option<u32>,
    /// The number of bytes that it takes at once; `None` for any number.
    pub take: Option<u32>,
    /// True if a model of HAProxy reads what is sent.
    pub heard: bool,
    /// The output that it has not read yet, in the pieces in which it was written.
    pub pieces: Vec<Vec<u8>>,
}

impl Outlet {
    /// Writes as the socket does: gives how many of the bytes it took.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let limit = |limit: Option<u32>| limit.map_or(usize::MAX, |limit| limit as usize);
        let len = bytes.len().min(limit(self.room)).min(limit(self.take));
        if let Some(room) = &mut self.room {
            *room -= len as u32;
        }
        if self.heard && len > 0 {
            self.pieces.push(bytes[..len].to_vec());
        }
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes of all that arrives.
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
        inlet.end().resize(len, 0);
        arrivals(&mut inlet)
    }

    #[test]
    fn deliveries_are_cut_as_told() {
        assert_eq!(pieces(&[], false, 10), [10]);
        assert_eq!(pieces(&[3, 1], false, 10), [3, 1, 6]);
        assert_eq!(pieces(&[3, 1], false, 2), [2]);
        assert_eq!(pieces(&[4, 2], true, 9), [4, 2, 2, 1]);
        assert_eq!(pieces(&[1], true, 0), [0; 0]);
        assert_eq!(pieces(&[1], true, 100).last(), Some(&36));
    }

    #[test]
    fn held_bytes_wait_and_come_together() {
        let mut inlet = Inlet::default();
        inlet.end().push(1);
        assert_eq!(arrivals(&mut inlet), [1]);
        inlet.hold();
        inlet.end().push(2);
        inlet.end().push(3);
        assert_eq!(arrivals(&mut inlet), [0; 0]);
        inlet.release();
        assert!(inlet.arrive(0));
        assert_eq!(inlet.readable(), [2, 3]);
        inlet.end().push(4);
        assert_eq!(inlet.readable(), [2, 3], "what is sent arrives later");
    }

    #[test]
    fn a_socket_takes_what_it_has_room_for() {
        let mut outlet = Outlet { room: Some(5), take: Some(3), heard: true, pieces: Vec::new() };
        assert_eq!([outlet.write(b"abcd"), outlet.write(b"defg"), outlet.write(b"fg")], [3, 2, 0]);
        assert_eq!(outlet.pieces, [b"abc".to_vec(), b"de".to_vec()]);
    }
}
