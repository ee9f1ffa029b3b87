//! The sockets HAProxy connects to.

use std::cell::Cell;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mio::net::{TcpListener, UnixListener};
use nix::unistd::{Group, User};
use smol::Async;
use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use spoa_core::endpoint::Origin;

use crate::addr::{ListenAddr, UnixSocket};
use crate::error::Error;

/// The number of connections that may wait to be accepted: a reloaded HAProxy opens all of its connections at once.
const BACKLOG: i32 = 4096;

/// Finds connections whose peer is gone without an end: its machine has failed, or a firewall has forgotten them. Connections
/// inherit this from their listener.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));

/// The size of each of the two buffers that the kernel has for a TCP connection, in bytes; Linux doubles it for its own overhead.
///
/// By default a buffer grows to several megabytes for a peer that sends more than is read, and the limits of the agent do not
/// count it. Four frames of the default size fit in. Connections inherit this from their listener.
const SOCKET_BUFFER: usize = 64 << 10;

/// An open socket. The file of a unix socket is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Async<ListeningSocket>,
    addr: ListenAddr,
    _file: Option<SocketFile>,
    /// The number of accepted connections, which names the peers of a unix socket.
    accepted: Cell<u64>,
}

impl Listener {
    /// Opens the socket. The file of a unix socket on which no process listens is replaced.
    pub(crate) fn bind(addr: &ListenAddr) -> Result<Self, Error> {
        let failed = |error| Error::Listen { addr: addr.clone(), error };
        match addr {
            ListenAddr::Tcp(tcp) => {
                let socket = Socket::new(Domain::for_address(*tcp), Type::STREAM, None).map_err(failed)?;
                socket.set_reuse_address(true).map_err(failed)?;
                set_options(&socket).map_err(failed)?;
                socket.bind(&(*tcp).into()).map_err(failed)?;
                socket.listen(BACKLOG).map_err(failed)?;
                let bound = socket.local_addr().map_err(failed)?.as_socket().unwrap_or(*tcp);
                let socket = ListeningSocket::Tcp(TcpListener::from_std(socket.into()));
                Self::of(socket, ListenAddr::Tcp(bound), None).map_err(failed)
            }
            ListenAddr::Unix(unix) => {
                let name = SockAddr::unix(&unix.path).map_err(failed)?;
                clear_stale(&unix.path, &name, addr)?;
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
                socket.bind(&name).map_err(failed)?;
                let file = SocketFile::of(&unix.path);
                // Before the socket listens: until then nobody can connect.
                restrict(unix).map_err(failed)?;
                socket.listen(BACKLOG).map_err(failed)?;
                let socket = ListeningSocket::Unix(UnixListener::from_std(OwnedFd::from(socket).into()));
                Self::of(socket, addr.clone(), file).map_err(failed)
            }
        }
    }

    /// Uses a socket that another process opened. The file of a unix socket is not removed.
    pub(crate) fn inherit(socket: &Inherited) -> io::Result<Self> {
        match socket {
            Inherited::Tcp(socket) => {
                set_options(&SockRef::from(socket))?;
                let addr = ListenAddr::Tcp(socket.local_addr()?);
                Self::of(ListeningSocket::Tcp(TcpListener::from_std(socket.try_clone()?)), addr, None)
            }
            Inherited::Unix(socket) => {
                let addr = socket.local_addr()?;
                let path = addr.as_pathname().unwrap_or(Path::new("(unnamed)")).into();
                let addr = ListenAddr::Unix(UnixSocket { path, ..UnixSocket::default() });
                Self::of(ListeningSocket::Unix(UnixListener::from_std(socket.try_clone()?)), addr, None)
            }
        }
    }

    fn of(socket: ListeningSocket, addr: ListenAddr, file: Option<SocketFile>) -> io::Result<Self> {
        Ok(Self { socket: Async::new(socket)?, addr, _file: file, accepted: Cell::new(0) })
    }

    /// True if it accepts the connections of a `listen` line with the address `addr`.
    pub(crate) fn serves(&self, addr: &ListenAddr) -> bool {
        let only_v6 = SockRef::from(&self.socket).only_v6().unwrap_or(false);
        addr.is_served_by(&self.addr, only_v6)
    }

    /// Returns the address that it listens on, with the real port.
    pub(crate) const fn addr(&self) -> &ListenAddr {
        &self.addr
    }

    /// Returns the next connection.
    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        let (socket, peer) = self.socket.read_with(ListeningSocket::accept).await?;
        self.accepted.set(self.accepted.get() + 1);
        let number = || format!("{}#{}", self.addr, self.accepted.get());
        let origin = peer.map_or_else(Origin::default, |peer| origin_of(peer.ip()));
        Ok(Accepted { socket, peer: peer.map_or_else(number, |peer| peer.to_string()), origin })
    }
}

