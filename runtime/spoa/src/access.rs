//! Checks that the user of the service can read a file.

use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{self, Path, PathBuf};

use nix::unistd::{Gid, Uid, User, getgrouplist};

/// The user that the unit runs the agent as.
const SERVICE_USER: &str = "spoa";

/// The folder below which systemd keeps the state of services with a dynamic user: only root can enter it, and the service
/// sees its own folder elsewhere.
const PRIVATE_STATE: &str = "/var/lib/private";

/// The number of symbolic links that Linux follows in one path.
const LINKS_MAX: usize = 40;

/// A user who must be able to read files. `ids` is `None` for a dynamic user, who exists only while the service runs and is in
/// no group.
pub(crate) struct Reader {
    name: String,
    ids: Option<(Uid, Vec<Gid>)>,
}

impl Reader {
    /// Returns the user called `name`. Without a name, returns the user of the service if this process runs as root, because
    /// root can read files that the service cannot read; otherwise `None`.
    ///
    /// # Errors
    /// There is no such user, or users cannot be looked up.
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

    /// Returns the reason why the user cannot read a file. Returns `None` if the user can read it, and also if it does not
    /// exist or this process cannot examine it.
    pub(crate) fn cannot_read(&self, path: &Path) -> Option<String> {
        let (folders, file) = resolve(path).ok()?;
        let denied = |at: &Path, what| {
            let mode = at.metadata().map_or(0, |metadata| metadata.mode() & 0o7777);
            format!("{}: the user {} cannot {what} {} (mode {mode:04o})", file.display(), self.name, at.display())
        };
        if !self.may(&file, 4).ok()? {
            return Some(denied(&file, "read"));
        }
        let mut folders = folders.iter().filter(|folder| folder.as_path() != Path::new(PRIVATE_STATE));
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

/// Returns the folders that the system enters to open a file, including those of symbolic links, and the path of the file
/// without links.
fn resolve(path: &Path) -> io::Result<(Vec<PathBuf>, PathBuf)> {
    let (mut folders, mut at, mut links) = (Vec::new(), PathBuf::from("/"), 0);
    let mut rest: VecDeque<_> = path::absolute(path)?.components().map(|part| part.as_os_str().to_owned()).collect();
    while let Some(part) = rest.pop_front() {
        if part == "/" {
            at = part.into();
            continue;
        }
        if folders.last() != Some(&at) {
            folders.push(at.clone());
        }
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        if next.symlink_metadata()?.is_symlink() {
            links += 1;
            if links > LINKS_MAX {
                return Err(io::Error::other("too many links"));
            }
            let target = next.read_link()?;
            target.components().rev().for_each(|part| rest.push_front(part.as_os_str().to_owned()));
        } else {
            at = next;
        }
    }
    Ok((folders, at))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_resolved_path_includes_the_folders_of_links() {
        let root = std::env::temp_dir().canonicalize().unwrap().join(format!("spoa-way-{}", std::process::id()));
        let (private, public) = (root.join("private"), root.join("public"));
        fs::create_dir_all(&private).unwrap();
        fs::create_dir_all(&public).unwrap();
        fs::write(public.join("list"), "").unwrap();
        symlink("../public", private.join("relative")).unwrap();
        symlink(public.join("list"), private.join("absolute")).unwrap();
        symlink("loop", private.join("loop")).unwrap();
        let way = |path: &str| {
            let (folders, file) = resolve(&private.join(path))?;
            let names =
                folders.iter().filter_map(|folder| folder.strip_prefix(&root).ok()?.to_str()).collect::<Vec<_>>();
            Ok::<_, io::Error>((names.join(" "), file == public.join("list")))
        };
        assert_eq!(way("absolute").unwrap(), (" private  public".into(), true));
        assert_eq!(way("relative/list").unwrap(), (" private  public".into(), true));
        assert_eq!(way("./../private/absolute").unwrap(), (" private  private  public".into(), true));
        assert!(way("loop").is_err() && way("missing").is_err());
        fs::remove_dir_all(root).unwrap();
    }
}
