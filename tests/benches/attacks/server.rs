//! The attacked agent, in a process of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::num::NonZeroUsize;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::process::Pid;
use smol::Timer;
use spoa_runtime::{Actions, Agent, deferred, quick};
use spoa_tests::agent::LIMIT;
use spoa_tests::process;

use crate::BYTES_MAX;
use crate::processors::start_server;

/// The way in which the agent answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Answers {
    /// At once.
    Immediate,
    /// After 50 ms, for at most 64 NOTIFYs at a time.
    Later,
}

impl Answers {
    /// Serves until the process is killed.
    pub(crate) fn serve(self) -> ! {
        let agent =
            Agent::new().listen("127.0.0.1:0".parse().expect("the address is valid")).workers(NonZeroUsize::MIN);
        let agent = if self == Self::Later { agent.total_in_flight_max(64) } else { agent };
        let server = agent.bind().expect("a free port can be bound");
        println!("{}", server.addrs()[0]);
        let result = match self {
            Self::Immediate => server.serve(quick(|_, _| Ok(()))),
            Self::Later => server.serve(deferred(async |_| {
                Timer::after(Duration::from_millis(50)).await;
                Ok(Actions::new())
            })),
        };
        panic!("the agent has ended: {result:?}");
    }
}

/// A running agent, which is killed when dropped.
pub(crate) struct Server {
    child: Child,
    addr: String,
}

impl Server {
    pub(crate) fn start(answers: Answers) -> Self {
        let program = std::env::current_exe().expect("the path of this program is known");
        let name = answers.to_possible_value().expect("the value has a name").get_name().to_owned();
        let mut command = Command::new(program);
        command.args(["--be", &name]).stdout(Stdio::piped());
        // As in the service file of the package.
        command.env("MALLOC_MMAP_THRESHOLD_", "131072").env("MALLOC_TRIM_THRESHOLD_", "131072");
        let mut child = start_server(|| command.spawn().expect("the agent can be started"));
        let mut addr = String::new();
        BufReader::new(child.stdout.take().expect("standard output is piped"))
            .read_line(&mut addr)
            .expect("the agent prints its address");
        Self { child, addr: addr.trim().into() }
    }

    pub(crate) fn addr(&self) -> &str {
        &self.addr
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Returns the resident memory, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        process::memory(self.pid())
    }

    /// Describes the memory since it was `before`.
    pub(crate) fn memory_report(&self, before: u64) -> String {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let (now, peak) =
            (self.memory().saturating_sub(before), process::memory_peak(self.pid()).saturating_sub(before));
        format!("{:.0} MiB resident, {:.0} MiB at most, limit {:.0} MiB", mib(now), mib(peak), mib(BYTES_MAX))
    }

    /// Waits until at most this number of connections is open.
    pub(crate) fn wait_for_connections(&self, count: usize) {
        let start = Instant::now();
        while self.connections() > count {
            assert!(start.elapsed() < LIMIT, "expected at most {count} connections, got {}", self.connections());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Returns the number of sockets of the process, without the one that it listens on.
    fn connections(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.child.id());
        let files = fs::read_dir(folder).expect("the process runs").filter_map(Result::ok);
        let is_socket = |file: &fs::DirEntry| {
            fs::read_link(file.path()).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
        };
        files.filter(is_socket).count().saturating_sub(1)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
