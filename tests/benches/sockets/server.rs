//! What is measured: `spoa`, and what it is compared with.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use clap::ValueEnum;
use rustix::process::Pid;
use spoa_tests::agent::Agent;

use crate::processors::{self, start_server};
use crate::{floor, peer};

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

    /// As the tests know it.
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

/// What `spoa` is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rival {
    /// The [floor](crate::floor).
    Floor,
    /// The crate `spop`, as a [peer](crate::peer).
    Spop,
}

impl Rival {
    /// Serves as this one until the process is killed.
    pub(crate) fn serve(self) -> ! {
        match self {
            Self::Floor => floor::serve(),
            Self::Spop => peer::serve(),
        }
    }

    /// Starts it in a process of its own.
    pub(crate) fn start(self) -> RivalProcess {
        let program = std::env::current_exe().expect("it is this one");
        let name = self.to_possible_value().expect("it is no secret").get_name().to_owned();
        let mut command = Command::new(program);
        command.args(["--be", &name]).stdout(Stdio::piped());
        let mut child = start_server(|| command.spawn().expect("it can be run"));
        let mut addr = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut addr).expect("it says where it listens");
        RivalProcess { child, addr: addr.trim_end().into() }
    }
}

/// A rival at work; ends with the value.
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
        let _ = self.child.kill(); // it never ends by itself
        let _ = self.child.wait();
    }
}
