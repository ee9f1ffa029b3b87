//! Checks that the user of the service can read a file.

use std::ffi::CString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Uid, User, getgrouplist};

/// The user that the unit runs the agent as.
const SERVICE_USER: &str = "spoa";

/// The folder below which systemd keeps the state of services with a dynamic user: only root can enter it, and the service
/// sees its own folder elsewhere.
const PRIVATE_STATE: &str = "/var/lib/private";

/// A user who has to read files. Without ids it is one that exists only while the service runs, and is in no group.
pub(crate) struct Reader {
    name: String,
    ids: Option<(Uid, Vec<Gid>)>,
}

impl Reader {
    /// Returns the user called `name`, by default that of the service if this process is root's: root can read what the
    /// service cannot.
    ///
    /// # Errors
    /// There is no user of that name.
    pub(crate) fn of(name: Option<&str>) -> Result<Option<Self>, String> {
        let (name, is_default) = match name {
            Some(name) => (name, false),
            None if Uid::effective().is_root() => (SERVICE_USER, true),
            None => return Ok(None),
        };
        let user = User::from_name(name).map_err(|error| format!("cannot look up the user {name}: {error}"))?;
        let ids = match user {
            Some(user) => {
                let groups = CString::new(name).ok().and_then(|name| getgrouplist(&name, user.gid).ok());
                Some((user.uid, groups.unwrap_or_else(|| vec![user.gid])))
            }
            None if is_default => None,
            None => return Err(format!("there is no user {name}")),
        };
        Ok(Some(Self { name: name.into(), ids }))
    }

    /// Returns why the user cannot read a file that this process can look at; `None` also if there is no such file.
    pub(crate) fn cannot_read(&self, path: &Path) -> Option<String> {
        let path = path.canonicalize().ok()?;
        let denied = |at: &Path, what| {
            let mode = at.metadata().map_or(0, |metadata| metadata.mode() & 0o7777);
            format!("{}: the user {} cannot {what} {} (mode {mode:04o})", path.display(), self.name, at.display())
        };
        if !self.may(&path, 4).ok()? {
            return Some(denied(&path, "read"));
        }
        let mut folders = path.ancestors().skip(1).filter(|folder| *folder != Path::new(PRIVATE_STATE));
        let closed = folders.find(|folder| !self.may(folder, 1).unwrap_or(true))?;
        Some(denied(closed, "enter"))
    }

    /// True if the user has this right, as in one digit of a mode.
    fn may(&self, path: &Path, right: u32) -> io::Result<bool> {
        let metadata = path.metadata()?;
        let digit = match &self.ids {
            Some((uid, _)) if uid.is_root() => return Ok(true),
            Some((uid, _)) if uid.as_raw() == metadata.uid() => metadata.mode() >> 6,
            Some((_, groups)) if groups.iter().any(|group| group.as_raw() == metadata.gid()) => metadata.mode() >> 3,
            _ => metadata.mode(),
        };
        Ok(digit & right != 0)
    }
}
