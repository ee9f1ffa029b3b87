//! The sockets HAProxy connects to.

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use smol::Async;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::addr::ListenAddr;
use crate::error::Error;

/// How many connections may wait to be accepted: a reloaded HAProxy opens all of its own at once.
const BACKLOG: i32 = 4096;

/// An open socket, which removes its file at the end if it has one.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Async<Socket>,
    addr: ListenAddr,
    file: Option<SocketFile>,
    /// Connections accepted: on a unix socket peers have no name but a number.
    accepted: Cell<u64>,
}

impl Listener {
    /// Opens the socket. A unix socket that nobody listens on any more is replaced.
    pub(crate) fn bind(addr: &ListenAddr) -> Result<Self, Error> {
        let failed = |error| Error::Listen { addr: addr.clone(), error };
        match addr {
            ListenAddr::Tcp(tcp) => {
                let socket = Socket::new(Domain::for_address(*tcp), Type::STREAM, None).map_err(failed)?;
                socket.set_reuse_address(true).map_err(failed)?;
                socket.bind(&(*tcp).into()).map_err(failed)?;
                socket.listen(BACKLOG).map_err(failed)?;
                let bound = socket.local_addr().map_err(failed)?.as_socket().unwrap_or(*tcp);
                Ok(Self {
                    socket: Async::new(socket).map_err(failed)?,
                    addr: ListenAddr::Tcp(bound),
                    file: None,
                    accepted: Cell::new(0),
                })
            }
            ListenAddr::Unix(path) => {
                let name = SockAddr::unix(path).map_err(failed)?;
                clear_stale(path, &name, addr)?;
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
                socket.bind(&name).map_err(failed)?;
                let file = SocketFile::of(path);
                socket.listen(BACKLOG).map_err(failed)?;
                Ok(Self {
                    socket: Async::new(socket).map_err(failed)?,
                    addr: addr.clone(),
                    file,
                    accepted: Cell::new(0),
                })
            }
        }
    }

    /// Where it listens, with the real port.
    pub(crate) const fn addr(&self) -> &ListenAddr {
        &self.addr
    }

    /// The next connection, and a name for it in logs.
    pub(crate) async fn accept(&self) -> io::Result<(Socket, String)> {
        let (socket, peer) = self.socket.read_with(Socket::accept).await?;
        if self.file.is_none() {
            // An ACK must not wait for the one before it to be acknowledged. A socket that refuses is dead already.
            let _ = socket.set_tcp_nodelay(true);
        }
        socket.set_nonblocking(true)?;
        self.accepted.set(self.accepted.get() + 1);
        let number = || format!("{}#{}", self.addr, self.accepted.get());
        let name = peer.as_socket().map_or_else(number, |peer| peer.to_string());
        Ok((socket, name))
    }
}

/// Makes way for a socket at `path` if what is there is one that nobody listens on.
fn clear_stale(path: &Path, name: &SockAddr, addr: &ListenAddr) -> Result<(), Error> {
    let failed = |error| Error::Listen { addr: addr.clone(), error };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(file) if !file.file_type().is_socket() => return Err(Error::NotASocket(addr.clone())),
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    // Not blocking: a process that lives but has a full backlog is no reason to wait.
    probe.set_nonblocking(true).map_err(failed)?;
    match probe.connect(name) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed),
        Ok(()) => Err(Error::SocketInUse(addr.clone())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Error::SocketInUse(addr.clone())),
        Err(error) => Err(failed(error)),
    }
}

/// The file of a unix socket, removed when this is dropped, unless another has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> Option<Self> {
        let id = Self::id(path)?;
        Some(Self { path: path.into(), id })
    }

    fn id(path: &Path) -> Option<(u64, u64)> {
        fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if Self::id(&self.path) == Some(self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