/// Sets the options that TCP connections inherit from their listener. The buffers have to be set before it listens.
fn set_options(socket: &Socket) -> io::Result<()> {
    // An ACK must not wait until TCP has acknowledged the one before it.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)
}

/// A connection that was accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) socket: Socket,
    /// A name for it in logs.
    pub(crate) peer: String,
    pub(crate) origin: Origin,
}

/// Returns the identity of a peer in the queue for permits: connections from one IPv4 address, or from one IPv6 network of 64 bits,
/// are of one peer. A host can have every address of such a network.
fn origin_of(address: IpAddr) -> Origin {
    let mut hasher = DefaultHasher::new();
    match address.to_canonical() {
        IpAddr::V4(address) => address.hash(&mut hasher),
        IpAddr::V6(address) => (address.to_bits() >> 64).hash(&mut hasher),
    }
    Origin(hasher.finish())
}

/// A socket that another process opened, systemd for example.
#[derive(Debug)]
pub(crate) enum Inherited {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// A listening socket of mio, whose connections are non-blocking from the moment that they are accepted.
#[derive(Debug)]
enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl ListeningSocket {
    /// Accepts a connection, and returns it with its address if it has one.
    fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        Ok(match self {
            Self::Tcp(socket) => {
                let (connection, peer) = socket.accept()?;
                (OwnedFd::from(connection).into(), Some(peer))
            }
            Self::Unix(socket) => (OwnedFd::from(socket.accept()?.0).into(), None),
        })
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

/// Gives the file of a socket the permissions, owner and group that were asked for.
fn restrict(socket: &UnixSocket) -> io::Result<()> {
    let UnixSocket { path, mode, user, group } = socket;
    let missing = |what, name| io::Error::new(io::ErrorKind::NotFound, format!("there is no {what} \"{name}\""));
    let user = user.as_deref().map(|name| user_id(name)?.ok_or_else(|| missing("user", name))).transpose()?;
    let group = group.as_deref().map(|name| group_id(name)?.ok_or_else(|| missing("group", name))).transpose()?;
    let because = |what, error: io::Error| {
        io::Error::new(error.kind(), format!("cannot set the {what} of the socket's file: {error}"))
    };
    // The mode first: a change of owner may take away the right to set it.
    if let Some(mode) = *mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|error| because("mode", error))?;
    }
    if user.is_some() || group.is_some() {
        chown(path, user, group).map_err(|error| because("owner or group", error))?;
    }
    Ok(())
}

fn user_id(name: &str) -> io::Result<Option<u32>> {
    match name.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Ok(User::from_name(name)?.map(|user| user.uid.as_raw())),
    }
}

fn group_id(name: &str) -> io::Result<Option<u32>> {
    match name.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Ok(Group::from_name(name)?.map(|group| group.gid.as_raw())),
    }
}

/// Removes the socket at `path` if no process listens on it.
fn clear_stale(path: &Path, name: &SockAddr, addr: &ListenAddr) -> Result<(), Error> {
    let failed = |error| Error::Listen { addr: addr.clone(), error };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(file) if !file.file_type().is_socket() => return Err(Error::NotASocket(addr.clone())),
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    // Non-blocking, because a process with a full backlog would make this wait.
    probe.set_nonblocking(true).map_err(failed)?;
    match probe.connect(name) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed),
        Ok(()) => Err(Error::SocketInUse(addr.clone())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Error::SocketInUse(addr.clone())),
        Err(error) => Err(failed(error)),
    }
}

/// The file of a unix socket. It is removed when this is dropped, unless it has been replaced since.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn connections_neither_block_nor_delay() {
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let client = TcpStream::connect(listener.addr().to_string()).unwrap();
        let Accepted { socket, peer, origin } = smol::block_on(listener.accept()).unwrap();
        assert_eq!(
            origin,
            origin_of("::ffff:127.0.0.1".parse().unwrap()),
            "an IPv4 address has one origin in either form"
        );
        assert!(socket.tcp_nodelay().unwrap() && socket.nonblocking().unwrap() && socket.keepalive().unwrap());
        let buffers = [socket.recv_buffer_size().unwrap(), socket.send_buffer_size().unwrap()];
        assert_eq!(buffers, [2 * SOCKET_BUFFER; 2], "bounded buffers in the kernel");
        assert_eq!(peer, client.local_addr().unwrap().to_string());
    }

    #[test]
    fn a_peer_is_an_ipv4_address_or_an_ipv6_network_of_64_bits() {
        let origins = ["2001:db8::1", "2001:db8::ffff:0:0:2", "2001:db8:0:1::1", "192.0.2.1", "192.0.2.2"]
            .map(|address| origin_of(address.parse().unwrap()));
        assert_eq!(origins[0], origins[1]);
        assert!(origins[1..].iter().enumerate().all(|(at, origin)| !origins[at + 2..].contains(origin)));
    }
}
