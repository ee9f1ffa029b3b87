//! NOTIFYs in pieces.

/// At most one NOTIFY is under way in pieces.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    current: Option<(Ids, Kept)>,
}

/// The stream-id and frame-id of a NOTIFY.
type Ids = (u64, u64);
/// The payload so far; it is dropped once it was too large.
type Kept = Option<Vec<u8>>;

/// The outcome of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Wait for more.
    More,
    /// The NOTIFY is whole.
    Whole(Vec<u8>),
    /// It is too large: abort it.
    TooLarge,
    /// It does not belong here.
    OutOfPlace,
}

impl Fragments {
    /// True while pieces are kept: nothing else may come between.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.current, Some((_, Some(_))))
    }

    /// A NOTIFY that is whole by itself: forgets what was aborted.
    pub(crate) fn forget(&mut self) {
        self.current = None;
    }

    pub(crate) fn first(&mut self, ids: (u64, u64), payload: &[u8], max: usize) -> Piece {
        if self.is_open() {
            return Piece::OutOfPlace;
        }
        self.current = Some((ids, Some(Vec::new())));
        self.add(payload, max)
    }

    pub(crate) fn next(&mut self, ids: (u64, u64), last: bool, payload: &[u8], max: usize) -> Piece {
        match &self.current {
            Some((same, Some(_))) if *same == ids => {
                let piece = self.add(payload, max);
                if !last {
                    return piece;
                }
                match self.current.take() {
                    Some((_, Some(whole))) => Piece::Whole(whole),
                    _ => Piece::TooLarge,
                }
            }
            Some((same, None)) if *same == ids => {
                if last {
                    self.current = None;
                }
                Piece::More
            }
            _ => Piece::OutOfPlace,
        }
    }

    /// HAProxy gives the NOTIFY up; false if there is none of that name.
    pub(crate) fn abort(&mut self, ids: (u64, u64)) -> bool {
        let known = matches!(&self.current, Some((same, _)) if *same == ids);
        if known {
            self.current = None;
        }
        known
    }

    fn add(&mut self, payload: &[u8], max: usize) -> Piece {
        let Some((_, kept)) = &mut self.current else { return Piece::OutOfPlace };
        let Some(bytes) = kept else { return Piece::OutOfPlace };
        if bytes.len() + payload.len() > max {
            *kept = None;
            return Piece::TooLarge;
        }
        bytes.extend_from_slice(payload);
        Piece::More
    }
}
