//! The servers that are measured: `spoa` and its rivals.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use clap::ValueEnum;
use rustix::process::Pid;
use spoa_tests::agent::Agent;

use crate::processors::{self, start_server};
use crate::{floor, peer};

/// A running agent.
pub(crate) trait Server {
    /// Returns the address that it listens on.
    fn addr(&self) -> &str;

    /// Returns its process id.
    fn pid(&self) -> Pid;

    /// Moves all of its threads to the client's processor.
    fn share_client_processor(&self) {
        processors::move_to_client_processor(self.pid());
    }
}

/// A running `spoa`, which is stopped when dropped.
pub(crate) struct Spoa(Agent);

impl Spoa {
    pub(crate) fn start(options: &[&str]) -> Self {
        Self(start_server(|| Agent::spawn(options)))
    }

    /// Starts another build of the program.
    pub(crate) fn start_other(program: &Path, options: &[&str]) -> Self {
        Self(start_server(|| Agent::spawn_by(Command::new(program), options)))
    }

    /// Returns the process, for helpers that need more than a [`Server`].
    pub(crate) const fn agent(&self) -> &Agent {
        &self.0
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

/// A server that `spoa` is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rival {
    /// The [floor](crate::floor).
    Floor,
    /// An agent on the [crate `spop`](crate::peer).
    Spop,
}

impl Rival {
    /// Serves as this rival until the process is killed.
    pub(crate) fn serve(self) -> ! {
        match self {
            Self::Floor => floor::serve(),
            Self::Spop => peer::serve(),
        }
    }

    /// Starts this rival in a new process.
    pub(crate) fn start(self) -> RivalProcess {
        let program = std::env::current_exe().expect("the path of this program is known");
        let name = self.to_possible_value().expect("the value has a name").get_name().to_owned();
        let mut command = Command::new(program);
        command.args(["--be", &name]).stdout(Stdio::piped());
        let mut child = start_server(|| command.spawn().expect("the program starts"));
        let mut addr = String::new();
        let stdout = child.stdout.take().expect("standard output is piped");
        BufReader::new(stdout).read_line(&mut addr).expect("the rival prints its address");
        RivalProcess { child, addr: addr.trim_end().into() }
    }
}

/// The process of a running rival, which is killed when dropped.
pub(crate) struct RivalProcess {
    child: Child,
    addr: String,
}

impl Server for RivalProcess {
    fn addr(&self) -> &str {
        &self.addr
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for RivalProcess {
    fn drop(&mut self) {
        let _ = self.child.kill(); // a rival never exits by itself
        let _ = self.child.wait();
    }
}
