//! The limits of an agent, as plain numbers.

/// The limits of a connection. Times are in nanoseconds. 0 means no limit in `notify_max` and `idle_timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the limit of that name in the agent's configuration")]
pub struct Limits {
    pub max_frame_size: u32,
    pub pipelining: bool,
    pub fragmentation: bool,
    pub asynchronous: bool,
    pub in_flight_max: u32,
    pub deferred_max: u32,
    pub unsent_max: u32,
    pub reassembly_max: u32,
    pub notify_max: u32,
    pub hello_timeout: u64,
    pub idle_timeout: u64,
    pub ack_timeout: u64,
    pub refuse_delay: u64,
    pub refuse_healthchecks: bool,
    pub linger: u64,
    pub send_timeout: u64,
}

impl Limits {
    /// Returns the largest amount of memory that a connection may hold for input, output, NOTIFYs in flight and fragments,
    /// in bytes, by the formula that the agent documents: two frames of input; `unsent_max` bytes of output, a full ACK
    /// for each NOTIFY in flight, and 256 bytes for other frames; 40 bytes for each NOTIFY in flight; the fragments.
    pub const fn memory_max(&self) -> [usize; 4] {
        let frame = 4 + self.max_frame_size as usize;
        let (unsent, in_flight) = (self.unsent_max as usize, self.in_flight_max as usize);
        let fragments = if self.fragmentation { self.reassembly_max as usize } else { 0 };
        [2 * frame, unsent + in_flight * frame + 256, in_flight * 40, fragments]
    }
}
