//! Records the connections of a case, for reports and captures.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use spoa_sim_haproxy::recording::{LinkEvent, Recording};

/// The largest number of bytes that are kept of one connection. A flood is not worth more.
pub const BYTES_MAX: usize = 1 << 18;

/// A recording that is being written, shared by the connections of a case.
#[derive(Clone, Debug)]
pub struct Recorder {
    start: Instant,
    shared: Rc<RefCell<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    recording: Recording,
    /// The number of connections.
    links: u32,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { start: Instant::now(), shared: Rc::default() }
    }
}

impl Recorder {
    /// Adds a connection, which opens now, and returns its recorder.
    pub fn open(&self) -> LinkRecorder {
        let link = self.shared.borrow().links;
        self.shared.borrow_mut().links += 1;
        let mut recorder = LinkRecorder { recorder: self.clone(), link, len: 0 };
        recorder.push(LinkEvent::Open);
        recorder
    }

    /// Returns the recording, and starts another one.
    pub fn take(&self) -> Recording {
        self.shared.take().recording
    }
}

/// Records the events of one connection.
#[derive(Debug)]
pub struct LinkRecorder {
    recorder: Recorder,
    link: u32,
    /// The number of bytes that were kept.
    len: usize,
}

impl LinkRecorder {
    /// Records an event that occurs now. Bytes beyond [`BYTES_MAX`] are left out.
    pub fn push(&mut self, event: LinkEvent) {
        if let LinkEvent::Bytes(_, bytes) = &event {
            if bytes.is_empty() || self.len + bytes.len() > BYTES_MAX {
                return;
            }
            self.len += bytes.len();
        }
        let at = self.recorder.start.elapsed().as_nanos() as u64;
        self.recorder.shared.borrow_mut().recording.push(at, self.link, event);
    }
}

#[cfg(test)]
mod tests {
    use spoa_sim_haproxy::recording::Side;

    use super::*;

    #[test]
    fn a_flood_is_not_kept() {
        let recorder = Recorder::default();
        let mut link = recorder.open();
        for _ in 0..3 {
            link.push(LinkEvent::Bytes(Side::Haproxy, vec![0; BYTES_MAX / 2]));
        }
        link.push(LinkEvent::Fin(Side::Agent));
        assert_eq!(recorder.take().steps.len(), 4, "open, two of three pieces, and the end");
    }
}
