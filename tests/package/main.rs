//! What is installed with `spoa`: scripts, units and files, as they are.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use spoa_tests::agent;
use spoa_tests::folder::Folder;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/package").join(name)
}

/// Runs `spoa-lists` with this file of lists and this folder, and this `spoa` to look at them.
fn download(lists: &Path, folder: &Path) -> Output {
    let bin = agent::binary().parent().expect("it is in a folder").to_owned();
    let path = env::join_paths([bin].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())));
    let mut command = Command::new("sh");
    command.arg(file("spoa-lists")).arg(lists).arg(folder).env("PATH", path.expect("no colons in it"));
    command.output().expect("there is a shell")
}

/// A download replaces what was there only if it is a list; others go on. `spoa` may be reading meanwhile.
#[test]
fn lists_are_downloaded_and_those_that_are_none_are_not() {
    let site = Folder::with(&[
        ("good", b"192.0.2.1\n"),
        ("page", b"<html>404</html>\n"),
        ("new", b"192.0.2.3\n"),
        ("csv", b"\"seen\",\"dst_ip\"\n\"2026-01-01 00:00:00\",\"192.0.2.4\"\n"),
        ("nothing", b""),
    ]);
    let url = |name: &str| format!("file://{}", site.path(name).display());
    let text = format!(
        "# comment\n\ngood {}\npage {}\ngone {}\nbad/name {}\nnew {}\nnothing {}\ncsv {} column=dst_ip",
        url("good"),
        url("page"),
        url("gone"),
        url("good"),
        url("new"),
        url("nothing"),
        url("csv"),
    );
    let folder = Folder::with(&[("page", b"192.0.2.2\n"), ("lists", text.as_bytes())]);
    let lists = folder.path("lists");
    // Long ago: a page that is newer than the list in place is what comes.
    let old = fs::File::options().write(true).open(folder.path("page")).expect("it is there");
    old.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(86_400)).expect("it is ours");

    let output = download(&lists, &folder.path(""));
    let said = String::from_utf8_lossy(&output.stderr);
    let read = |name: &str| fs::read_to_string(folder.path(name)).unwrap_or_default();
    assert_eq!([read("good"), read("page"), read("new")], ["192.0.2.1\n", "192.0.2.2\n", "192.0.2.3\n"], "{said}");
    assert!(said.contains("list page: there is no address in"), "{said}");
    assert!(read("csv").contains("192.0.2.4"), "the last line has no end: {said}");
    for wrong in
        ["nothing stays as it was", "page stays as it was", "gone stays as it was", "no name for a file: bad/name"]
    {
        assert!(said.contains(wrong), "{said}");
    }
    assert_eq!(output.status.code(), Some(1), "{said}");
    let left = fs::read_dir(folder.path("")).expect("it is there").flatten();
    let left: Vec<_> =
        left.map(|file| file.file_name()).filter(|name| name.to_string_lossy().ends_with(".new")).collect();
    assert!(left.is_empty(), "{left:?}");

    fs::write(&lists, format!("good {}\n", url("good"))).expect("it is ours");
    let written = folder.path("good").metadata().and_then(|file| file.modified()).expect("it is there");
    let output = download(&lists, &folder.path(""));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let now = folder.path("good").metadata().and_then(|file| file.modified()).expect("it is there");
    assert_eq!(now, written, "it has not changed");

    // Another place, whose list is older than the one that is there.
    let old = fs::File::options().write(true).open(site.path("new")).expect("it is there");
    old.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(86_400)).expect("it is ours");
    fs::write(&lists, format!("good {}\n", url("new"))).expect("it is ours");
    assert_eq!(download(&lists, &folder.path("")).status.code(), Some(0));
    assert_eq!(fs::read_to_string(folder.path("good")).unwrap_or_default(), "192.0.2.3\n");
    assert_eq!(download(&folder.path("none"), &folder.path("")).status.code(), Some(1), "there is nothing to read");
}

/// What systemd says of the units, where it is at hand.
#[test]
fn units_are_in_order() {
    let Ok(output) = Command::new("systemd-analyze").arg("--version").output() else {
        eprintln!("no systemd-analyze at hand: the units are not looked at");
        return;
    };
    assert!(output.status.success());
    // The programs are not installed here: these are there wherever a shell is.
    let units = Folder::with(&[]);
    for name in ["spoa.service", "spoa.socket", "spoa-lists.service", "spoa-lists.timer"] {
        let text = fs::read_to_string(file(name)).expect("it is there");
        let text = text.replace("/usr/bin/spoa-lists", "/bin/true").replace("/usr/bin/spoa ", "/bin/true ");
        units.write(name, text.replace("Documentation=man:spoa(1)\n", "").as_bytes());
    }
    let names = ["spoa.service", "spoa.socket", "spoa-lists.service", "spoa-lists.timer"].map(|name| units.path(name));
    let output = Command::new("systemd-analyze").arg("verify").args(&names).output().expect("it was just there");
    let said = String::from_utf8_lossy(&output.stderr);
    let ours = said.lines().filter(|line| line.contains("spoa")).collect::<Vec<_>>();
    assert!(ours.is_empty(), "{ours:#?}");
}

/// The configuration that is installed, and the lists that it has once they were downloaded.
#[test]
fn the_configuration_is_in_order() {
    let text = fs::read_to_string(file("spoa.toml")).expect("it is there");
    let lists: String = text.lines().filter_map(|line| line.strip_prefix("# ")).fold(String::new(), |all, line| {
        let is_of_list = ["[[list]]", "name =", "path =", "score =", "category =", "format =", "column ="];
        if is_of_list.iter().any(|start| line.starts_with(start)) { all + line + "\n" } else { all }
    });
    let data = Folder::with(&[
        ("drop", b"{\"cidr\":\"192.0.2.0/24\"}\n"),
        ("level1", b"198.51.100.0/24\n"),
        ("botnets", b"first_seen,dst_ip\n2026-01-01,203.0.113.1\n"),
        ("ours.txt", &fs::read(file("ours.txt")).expect("it is there")),
    ]);
    let lists = lists.replace("/var/lib/spoa", &data.path("").display().to_string());
    assert_eq!(lists.matches("[[list]]").count(), 3, "{lists}");
    data.write("spoa.toml", (text + "\n" + &lists).as_bytes());
    let config = data.path("spoa.toml").display().to_string();
    let output = agent::run(&["validate", "--config", &config]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = agent::run(&["check", "192.0.2.1", "198.51.100.1", "203.0.113.1", "127.0.0.1", "--config", &config]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for verdict in [
        "192.0.2.1: listed, score 0",
        "198.51.100.1: listed, score 10",
        "203.0.113.1: listed, score 15",
        "127.0.0.1: allow",
    ] {
        assert!(said.contains(verdict), "{said}");
    }
}
