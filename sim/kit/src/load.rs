//! Puts an agent under load, as HAProxy does, and measures it.

mod churn;
mod pipeline;

use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use thiserror::Error;

use crate::conformance::{Announced, FRAME_SIZE, Question};
use crate::socket::Address;

/// A load.
#[derive(Clone, Debug)]
pub struct Load {
    /// The address of the agent.
    pub address: Address,
    /// The process of the agent, whose processor time is measured.
    pub pid: Option<u32>,
    /// The pattern.
    pub pattern: Pattern,
    /// The time of the measurement.
    pub time: Duration,
    /// The question of each NOTIFY.
    pub question: Question,
}

/// A pattern of connections and NOTIFYs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Connections that stay open, each with this number of NOTIFYs in flight; each ACK is followed by the next NOTIFY.
    Pipeline {
        /// The number of connections.
        connections: usize,
        /// The number of NOTIFYs in flight on each connection. HAProxy has up to 20.
        in_flight: usize,
        /// The time before the measurement starts.
        warm_up: Duration,
    },
    /// Clients that open a connection for each NOTIFY and reset it after the ACK, as HAProxy 3.1 and later does where it does not
    /// reuse connections.
    Churn {
        /// The number of clients.
        clients: usize,
    },
}

/// The measured figures.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// The number of ACKs.
    pub acks: u64,
    /// The time of the measurement, in seconds.
    pub seconds: f64,
    /// ACKs per second.
    pub acks_per_second: f64,
    /// The median time from a NOTIFY to its ACK, in microseconds. In the churn pattern it includes the connection.
    pub p50_us: u64,
    /// The 99th percentile, in microseconds.
    pub p99_us: u64,
    /// The 99.9th percentile, in microseconds.
    pub p999_us: u64,
    /// The longest time, in microseconds.
    pub max_us: u64,
    /// The processor time of the agent per ACK in microseconds, if its process is known.
    pub cpu_us_per_ack: Option<f64>,
}

/// A reason why a load cannot be measured.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The connection fails.
    #[error("a connection to the agent failed: {0}")]
    Io(#[from] io::Error),
    /// The agent refuses the HELLO.
    #[error("the agent does not complete a handshake: {0}")]
    Handshake(String),
    /// The pattern needs pipelining.
    #[error("the agent does not announce pipelining, so a connection can have one NOTIFY in flight only")]
    NoPipelining,
    /// An answer is no ACK, or the ACK of another NOTIFY.
    #[error("expected the ACK of a NOTIFY in flight, got {0}")]
    Answer(String),
    /// An ACK does not answer the question.
    #[error("an ACK does not set the variable {0}")]
    Variable(String),
    /// Nothing arrives.
    #[error("no ACK within {} s", SILENCE_MAX.as_secs())]
    Silence,
    /// The agent closed a connection.
    #[error("the agent closed a connection")]
    Closed,
}

/// The longest time to wait for an ACK.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// The largest latency that is recorded, in microseconds: the longest time to wait.
const LATENCY_MAX: u64 = SILENCE_MAX.as_micros() as u64;

impl Load {
    /// Runs the load.
    ///
    /// # Errors
    /// If the agent does not answer every NOTIFY in time, with the ACK that belongs to it and the variable of the question.
    pub fn run(&self) -> Result<Figures, LoadError> {
        match self.pattern {
            Pattern::Pipeline { connections, in_flight, warm_up } => {
                pipeline::run(self, connections, in_flight, warm_up)
            }
            Pattern::Churn { clients } => churn::run(self, clients),
        }
    }

    /// Checks that the payload of an ACK names the variable. To decode each action would slow down the client.
    fn check_answer(&self, payload: &[u8]) -> Result<(), LoadError> {
        match &self.question.variable {
            Some(name) if !payload.windows(name.len()).any(|part| part == name.as_bytes()) => {
                Err(LoadError::Variable(name.clone()))
            }
            _ => Ok(()),
        }
    }
}

/// Returns an empty histogram.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("the bounds are valid")
}

/// Records a latency.
fn record(latencies: &mut Histogram<u64>, latency: Duration) {
    latencies.saturating_record(latency.as_micros() as u64);
}

fn figures(latencies: &Histogram<u64>, elapsed: Duration, cpu: Option<Duration>) -> Figures {
    let acks = latencies.len();
    let quantile = |quantile| latencies.value_at_quantile(quantile);
    Figures {
        acks,
        seconds: elapsed.as_secs_f64(),
        acks_per_second: acks as f64 / elapsed.as_secs_f64(),
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        p999_us: quantile(0.999),
        max_us: latencies.max(),
        cpu_us_per_ack: cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / acks.max(1) as f64),
    }
}

/// Checks an AGENT-HELLO.
fn check_hello(frame: &crate::bytes::Frame) -> Result<Announced, LoadError> {
    Announced::read(frame, FRAME_SIZE).map_err(LoadError::Handshake)
}
