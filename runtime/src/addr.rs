//! Where an agent listens.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

/// Where to listen: `127.0.0.1:12345`, `[::1]:12345`, `localhost:12345`, `unix:/run/spoa.sock` or `/run/spoa.sock`.
///
/// SPOP has no authentication: whoever reaches the socket is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddr {
    /// TCP, of either family; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A unix stream socket.
    Unix(PathBuf),
}

/// Text that is no [`ListenAddr`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no address: it takes IP:PORT, [IPv6]:PORT, NAME:PORT or unix:PATH")]
pub struct AddrError(String);

impl FromStr for ListenAddr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        let path = text.strip_prefix("unix:").or_else(|| text.starts_with(['/', '.']).then_some(text));
        match path {
            Some("") => Err(AddrError(text.into())),
            Some(path) => Ok(Self::Unix(path.into())),
            None => {
                let resolved = text.to_socket_addrs().ok().and_then(|mut addrs| addrs.next());
                resolved.map(Self::Tcp).ok_or_else(|| AddrError(text.into()))
            }
        }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "{addr}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
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
        ] {
            assert_eq!(text.parse::<ListenAddr>().unwrap().to_string(), shown);
        }
        for text in ["", "12345", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "unix:"] {
            assert_eq!(text.parse::<ListenAddr>(), Err(AddrError(text.into())));
        }
    }
}
