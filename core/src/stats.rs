//! Counters of one connection, one per row.

/// Calls the macro `$visit` with the counters of a connection, one per row: the name after its documentation. A `metric`
/// is a family of metrics with this name, and with its documentation as help. A `labelled` counter is one label of a family in
/// `runtime/src/metrics/agent.rs`. A `derived` counter has no metric of its own; other metrics are computed from it.
///
/// These are generated from the rows: [`Stats`](crate::Stats), the counters of a worker and their metrics, and the comparison with the
/// simulator's checker, which does not compile if the checker has no counter of that name.
#[doc(hidden)]
#[macro_export]
macro_rules! connection_counters {
    ($visit:ident) => {
        $visit! {
            /// Whole frames that were processed, valid or not. Frames that arrive after the conversation ended are not counted.
            frames_received labelled;
            /// NOTIFYs received in full.
            notifies metric;
            /// ACKs queued for sending, except those that abort a NOTIFY.
            acks derived;
            /// ACKs sent empty because the caller dropped the NOTIFY, or an ACK that was not finished.
            acks_unanswered labelled;
            /// ACKs sent empty because the NOTIFY arrived during a drain.
            acks_declined labelled;
            /// ACKs sent empty because there was no answer at the deadline.
            acks_expired labelled;
            /// ACKs without their last actions, because the frame would have been too large.
            acks_cut metric;
            /// NOTIFYs that the agent aborted because their fragments exceeded the limit.
            aborted_by_agent labelled;
            /// NOTIFYs that HAProxy aborted before their last fragment.
            aborted_by_haproxy labelled;
            /// Frames of unknown types, which were ignored.
            frames_skipped metric;
        }
    };
}

macro_rules! stats {
    ($(#[doc = $doc:literal] $name:ident $metric:ident;)*) => {
        /// Counts since the connection was created. They never decrease.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $(#[doc = $doc] pub $name: u64,)*
        }

        impl Stats {
            /// Returns the counts since `before`, which are those of the same connection at an earlier time.
            pub const fn since(&self, before: &Self) -> Self {
                Self { $($name: self.$name - before.$name,)* }
            }
        }
    };
}
connection_counters!(stats);
