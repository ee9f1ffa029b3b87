//! The addresses that an agent listens on.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

/// An address to listen on: `127.0.0.1:12345`, `[::1]:12345`, `localhost:12345`, `unix:/run/spoa.sock` or `/run/spoa.sock`.
///
/// SPOP has no authentication: everyone who can connect is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddr {
    /// TCP, of either family; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A unix stream socket.
    Unix(UnixSocket),
}

/// A unix stream socket, and who may connect to it: `unix:PATH[,mode=0660][,user=NAME][,group=NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnixSocket {
    /// Its file, whose name has no comma.
    pub path: PathBuf,
    /// The permissions of the file, up to 0777; without them the umask decides. Connecting requires write permission.
    pub mode: Option<u32>,
    /// The owner of the file, by name or number.
    pub user: Option<String>,
    /// The group of the file, by name or number.
    pub group: Option<String>,
}

/// The reason why a text is not a [`ListenAddr`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddrError {
    /// Neither an address with a port nor a path.
    #[error("'{0}' is not an address: expected IP:PORT, [IPv6]:PORT, NAME:PORT or unix:PATH")]
    NotAnAddress(String),
    /// Something unknown after the path of a unix socket.
    #[error("unknown '{part}' in '{addr}': after the path and a comma, expected mode=0660, user=NAME or group=NAME")]
    Suffix {
        /// The whole text.
        addr: String,
        /// The unknown part.
        part: String,
    },
    /// Permissions that are none.
    #[error("'{part}' in '{addr}' is not a mode: expected an octal number up to 0777")]
    Mode {
        /// The whole text.
        addr: String,
        /// The part with the mode.
        part: String,
    },
}

impl FromStr for ListenAddr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        let path = text.strip_prefix("unix:").or_else(|| text.starts_with(['/', '.']).then_some(text));
        match path {
            Some(socket) => UnixSocket::parse(socket, text).map(Self::Unix),
            None => {
                let resolved = text.to_socket_addrs().ok().and_then(|mut addrs| addrs.next());
                resolved.map(Self::Tcp).ok_or_else(|| AddrError::NotAnAddress(text.into()))
            }
        }
    }
}

impl UnixSocket {
    /// Reads what follows `unix:` in `addr`.
    fn parse(text: &str, addr: &str) -> Result<Self, AddrError> {
        let mut parts = text.split(',');
        let path = parts.next().unwrap_or_default();
        if path.is_empty() {
            return Err(AddrError::NotAnAddress(addr.into()));
        }
        let mut socket = Self { path: path.into(), ..Self::default() };
        for part in parts {
            let error = |of: fn(String, String) -> AddrError| of(addr.into(), part.into());
            match part.split_once('=') {
                Some(("mode", value)) => {
                    let mode = Some(value).filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
                    let mode = mode.and_then(|value| u32::from_str_radix(value, 8).ok()).filter(|mode| *mode <= 0o777);
                    socket.mode = Some(mode.ok_or_else(|| error(|addr, part| AddrError::Mode { addr, part }))?);
                }
                Some(("user", value)) if !value.is_empty() => socket.user = Some(value.into()),
                Some(("group", value)) if !value.is_empty() => socket.group = Some(value.into()),
                _ => return Err(error(|addr, part| AddrError::Suffix { addr, part })),
            }
        }
        Ok(socket)
    }
}

impl ListenAddr {
    /// True if a listening socket with the address `other` accepts the connections of this one, whatever its permissions.
    /// `only_v6` is the option `IPV6_V6ONLY` of that socket: with it, `[::]` accepts no IPv4 connections.
    pub(crate) fn is_served_by(&self, other: &Self, only_v6: bool) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(other)) => {
                let (ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
                let is_in_wildcard = match other_ip {
                    IpAddr::V4(_) => ip.is_ipv4(),
                    IpAddr::V6(_) => ip.is_ipv6() || !only_v6,
                };
                one.port() == other.port() && (ip == other_ip || other_ip.is_unspecified() && is_in_wildcard)
            }
            (Self::Unix(one), Self::Unix(other)) => {
                let real = |socket: &UnixSocket| socket.path.canonicalize().unwrap_or_else(|_| socket.path.clone());
                real(one) == real(other)
            }
            _ => false,
        }
    }
}

/// The address alone, without the permissions of a unix socket.
impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "{addr}"),
            Self::Unix(socket) => write!(f, "unix:{}", socket.path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (text, shown) in [
            ("127.0.0.1:12345", "127.0.0.1:12345"),
            ("[::1]:0", "[::1]:0"),
            ("unix:/run/spoa.sock", "unix:/run/spoa.sock"),
            ("unix:spoa.sock", "unix:spoa.sock"),
            ("/run/spoa.sock", "unix:/run/spoa.sock"),
            ("./spoa.sock", "unix:./spoa.sock"),
            ("unix:/run/spoa.sock,mode=0660,group=haproxy", "unix:/run/spoa.sock"),
        ] {
            assert_eq!(text.parse::<ListenAddr>().unwrap().to_string(), shown);
        }
        for text in ["", "12345", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "unix:", "unix:,mode=0660"] {
            assert_eq!(text.parse::<ListenAddr>(), Err(AddrError::NotAnAddress(text.into())));
        }
    }

    #[test]
    fn a_socket_accepts_the_connections_of_its_address() {
        let is_served = |one: &str, other: &str, only_v6| {
            one.parse::<ListenAddr>().unwrap().is_served_by(&other.parse::<ListenAddr>().unwrap(), only_v6)
        };
        for other in ["127.0.0.1:7", "0.0.0.0:7", "[::]:7", "[::ffff:127.0.0.1]:7"] {
            assert!(is_served("127.0.0.1:7", other, false), "{other}");
        }
        for other in ["127.0.0.1:8", "127.0.0.2:7", "[::1]:7", "unix:/x"] {
            assert!(!is_served("127.0.0.1:7", other, false), "{other}");
        }
        assert!(is_served("[::1]:7", "[::]:7", true) && !is_served("127.0.0.1:7", "[::]:7", true));
        assert!(!is_served("[::1]:7", "0.0.0.0:7", false) && !is_served("[::]:7", "0.0.0.0:7", false));
        assert!(is_served("unix:/x,mode=0660", "/x", false) && !is_served("0.0.0.0:7", "127.0.0.1:7", false));
    }

    #[test]
    fn who_may_connect_to_a_unix_socket_follows_its_path() {
        let socket = UnixSocket {
            path: "/run/s".into(),
            mode: Some(0o660),
            user: Some("7".into()),
            group: Some("haproxy".into()),
        };
        assert_eq!("unix:/run/s,group=haproxy,mode=0660,user=7".parse(), Ok(ListenAddr::Unix(socket)));
        for part in ["mod=0660", "0660", "", "group=", "user", "mode"] {
            let addr = format!("/run/s,mode=600,{part}");
            let error = AddrError::Suffix { addr: addr.clone(), part: part.into() };
            assert_eq!(addr.parse::<ListenAddr>(), Err(error));
        }
        for part in ["mode=0888", "mode=1777", "mode=", "mode=rw", "mode=+7", "mode=77777777777777"] {
            let addr = format!("/run/s,{part}");
            let error = AddrError::Mode { addr: addr.clone(), part: part.into() };
            assert_eq!(addr.parse::<ListenAddr>(), Err(error));
        }
    }
}
