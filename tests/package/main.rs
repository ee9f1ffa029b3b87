//! What is installed with `spoa`: scripts, units and files, as they are.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use spoa_tests::agent;
use spoa_tests::folder::Folder;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/package").join(name)
}

/// A folder that lists are downloaded to, and the site that they come from.
struct Downloads {
    folder: Folder,
    site: Site,
}

impl Downloads {
    fn new() -> Self {
        Self { folder: Folder::with(&[]), site: Site::start() }
    }

    /// Runs `spoa-lists` with one line per list, `/path` being one of the site's; returns its exit status and its errors.
    fn run(&self, lists: &[&str]) -> (i32, String) {
        let text: String =
            lists.iter().map(|line| line.replace(" /", &format!(" {}/", self.site.url)) + "\n").collect();
        self.folder.write("lists", text.as_bytes());
        let bin = agent::binary().parent().expect("it is in a folder").to_owned();
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([bin].into_iter().chain(env::split_paths(&path))).expect("no colons in it");
        let mut command = Command::new("sh");
        command.arg(file("spoa-lists")).arg(self.folder.path("lists")).arg(self.folder.path(""));
        let output = command.env("PATH", path).env("SPOA_LISTS_MAX_BYTES", "65536").output().expect("there is a shell");
        assert!(output.stdout.is_empty(), "{output:?}");
        assert!(!self.folder.path(".new").exists(), "nothing is left behind");
        let errors = String::from_utf8(output.stderr).expect("text");
        assert!(!errors.chars().any(|char| char.is_control() && char != '\n'), "{errors:?}");
        (output.status.code().expect("no signal"), errors)
    }

    /// Returns a list, or nothing if there is none.
    fn list(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path(name)).unwrap_or_default()
    }

    fn checked(&self, name: &str) -> SystemTime {
        let record = self.folder.path(&format!(".{name}.checked"));
        record.metadata().and_then(|record| record.modified()).expect("it was checked")
    }
}

/// A web server with lists, and with what is none.
struct Site {
    url: String,
}

impl Site {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || serve(stream));
            }
        });
        Self { url }
    }
}

/// Answers one request.
fn serve(mut stream: TcpStream) {
    let mut request = String::new();
    let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
    while !request.ends_with("\r\n\r\n") {
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let answer = |status: &str, headers: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}");
        let length = format!("content-length: {}\r\n\r\n", body.len());
        [head.as_bytes(), length.as_bytes(), body].concat()
    };
    const OLD: &str = "last-modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n";
    let bytes = match path {
        "/good" if request.to_ascii_lowercase().contains("if-modified-since:") => answer("304 Not Modified", "", b""),
        "/good" => answer("200 OK", OLD, b"192.0.2.1\n"),
        "/other" => answer("200 OK", OLD, b"192.0.2.3\n"),
        "/empty" => answer("200 OK", "", b""),
        "/comments" => answer("200 OK", "", b"# nothing today\n"),
        "/page" => answer("200 OK", "", b"<html>404</html>\n"),
        "/csv" => answer("200 OK", "", b"\"seen\",\"dst_ip\"\n\"2026-01-01 00:00:00\",\"192.0.2.4\""),
        "/bomb" => answer("200 OK", "content-encoding: gzip\r\n", &gzip(&b"192.0.2.1\n".repeat(100_000))),
        "/endless" => [&b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"[..], &b"192.0.2.1\n".repeat(100_000)].concat(),
        _ => answer("404 Not Found", "", b"no\n"),
    };
    let _ = stream.write_all(&bytes); // it may not be read to its end
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("there is gzip everywhere");
    let mut stdin = child.stdin.take().expect("it is piped");
    let bytes = bytes.to_vec();
    let writer = thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads");
    output.stdout
}

