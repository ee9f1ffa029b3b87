//! The servers that are measured: `spoa` and its rivals.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use clap::ValueEnum;
use rustix::process::Pid;
use spoa_tests::agent::Agent;

use crate::haproxy::Dir;
use crate::processors::{self, start_server};
use crate::{floor, peer};

/// The kind of sockets between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// TCP over loopback.
    Tcp,
    /// Unix sockets.
    Unix,
}

/// A running agent.
pub(crate) trait Server {
    /// Returns the address that it listens on: `IP:PORT` or `unix:PATH`.
    fn addr(&self) -> &str;

    /// Returns the address as HAProxy writes it.
    fn haproxy_addr(&self) -> String {
        self.addr().replacen("unix:", "unix@", 1)
    }

    /// Returns its process id.
    fn pid(&self) -> Pid;

    /// Moves all of its threads to the client's processor.
    fn share_client_processor(&self) {
        processors::move_to_client_processor(self.pid());
    }
}

/// A running `spoa`, which is stopped when dropped.
pub(crate) struct Spoa {
    agent: Agent,
    /// The folder of its unix socket.
    _folder: Option<Dir>,
}

impl Spoa {
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_on(Network::Tcp, options)
    }

    /// Starts it with a socket of this kind.
    pub(crate) fn start_on(network: Network, options: &[&str]) -> Self {
        let folder = network.folder();
        let addr = folder.as_ref().map(|folder| format!("unix:{}", socket_in(folder).display()));
        let options: Vec<_> =
            options.iter().copied().chain(addr.iter().flat_map(|addr| ["--listen", addr.as_str()])).collect();
        Self { agent: start_server(|| Agent::spawn(&options)), _folder: folder }
    }

    /// Starts another build of the program.
    pub(crate) fn start_other(program: &Path, options: &[&str]) -> Self {
        Self { agent: start_server(|| Agent::spawn_by(Command::new(program), options)), _folder: None }
    }

    /// Returns the process, for helpers that need more than a [`Server`].
    pub(crate) const fn agent(&self) -> &Agent {
        &self.agent
    }
}

impl Server for Spoa {
    fn addr(&self) -> &str {
        self.agent.addr()
    }

    fn pid(&self) -> Pid {
        self.agent.pid()
    }
}

impl Network {
    /// Returns a new folder for a unix socket.
    fn folder(self) -> Option<Dir> {
        (self == Self::Unix).then(Dir::new)
    }
}

fn socket_in(folder: &Dir) -> PathBuf {
    folder.path.join("agent.sock")
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
    /// Serves as this rival until the process is killed, on the unix socket at `path` if there is one.
    pub(crate) fn serve(self, path: Option<&Path>) -> ! {
        match self {
            Self::Floor => floor::serve(path),
            Self::Spop => peer::serve(path),
        }
    }

    /// Starts this rival in a new process, with a socket of this kind.
    pub(crate) fn start(self, network: Network) -> RivalProcess {
        let folder = network.folder();
        let program = std::env::current_exe().expect("the path of this program is known");
        let name = self.to_possible_value().expect("the value has a name").get_name().to_owned();
        let mut command = Command::new(program);
        command.args(["--be", &name]).stdout(Stdio::piped());
        if let Some(folder) = &folder {
            command.arg("--path").arg(socket_in(folder));
        }
        let mut child = start_server(|| command.spawn().expect("the program starts"));
        let mut addr = String::new();
        let stdout = child.stdout.take().expect("standard output is piped");
        BufReader::new(stdout).read_line(&mut addr).expect("the rival prints its address");
        RivalProcess { child, addr: addr.trim_end().into(), _folder: folder }
    }
}

/// The process of a running rival, which is killed when dropped.
pub(crate) struct RivalProcess {
    child: Child,
    addr: String,
    /// The folder of its unix socket.
    _folder: Option<Dir>,
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
