//! The socket between HAProxy and the agent: one pipe of bytes each way, with everything that TCP may do to them.

use crate::script::Cuts;

/// HAProxy's bytes on their way to the agent.
#[derive(Debug, Default)]
pub struct Inlet {
    /// Arrived, not read by the agent yet: `arrived[read..]`.
    arrived: Vec<u8>,
    read: usize,
    /// Under way while the link is held.
    held: Option<Vec<u8>>,
    cuts: Cuts,
    fin: bool,
}

impl Inlet {
    /// A new one, in the memory of this one.
    pub fn renewed(mut self) -> Self {
        self.arrived.clear();
        Self { arrived: self.arrived, ..Self::default() }
    }

    /// How further deliveries are cut.
    pub fn cut(&mut self, cuts: &Cuts) {
        self.cuts.clone_from(cuts);
    }

    /// Keeps further bytes under way.
    pub fn hold(&mut self) {
        self.held.get_or_insert_with(Vec::new);
    }

    /// Keeps what HAProxy sends, if it is held; false if it is to be delivered now.
    pub fn keep(&mut self, bytes: &[u8]) -> bool {
        match &mut self.held {
            Some(held) => {
                held.extend_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    /// Lets what was held go; gives it, to deliver now.
    pub fn release(&mut self) -> Vec<u8> {
        self.held.take().unwrap_or_default()
    }

    /// The size of the `n`th piece of a delivery, `left` bytes of which have not arrived.
    pub fn piece(&self, n: usize, left: usize) -> usize {
        let Cuts { sizes, repeat } = &self.cuts;
        let last = if *repeat && n < PIECES_MAX { sizes.last() } else { None };
        sizes.get(n).or(last).map_or(left, |&size| left.min(size as usize))
    }

    /// A piece arrives.
    pub fn arrive(&mut self, piece: &[u8]) {
        if self.read == self.arrived.len() {
            self.arrived.clear();
            self.read = 0;
        }
        self.arrived.extend_from_slice(piece);
    }

    /// HAProxy's end arrives, behind all bytes.
    pub fn finish(&mut self) {
        self.fin = true;
    }

    /// The link is reset: what has arrived is lost with it, and what was under way. False if that is nothing.
    pub fn reset(&mut self) -> bool {
        let lost = !self.readable().is_empty() || self.held.as_ref().is_some_and(|held| !held.is_empty());
        self.arrived.clear();
        self.read = 0;
        self.held = None;
        self.fin = true;
        lost
    }

    /// What the agent can read.
    pub fn readable(&self) -> &[u8] {
        &self.arrived[self.read..]
    }

    /// The agent read `len` bytes of it.
    pub fn take(&mut self, len: usize) {
        self.read += len;
    }

    /// True if there is something to read: bytes or the end.
    pub fn is_ready(&self) -> bool {
        self.fin || !self.readable().is_empty()
    }

    /// True if the agent would read the end now.
    pub fn is_at_end(&self) -> bool {
        self.fin && self.readable().is_empty()
    }
}

/// How many pieces a repeated size makes at most: what is wrong with small pieces shows in the first few dozen, and
/// 16 KiB byte by byte would take the time of hundreds of runs.
const PIECES_MAX: usize = 64;

/// The agent's bytes on their way to HAProxy.
#[derive(Debug, Default)]
pub struct Outlet {
    /// How many more the socket takes; `None` for any number.
    pub room: Option<u32>,
    /// How many it takes at once; `None` for any number.
    pub take: Option<u32>,
    /// True if a model of HAProxy reads what is sent.
    pub heard: bool,
    /// What it has not read yet, as it was written.
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

    fn pieces(sizes: &[u32], repeat: bool, len: usize) -> Vec<usize> {
        let inlet = Inlet { cuts: Cuts { sizes: sizes.into(), repeat }, ..Inlet::default() };
        let mut left = len;
        let mut next = |n| {
            let size = inlet.piece(n, left);
            left -= size;
            size
        };
        (0..).map(&mut next).take_while(|&size| size > 0).collect()
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
        assert!(!inlet.keep(&[1]));
        inlet.hold();
        assert!(inlet.keep(&[2]) && inlet.keep(&[3]));
        assert_eq!(inlet.release(), [2, 3]);
        assert!(!inlet.keep(&[4]));
    }

    #[test]
    fn a_socket_takes_what_it_has_room_for() {
        let mut outlet = Outlet { room: Some(5), take: Some(3), heard: true, pieces: Vec::new() };
        assert_eq!([outlet.write(b"abcd"), outlet.write(b"defg"), outlet.write(b"fg")], [3, 2, 0]);
        assert_eq!(outlet.pieces, [b"abc".to_vec(), b"de".to_vec()]);
    }
}