/// A download replaces the list only if it is one; the others go on. The agent may be reading meanwhile.
#[test]
fn lists_are_downloaded_and_what_is_no_list_is_not() {
    let downloads = Downloads::new();
    downloads.folder.write("page", b"192.0.2.2\n");
    let lists = ["# comment", "", "good /good", "page /page", "gone /gone", "bad/name /good", "csv /csv column=dst_ip"];
    let (status, errors) = downloads.run(&lists);
    assert_eq!(["good", "page"].map(|name| downloads.list(name)), ["192.0.2.1\n", "192.0.2.2\n"], "{errors}");
    assert!(downloads.list("csv").contains("192.0.2.4"), "the last line has no end: {errors}");
    assert_eq!((status, errors.lines().count()), (1, 3), "{errors}");
    for wrong in ["list page: ", "there is no address in", "list gone: ", "bad/name"] {
        assert!(errors.contains(wrong), "{errors}");
    }
    assert!(errors.contains("the previous version stays in use"), "{errors}");
    assert!(errors.contains("there is no previous version"), "{errors}");
    assert_eq!(downloads.run(&["good\x1b[2J /good"]).0, 1, "a name that no file should have");
}

/// An answer that nothing has changed is a check too; one without a byte is not such an answer.
#[test]
fn a_check_is_recorded_and_an_empty_answer_is_none() {
    let downloads = Downloads::new();
    assert_eq!(downloads.run(&["good /good"]), (0, String::new()));
    let path = downloads.folder.path(".good.checked");
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(old)).expect("it is ours");
    let written = |name: &str| downloads.folder.path(name).metadata().and_then(|file| file.modified()).expect("a list");
    let before = written("good");
    assert_eq!(downloads.run(&["good /good"]), (0, String::new()));
    assert!(downloads.checked("good") > old && written("good") == before, "not modified");

    fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(old)).expect("it is ours");
    fs::write(&path, fs::read_to_string(&path).expect("text").replace("/good", "/empty")).expect("it is ours");
    fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(old)).expect("it is ours");
    let (status, errors) = downloads.run(&["good /empty"]);
    assert!(status == 1 && errors.contains("there is no address in"), "{errors}");
    assert_eq!((downloads.list("good"), downloads.checked("good")), ("192.0.2.1\n".into(), old));

    // Another source, whose list is older than the one that is there.
    assert_eq!(downloads.run(&["good /other"]).0, 0);
    assert_eq!(downloads.list("good"), "192.0.2.3\n");
    for path in ["/empty", "/comments"] {
        assert_eq!(downloads.run(&[&format!("may {path}")]).0, 1);
        assert_eq!(downloads.run(&[&format!("may {path} max-shrink=100")]), (0, String::new()));
        assert!(downloads.folder.path("may").exists(), "a list that may be empty");
        fs::remove_file(downloads.folder.path("may")).expect("it is there");
    }
}

/// However it is sent, a list has a size.
#[test]
fn what_unpacks_or_goes_on_without_end_is_not_downloaded() {
    let downloads = Downloads::new();
    downloads.folder.write("a", b"192.0.2.2\n");
    for path in ["/bomb", "/endless"] {
        let (status, errors) = downloads.run(&[&format!("a {path}")]);
        assert!(status == 1 && errors.contains("the list is larger than 65536 bytes"), "{errors}");
        assert_eq!(downloads.list("a"), "192.0.2.2\n");
    }
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
        units.write(name, text.as_bytes());
    }
    let names = ["spoa.service", "spoa.socket", "spoa-lists.service", "spoa-lists.timer"].map(|name| units.path(name));
    let output =
        Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&names).output().expect("it was just there");
    let said = String::from_utf8_lossy(&output.stderr);
    let ours = said.lines().filter(|line| line.contains("spoa")).collect::<Vec<_>>();
    assert!(ours.is_empty(), "{ours:#?}");
}

/// The configuration that is installed, and the lists that it has once they were downloaded.
#[test]
fn the_configuration_is_in_order() {
    let text = fs::read_to_string(file("spoa.toml")).expect("it is there");
    let (_, lists) = text.split_once("Lists that spoa-lists downloads").expect("they are commented out");
    let lists: String = lists.lines().filter_map(|line| line.strip_prefix("# ")).fold(String::new(), |all, line| {
        let is_of_list = [
            "[[list]]",
            "name =",
            "path =",
            "score =",
            "category =",
            "format =",
            "column =",
            "optional =",
            "max-shrink =",
        ];
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
    data.write("spoa.toml", format!("{text}\n{lists}").as_bytes());
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
