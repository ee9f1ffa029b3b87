//! Tests of the files that are installed with `spoa`: the script `spoa-lists`, the units of systemd and the
//! configuration.

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

/// Returns the path of a file that is installed with `spoa`.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/package").join(name)
}

/// A folder for downloaded lists, and a web server that serves lists.
struct Downloads {
    folder: Folder,
    site: Site,
}

impl Downloads {
    fn new() -> Self {
        Self { folder: Folder::with(&[]), site: Site::start() }
    }

    /// Runs `spoa-lists` with these lines of its configuration, in which `/path` is a path on the web server. Returns
    /// its exit status and its standard error.
    fn run(&self, lists: &[&str]) -> (i32, String) {
        let text: String =
            lists.iter().map(|line| line.replace(" /", &format!(" {}/", self.site.url)) + "\n").collect();
        self.folder.write("lists", text.as_bytes());
        let bin = agent::binary().parent().expect("the program is in a folder").to_owned();
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([bin].into_iter().chain(env::split_paths(&path))).expect("the path has no colon");
        let mut command = Command::new("sh");
        command.arg(file("spoa-lists")).arg(self.folder.path("lists")).arg(self.folder.path(""));
        let output = command.env("PATH", path).env("SPOA_LISTS_MAX_BYTES", "65536").output().expect("the shell starts");
        assert!(output.stdout.is_empty(), "{output:?}");
        assert!(!self.folder.path(".new").exists(), "the temporary folder was not deleted");
        let errors = String::from_utf8(output.stderr).expect("the errors are UTF-8");
        assert!(!errors.chars().any(|char| char.is_control() && char != '\n'), "{errors:?}");
        (output.status.code().expect("no signal ended the script"), errors)
    }

    /// Returns the text of a list, or an empty text if the list does not exist.
    fn list(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path(name)).unwrap_or_default()
    }

    /// Returns the time when a list was checked last.
    fn checked(&self, name: &str) -> SystemTime {
        let record = self.folder.path(&format!(".{name}.checked"));
        record.metadata().and_then(|record| record.modified()).expect("the list was checked")
    }
}

/// A web server with valid lists and with other files.
struct Site {
    url: String,
}

impl Site {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("the socket is bound"));
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
    let mut reader = BufReader::new(stream.try_clone().expect("the socket can be cloned"));
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
    let _ = stream.write_all(&bytes); // fails if the client stops reading
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip starts");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let bytes = bytes.to_vec();
    let writer = thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().expect("gzip ends");
    writer.join().expect("the writer does not panic").expect("gzip reads its input");
    output.stdout
}

/// A download replaces a list only if it is valid, and an invalid one does not affect other lists.
#[test]
fn only_valid_lists_are_downloaded() {
    let downloads = Downloads::new();
    downloads.folder.write("page", b"192.0.2.2\n");
    let lists = ["# comment", "", "good /good", "page /page", "gone /gone", "bad/name /good", "csv /csv column=dst_ip"];
    let (status, errors) = downloads.run(&lists);
    assert_eq!(["good", "page"].map(|name| downloads.list(name)), ["192.0.2.1\n", "192.0.2.2\n"], "{errors}");
    assert!(downloads.list("csv").contains("192.0.2.4"), "a last line without a line end: {errors}");
    assert_eq!((status, errors.lines().count()), (1, 3), "{errors}");
    for wrong in ["list page: ", "there is no address in", "list gone: ", "bad/name"] {
        assert!(errors.contains(wrong), "{errors}");
    }
    assert!(errors.contains("the previous version stays in use"), "{errors}");
    assert!(errors.contains("there is no previous version"), "{errors}");
    assert_eq!(downloads.run(&["good\x1b[2J /good"]).0, 1, "a name with control characters");
}

