//! Reassembly of NOTIFYs that arrive in fragments.

/// The NOTIFY that is being reassembled. There is at most one.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    current: Option<(Ids, Partial)>,
}

/// The stream-id and frame-id of a NOTIFY.
type Ids = (u64, u64);
/// The payload received so far; `None` after it exceeded the limit, when further fragments are ignored.
type Partial = Option<Vec<u8>>;

/// The effect of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reassembly {
    /// Nothing has to be done until the next fragment.
    Incomplete,
    /// This is the payload of the whole NOTIFY.
    Complete(Vec<u8>),
    /// The payload has exceeded the limit, so the NOTIFY has to be aborted.
    TooLarge,
    /// The fragment is not allowed here.
    OutOfSequence,
}

impl Fragments {
    /// True while fragments are stored. Until the last one, no other NOTIFY may arrive.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.current, Some((_, Some(_))))
    }

    /// Forgets the current NOTIFY, if there is one.
    pub(crate) fn forget(&mut self) {
        self.current = None;
    }

    /// Handles a NOTIFY without FIN. `max` is the limit of the whole payload, in bytes.
    pub(crate) fn first(&mut self, ids: (u64, u64), payload: &[u8], max: usize) -> Reassembly {
        if self.is_open() {
            return Reassembly::OutOfSequence;
        }
        self.current = Some((ids, Some(Vec::new())));
        self.add(payload, max)
    }

    /// Handles an UNSET frame without ABORT.
    pub(crate) fn next(&mut self, ids: (u64, u64), last: bool, payload: &[u8], max: usize) -> Reassembly {
        match &self.current {
            Some((same, Some(_))) if *same == ids => {
                let reassembly = self.add(payload, max);
                if !last {
                    return reassembly;
                }
                match self.current.take() {
                    Some((_, Some(whole))) => Reassembly::Complete(whole),
                    _ => Reassembly::TooLarge,
                }
            }
            Some((same, None)) if *same == ids => {
                if last {
                    self.current = None;
                }
                Reassembly::Incomplete
            }
            _ => Reassembly::OutOfSequence,
        }
    }

    /// Handles an UNSET frame with ABORT. Returns false if the current NOTIFY has other ids, or if there is none.
    pub(crate) fn abort(&mut self, ids: (u64, u64)) -> bool {
        let known = matches!(&self.current, Some((same, _)) if *same == ids);
        if known {
            self.current = None;
        }
        known
    }

    fn add(&mut self, payload: &[u8], max: usize) -> Reassembly {
        let Some((_, partial)) = &mut self.current else { return Reassembly::OutOfSequence };
        let Some(bytes) = partial else { return Reassembly::OutOfSequence };
        if bytes.len() + payload.len() > max {
            *partial = None;
            return Reassembly::TooLarge;
        }
        bytes.extend_from_slice(payload);
        Reassembly::Incomplete
    }
}
