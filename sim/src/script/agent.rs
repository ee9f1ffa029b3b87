//! The limits of the agent, and of the driver of its endpoints.

use spoa_core::limit_number;
use spoa_sim_checker::Limits;

use super::Nanos;

/// Defines [`AgentSetup`] and its defaults.
macro_rules! agent_setup {
    ($(#[doc = $doc:literal] $name:ident = $default:literal $unit:ident;)*) => {
        /// The limits of the agent, which apply to all connections of a run.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct AgentSetup {
            /// The limits of each connection.
            pub connection: Limits,
            $(#[doc = $doc] pub $name: limit_type!($unit),)*
        }

        impl Default for AgentSetup {
            fn default() -> Self {
                Self {
                    connection: spoa_core::connection_limits!(default_limits),
                    $($name: default_of!($default $unit),)*
                }
            }
        }
    };
}

/// The type of a limit in scripts.
macro_rules! limit_type {
    (s) => {
        Nanos
    };
    (flag) => {
        bool
    };
    ($unit:ident) => {
        u32
    };
}

/// The default of a limit.
macro_rules! default_of {
    ($default:literal flag) => {
        $default
    };
    ($default:literal $unit:ident) => {
        limit_number!($default $unit)
    };
}

/// The default limits of a connection.
macro_rules! default_limits {
    ($($group:ident {
        $($(#[$details:meta])* $name:ident $(($short:ident))?: $type:ty = $default:tt $unit:ident,
          $range:expr, $summary:literal $(, $note:literal)?;)*
    })*) => {
        Limits {
            pipelining: true,
            fragmentation: true,
            asynchronous: false,
            refuse_healthchecks: false,
            $($($name: limit_number!($default $unit),)*)*
        }
    };
}

/// Calls the macro `$visit` with `$before` and the limits of the agent that are not limits of a connection, one per row.
/// A unit is `s`, `flag`, or what is counted.
macro_rules! agent_limits {
    ($visit:ident $($before:tt)*) => {
        $visit! {
            $($before)*
            /// The largest number of open connections. Connections above the limit are rejected.
            connections_max = 65_536 connections;
            /// The largest number of NOTIFYs in flight on all connections.
            total_in_flight_max = 65_536 NOTIFYs;
            /// True to drive the connections through an endpoint. The settings below apply only to such runs.
            endpoint = false flag;
            /// The largest number of bytes that all connections hold.
            total_bytes_max = 67_108_864 bytes;
            /// The number of peers. Connections are assigned to them in turn.
            origins = 1 peers;
            /// The number of agents.
            agents = 1 agents;
            /// The number of workers of each agent, which divide its limits.
            workers = 1 workers;
            /// The longest time that a drain waits for the best moment to close a connection.
            patience = 0 s;
            /// The delay with which the endpoint is woken after a deadline.
            late = 0 s;
            /// The number of steps between two passes of the endpoint.
            lazy = 1 steps;
            /// A false report of readiness precedes each pass whose number is a multiple of this; 0 for none.
            spurious = 0 passes;
        }
    };
}
agent_limits!(agent_setup);

/// Calls the macro `$visit` with `$before` and all limits of the agent but its capabilities, one per row:
/// `(field) name unit;`.
macro_rules! each_limit {
    ($visit:ident $($before:tt)*) => {
        spoa_core::connection_limits!(with_connection [$visit $($before)*])
    };
}

macro_rules! with_connection {
    ($call:tt $($group:ident {
        $($(#[$details:meta])* $name:ident $(($short:ident))?: $type:ty = $default:tt $unit:ident,
          $range:expr, $summary:literal $(, $note:literal)?;)*
    })*) => {
        agent_limits!(with_agent $call [$($((connection.$name) $name $unit;)*)*])
    };
}

macro_rules! with_agent {
    ([$visit:ident $($before:tt)*] [$($rows:tt)*] $(#[$doc:meta] $name:ident = $default:literal $unit:ident;)*) => {
        $visit! {
            $($before)*
            $($rows)*
            (connection.refuse_healthchecks) refuse_healthchecks flag;
            $(($name) $name $unit;)*
        }
    };
}
