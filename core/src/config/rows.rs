//! The limits and timeouts of a connection, one per row.

/// Calls the macro `$visit` with `$before` and the limits and timeouts of a connection, one per row:
///
/// ```text
/// /// Details.
/// field(short): Type = default unit, least..=largest, "Summary", "; note";
/// ```
///
/// - `spoa` has an option for the rows in `options`, with a short form for those with `(short)`, and none for `others`. The
///   note, if there is one, is in the help of the option only.
/// - `unit` is `bytes`, `NOTIFYs` or `s`. Times have the whole range.
/// - `Type` implements [`LimitValue`](crate::LimitValue). For an `Option` the default is 0, which means no limit.
///
/// These are generated from the rows: [`Config`](crate::Config) with its documentation, defaults and ranges; the options
/// of `spoa`; and the simulator's limits with their text, defaults, ranges and simplification.
#[doc(hidden)]
#[macro_export]
macro_rules! connection_limits {
    ($visit:ident $($before:tt)*) => {
        $visit! {
            $($before)*
            options {
                /// The HELLO negotiates the smaller of this and HAProxy's value. Do not set it above HAProxy's
                /// `tune.bufsize` - 4. Since HAProxy 3.1 its health check offers 16380 bytes whatever the size of its
                /// buffers, and it fails if the agent agrees to a size that does not fit into them.
                max_frame_size(short): u32 = 16384 bytes, 256..=16_777_216,
                    "Largest frame, without its length; if HAProxy's tune.bufsize is below 16384, set this to tune.bufsize - 4";

                /// At the limit further NOTIFYs are held back, and once the receive buffer is full nothing more is read.
                ///
                /// HAProxy waits for at most 20 ACKs per connection. But when it gives up on an event it may send another
                /// one without notifying the agent, so the agent may have more NOTIFYs in flight. Without pipelining the
                /// limit is 1, so that ACKs are sent in order.
                in_flight_max: usize = 64 NOTIFYs, 1..=65_535, "NOTIFYs that may be in flight on a connection";

                /// At the limit further NOTIFYs are held back. A handler that defers its answers keeps a copy of each NOTIFY.
                /// This bounds the memory for the copies of one connection: the last NOTIFY may exceed the limit, so they
                /// take at most this size and one NOTIFY more.
                deferred_max: usize = 1048576 bytes, 1..=u64::MAX,
                    "Payload of the NOTIFYs that may be in flight on a connection";

                /// A larger one is aborted.
                reassembly_max: usize = 1048576 bytes, 0..=u64::MAX,
                    "Payload of the largest NOTIFY that is accepted in fragments";

                /// HAProxy sends its HELLO immediately.
                hello_timeout: Duration = 5 s, 0..=u64::MAX,
                    "Time after which a connection that has not sent a whole HELLO is closed";

                /// There is no limit by default, because an AGENT-DISCONNECT may cross HAProxy's next event, which is then lost. Zero means
                /// no limit.
                ///
                /// The time begins after the last NOTIFY, its answer, or the first bytes of a frame.
                idle_timeout: Option<Duration> = 0 s, 0..=u64::MAX,
                    "Time after which a connection with no NOTIFY in flight is closed";

                /// Set it a little below HAProxy's `timeout processing`, because HAProxy does not notify the agent when it
                /// gives up on an event.
                ack_timeout: Duration = 10 s, 0..=u64::MAX,
                    "Time after which an unanswered NOTIFY gets an empty ACK", "; --delay is added";

                /// HAProxy up to 3.0 reconnects immediately after a refusal, which would be thousands of times per second.
                /// Health checks are refused without delay.
                refuse_delay: Duration = 1 s, 0..=u64::MAX,
                    "Time before a HELLO is refused, because HAProxy up to 3.0 reconnects at once";

                /// The socket has to accept at least one byte in this time.
                send_timeout: Duration = 30 s, 0..=u64::MAX,
                    "Time after which a connection whose peer reads none of its unsent output is closed";
            }
            others {
                /// At the limit further NOTIFYs are held back.
                unsent_max: usize = 65536 bytes, 1..=u64::MAX, "Output of a connection that may be unsent";

                /// The NOTIFYs in flight are answered before that.
                notify_max: Option<NonZeroU64> = 0 NOTIFYs, 0..=u64::MAX,
                    "NOTIFYs after which a connection is drained and closed";

                /// Until then further bytes from HAProxy are read and dropped. Closing a socket with unread bytes resets the
                /// connection, and HAProxy may then lose an ACK or DISCONNECT that it has not read yet.
                linger: Duration = 1 s, 0..=u64::MAX,
                    "Time after our last byte within which HAProxy has to close the socket";
            }
        }
    };
}

/// Converts a number with its unit to the number in bytes, NOTIFYs or nanoseconds.
#[doc(hidden)]
#[macro_export]
macro_rules! limit_number {
    ($number:tt s) => {
        $number * 1_000_000_000
    };
    ($number:tt $unit:ident) => {
        $number
    };
}
