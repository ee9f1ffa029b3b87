//! What is measured: `spoa`, and the floor below it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::Pid;
use spoa_tests::agent::Agent;

use crate::processors::{self, start_server};

/// A running agent.
pub(crate) trait Server {
    /// Where it listens.
    fn addr(&self) -> &str;

    /// Its process.
    fn pid(&self) -> Pid;

    /// It goes on, with all of its threads, on the client's processor.
    fn join_the_client(&self) {
        processors::move_to_the_client(self.pid());
    }
}

/// The binary `spoa`; ends with the value.
pub(crate) struct Spoa(Agent);

impl Spoa {
    pub(crate) fn start(options: &[&str]) -> Self {
        Self(start_server(|| Agent::spawn(options)))
    }

    /// The memory that it holds, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.0.memory()
    }

    /// The most that it ever held.
    pub(crate) fn memory_peak(&self) -> u64 {
        self.0.memory_peak()
    }
}

impl Server for Spoa {
    fn addr(&self) -> &str {
        self.0.addr()
    }

    fn pid(&self) -> Pid {
        self.0.pid()
    }
}

/// The [floor](crate::floor), in a process of its own, which ends with the value.
pub(crate) struct Floor {
    child: Child,
    addr: String,
}

impl Floor {
    pub(crate) fn start() -> Self {
        let program = std::env::current_exe().expect("it is this one");
        let start = || Command::new(program).arg("--floor").stdout(Stdio::piped()).spawn().expect("it can be run");
        let mut child = start_server(start);
        let mut addr = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut addr).expect("it says where it listens");
        Self { child, addr: addr.trim_end().into() }
    }
}

impl Server for Floor {
    fn addr(&self) -> &str {
        &self.addr
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it never ends by itself
        let _ = self.child.wait();
    }
}