/// A response 304 (not modified) is recorded as a check of the list. An empty file is not recorded.
#[test]
fn an_unmodified_list_is_recorded_as_checked_and_an_empty_one_is_not() {
    let downloads = Downloads::new();
    assert_eq!(downloads.run(&["good /good"]), (0, String::new()));
    let path = downloads.folder.path(".good.checked");
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    fs::File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_modified(old))
        .expect("the file can be changed");
    let written =
        |name: &str| downloads.folder.path(name).metadata().and_then(|file| file.modified()).expect("the list exists");
    let before = written("good");
    assert_eq!(downloads.run(&["good /good"]), (0, String::new()));
    assert!(
        downloads.checked("good") > old && written("good") == before,
        "expected a check, and no change of the list"
    );

    fs::File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_modified(old))
        .expect("the file can be changed");
    fs::write(&path, fs::read_to_string(&path).expect("the file can be read").replace("/good", "/empty"))
        .expect("the file can be changed");
    fs::File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_modified(old))
        .expect("the file can be changed");
    let (status, errors) = downloads.run(&["good /empty"]);
    assert!(status == 1 && errors.contains("there is no address in"), "{errors}");
    assert_eq!((downloads.list("good"), downloads.checked("good")), ("192.0.2.1\n".into(), old));

    // Another source, whose list is older than the existing one.
    assert_eq!(downloads.run(&["good /other"]).0, 0);
    assert_eq!(downloads.list("good"), "192.0.2.3\n");
    let (status, errors) = downloads.run(&["may /page max-shrink=100"]);
    assert!(status == 1 && errors.contains("there is no address in"), "an error page is not an empty list: {errors}");
    for path in ["/empty", "/comments"] {
        assert_eq!(downloads.run(&[&format!("may {path}")]).0, 1);
        assert_eq!(downloads.run(&[&format!("may {path} max-shrink=100")]), (0, String::new()));
        assert!(downloads.folder.path("may").exists(), "a list that may be empty must be stored");
        fs::remove_file(downloads.folder.path("may")).expect("the list exists");
    }
}

/// The size limit applies to compressed answers and to answers without a length.
#[test]
fn a_list_above_the_maximum_size_is_not_downloaded() {
    let downloads = Downloads::new();
    downloads.folder.write("a", b"192.0.2.2\n");
    for path in ["/bomb", "/endless"] {
        let (status, errors) = downloads.run(&[&format!("a {path}")]);
        assert!(status == 1 && errors.contains("the list is larger than 65536 bytes"), "{errors}");
        assert_eq!(downloads.list("a"), "192.0.2.2\n");
    }
}

/// `systemd-analyze verify` reports nothing about the units. Skipped if it is not installed.
#[test]
fn units_are_valid() {
    let Ok(output) = Command::new("systemd-analyze").arg("--version").output() else {
        eprintln!("skipped: systemd-analyze is not installed");
        return;
    };
    assert!(output.status.success());
    // The programs of the units are not installed, so they are replaced by one that is.
    let units = Folder::with(&[]);
    for name in ["spoa.service", "spoa.socket", "spoa-lists.service", "spoa-lists.timer"] {
        let text = fs::read_to_string(file(name)).expect("the unit can be read");
        let text = text.replace("/usr/bin/spoa-lists", "/bin/true").replace("/usr/bin/spoa ", "/bin/true ");
        units.write(name, text.as_bytes());
    }
    let names = ["spoa.service", "spoa.socket", "spoa-lists.service", "spoa-lists.timer"].map(|name| units.path(name));
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&names)
        .output()
        .expect("systemd-analyze starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    let errors = errors.lines().filter(|line| line.contains("spoa")).collect::<Vec<_>>();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// The installed configuration is valid, including its commented-out lists once their files are downloaded.
#[test]
fn the_configuration_is_valid() {
    let text = fs::read_to_string(file("spoa.toml")).expect("the configuration can be read");
    let (_, lists) =
        text.split_once("Lists that spoa-lists downloads").expect("the configuration has lists that are commented out");
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
        ("ours.txt", &fs::read(file("ours.txt")).expect("the list can be read")),
    ]);
    let lists = lists.replace("/var/lib/spoa", &data.path("").display().to_string());
    assert_eq!(lists.matches("[[list]]").count(), 3, "{lists}");
    data.write("spoa.toml", format!("{text}\n{lists}").as_bytes());
    let config = data.path("spoa.toml").display().to_string();
    let output = agent::run(&["validate", "--config", &config]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = agent::run(&["check", "192.0.2.1", "198.51.100.1", "203.0.113.1", "127.0.0.1", "--config", &config]);
    let verdicts = String::from_utf8_lossy(&output.stdout).into_owned();
    for verdict in [
        "192.0.2.1: listed, score 0",
        "198.51.100.1: listed, score 10",
        "203.0.113.1: listed, score 15",
        "127.0.0.1: allow",
    ] {
        assert!(verdicts.contains(verdict), "expected {verdict}, got {verdicts}");
    }
}
