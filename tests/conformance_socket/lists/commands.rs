//! The commands `check` and `validate`, and files that cannot be used.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use spoa_tests::agent::{Agent, binary, run};
use spoa_tests::client::Client;
use spoa_tests::folder::Folder;
use spoa_tests::frames::check_client_ip;

use super::{ask, folder, ipv4, options};

#[test]
fn check_explains_the_verdict() {
    let folder = folder();
    let options = options(&folder);
    let args =
        ["check", "192.0.2.7", "::ffff:192.0.2.99", "8.8.8.8"].into_iter().chain(options.iter().map(String::as_str));
    let output = run(&args.collect::<Vec<_>>());
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let path = |name: &str| folder.path(name).display().to_string();
    let (bad, worse, ours) = (path("bad"), path("worse"), path("ours"));
    let wanted = format!(
        "192.0.2.7: listed, score 10
  decided by 192.0.2.0/24 in worse
  bad: 192.0.0.0/16, score 30, line 2 of {bad}
  worse: 192.0.2.0/24, score 10, line 1 of {worse}
::ffff:192.0.2.99: allow, score 100
  looked up as 192.0.2.99
  decided by 192.0.2.99 in ours
  bad: 192.0.0.0/16, score 30, line 2 of {bad}
  worse: 192.0.2.0/24, score 10, line 1 of {worse}
  ours: 192.0.2.99, score 100, allow, line 1 of {ours}
8.8.8.8: unknown, score 50
"
    );
    assert_eq!(String::from_utf8(output.stdout).expect("the text is UTF-8"), wanted);
}

/// Addresses come from standard input if none are given; a wrong line is reported, and the others are answered.
#[test]
fn check_reads_standard_input_and_prints_json() {
    let folder = folder();
    let options = options(&folder);
    let check = |more: &[&str], input: &str| {
        let mut command = Command::new(binary());
        command
            .arg("check")
            .args(&options)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("spoa can be run");
        child.stdin.take().expect("standard input is piped").write_all(input.as_bytes()).expect("spoa reads");
        child.wait_with_output().expect("spoa is a child process")
    };
    let output = check(&["--json"], "192.0.2.7\n\n# a comment\n8.8.8.8\n");
    let text = String::from_utf8(output.stdout).expect("the text is UTF-8");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((output.status.code(), lines.len()), (Some(0), 2), "{text}");
    let beginning = r#"{"address":"192.0.2.7","verdict":"listed","score":10,"list":"worse","category":""#;
    assert!(
        lines[0].starts_with(beginning)
            && lines[0].contains(r#""prefix":"192.0.2.0/24","generation":1,"matches":[{"list":"bad","#),
        "{text}"
    );
    let wanted = r#"{"address":"8.8.8.8","verdict":"unknown","score":50,"list":null,"category":null,"prefix":null,"generation":1,"matches":[]}"#;
    assert_eq!(lines[1], wanted);

    let output = check(&[], "8.8.8.8\nnonsense\x1b[2J\n192.0.2.7\n");
    let text = String::from_utf8(output.stdout).expect("the text is UTF-8");
    assert!(text.contains("8.8.8.8: unknown") && text.contains("192.0.2.7: listed"), "{text}");
    let errors = String::from_utf8(output.stderr).expect("the text is UTF-8");
    assert!(
        errors.starts_with("spoa: standard input, line 2: \"nonsense\\u{1b}[2J\": expected an IPv4 or IPv6"),
        "{errors}"
    );
    assert_eq!((output.status.code(), errors.lines().count()), (Some(1), 2), "{errors}");

    assert_eq!(check(&["--fail-if-listed"], "192.0.2.7\n").status.code(), Some(3));
    assert_eq!(check(&["--fail-if-listed"], "8.8.8.8\n").status.code(), Some(0));
}

#[test]
fn validate_reports_bad_lines_and_fails() {
    let folder = Folder::with(&[("good", b"192.0.2.1\n"), ("bad", b"192.0.2.1\nx\n 1.2.3.4/2\nx\nx\nx\nx\nx\n")]);
    let (good, bad, none) = (folder.list("good", ""), folder.list("bad", ",strict"), folder.list("none", ""));
    let output = run(&["validate", "--list", &good]);
    let good_text = &b"list good: 1 prefix\n  read as one address per line, 1 entry, 0 bad lines\n"[..];
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), good_text));
    let output = run(&["validate", "--list", &good, "--list", &bad, "--list", &none]);
    let text = String::from_utf8(output.stdout).expect("the text is UTF-8");
    let lines: Vec<_> = text.lines().collect();
    let second = format!(
        "  {}:3:2: \"1.2.3.4/2\" is an address with host bits: bits are set after its prefix length (host-bits=accept takes its \
         network)",
        folder.path("bad").display()
    );
    assert_eq!(lines[2], "list bad: 1 prefix, 7 bad lines");
    assert_eq!((lines[5], lines[9]), (&*second, "  and 2 more"), "{text}");
    assert!(lines[10].starts_with("list none: cannot read"), "{text}");
    assert_eq!((output.status.code(), &*output.stderr), (Some(1), &b"spoa: 8 faults\n"[..]));
}

/// An invalid configuration file is reported in one line, with its path, the position and the error.
#[test]
fn validate_reports_an_invalid_configuration_with_line_and_column() {
    let folder = folder();
    let path = folder.path("spoa.toml").display().to_string();
    for (text, wanted) in [
        ("port = 7\nprt = 1\n", ":2:1: unknown key \"prt\"; did you mean \"port\"?"),
        ("grace = '5x'\n", ":1:9: expected a whole number of ms, or one with a unit: us, ms, s, m or h"),
        ("listen = ['127.0.0.1:1', 'x']\n", ":1:26: 'x' is not an address"),
        ("max-frame-size = 3\n", ":1:18: expected a whole number from 256 to 16777216"),
        ("[[list]]\nname = 'x'\n", ": the list x needs a path: only with bans a list may have none"),
        ("[[list]]\nname = 'x'\npath = 'y'\nscore = 101\n", ":4:9: expected a number from 0 to 100"),
        ("[[list]]\nname = 'x'\npath = 'y'\nformat = 'json'\ncolumn = 1\n", ":1:1: only csv has columns"),
        ("[[message]]\nname = 'x'\nscope = 'session'\n", ":3:9: unknown value \"session\"; did you mean \"sess\"?"),
        ("[[message]]\nname = 'x'\nprefix = 'a-'\n", ":1:1: \"a-score\": a variable name cannot have the byte 0x2d"),
        ("[[message]]\nname = 'x'\n[[message]]\nname = 'x'\n", ": two messages are called x"),
        ("list = [{name = 'a', path = 'b'}, {name = 'a', path = 'c'}]\n", ": two lists are called a"),
        ("seed = 1\n[[list]]\nname = 'a'\npath = 'bad'\n", ": delay and seed are for random scores"),
        ("grace = \n", ":1:9: "),
    ] {
        folder.write("spoa.toml", text.as_bytes());
        for options in [&["validate", "--config", &path][..], &["--config", &path]] {
            let output = run(options);
            let error = String::from_utf8(output.stderr).expect("the text is UTF-8");
            assert!(error.starts_with(&format!("spoa: {path}{wanted}")), "expected {wanted:?} for {text}, got {error}");
            assert_eq!((output.status.code(), error.lines().count(), output.stdout.len()), (Some(2), 1, 0), "{error}");
        }
    }
    folder.write("spoa.toml", b"[[list]]\nname = 'bad'\npath = 'bad'\n");
    let output = run(&["validate", "--config", &path]);
    let read = "  read as one address per line, 2 entries, 0 bad lines";
    let wanted = format!("{path} is valid\nlist bad: 2 prefixes\n{read}\n");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()), (Some(0), wanted));
    let output = run(&["check", "192.0.0.1", "--config", &path, "--default-score", "1"]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("192.0.0.1: listed, score 0\n"));
}

#[test]
fn unusable_lists_are_reported_in_one_line() {
    let folder = Folder::with(&[("empty", b"# nothing\n")]);
    let (empty, none) = (folder.list("empty", ""), folder.list("none", ""));
    for (options, wanted) in [
        (["--list", &none, "--listen", "127.0.0.1:0"], "list none: cannot read"),
        (["--list", &empty, "--listen", "127.0.0.1:0"], "list empty: there is no address in"),
        (["check", "192.0.2.1", "--list", &none], "list none: cannot read"),
    ] {
        let output = run(&options);
        let text = String::from_utf8(output.stderr).expect("the text is UTF-8");
        assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
        assert!(text.starts_with("spoa: ") && text.contains(wanted), "{text}");
    }
}

/// Text from lists is escaped before it is printed or logged.
#[test]
fn text_of_files_cannot_forge_lines_or_control_a_terminal() {
    let evil = "\x1b[2J\u{202e}x\r\n192.0.2.1\n{\"cidr\":\"a\\nspoa: forged\"}\n";
    let folder = Folder::with(&[
        ("text", evil.as_bytes()),
        ("json", b"{\"cidr\":\"192.0.2.1\"}\n{\"cidr\":\"a\\nforged\\u001b[31m\"}\n"),
    ]);
    for name in ["text", "json"] {
        let list = folder.list(name, ",strict");
        let outputs = [run(&["validate", "--list", &list]), run(&["--listen", "127.0.0.1:0", "--list", &list])];
        for output in outputs {
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8(text).expect("the text is UTF-8");
            assert!(!text.chars().any(|char| char.is_control() && char != '\n' || char == '\u{202e}'), "{text:?}");
            assert!(
                !text.lines().any(|line| line.starts_with("forged") || line.starts_with("spoa: forged")),
                "{text:?}"
            );
        }
        folder.write(name, b"192.0.2.1\n");
        for format in ["text", "json"] {
            let agent = Agent::spawn(&["--log-format", format, "--list", &list, "--no-watch"]);
            folder.write(name, if name == "text" { evil.as_bytes() } else { b"{\"cidr\":\"a\\nforged\\u009b\"}\n" });
            agent.signal(Signal::HUP);
            agent.wait_for_line("the previous version stays in use");
            let log = agent.log();
            assert!(!log.chars().any(|char| char.is_control() && char != '\n' || char == '\u{202e}'), "{log:?}");
            assert!(!log.lines().any(|line| line.starts_with("forged")), "{log:?}");
            folder.write(name, b"192.0.2.1\n");
        }
    }
}

/// A FIFO or a huge file cannot be loaded, but does not block the agent: it still handles signals and answers NOTIFYs.
#[test]
fn unusable_files_do_not_block_signals() {
    let folder = folder();
    let text = "[[list]]\nname = 'bad'\npath = 'bad'\n[[list]]\nname = 'worse'\npath = 'worse'\nscore = 10\n";
    folder.write("spoa.toml", text.as_bytes());
    let (config, list) = (folder.path("spoa.toml"), folder.path("worse"));
    let agent = Agent::spawn(&["--config", &config.display().to_string(), "--no-watch"]);
    let fifo = |path: &std::path::Path| {
        fs::remove_file(path).expect("the file exists");
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).expect("the path is free");
    };
    fifo(&list);
    agent.signal(Signal::HUP);
    agent.wait_for_line("it is not a regular file; the previous version stays in use: list worse");
    fifo(&config);
    agent.signal(Signal::HUP);
    agent.wait_for_line("spoa.toml: it is not a regular file");
    fs::remove_file(&config).expect("the file exists");
    let sparse = File::create(&config).expect("the folder is writable");
    sparse.set_len(1_200_000_000).expect("the file system supports sparse files");
    agent.signal(Signal::HUP);
    agent.wait_for_line("spoa.toml: it is larger than 4194304 bytes");
    fs::remove_file(&list).expect("the file exists");
    File::create(&list)
        .expect("the folder is writable")
        .set_len(2 << 30)
        .expect("the file system supports sparse files");
    folder.write("spoa.toml", text.as_bytes());
    agent.signal(Signal::HUP);
    // The next signal is handled before the reload of this file has ended.
    agent.signal(Signal::USR1);
    agent.wait_for_line("the log level is debug");
    agent.wait_for_line("it is larger than 1073741824 bytes; the previous version stays in use: list worse");
    assert!(ask(&mut Client::ready(agent.addr()), &check_client_ip(ipv4(1))).contains("ip_listed=true"));
}

/// As root, `validate` can read files that the user of the service cannot read, and reports them.
#[test]
fn validate_checks_that_the_service_can_read_the_files() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: without root, there is no file that this user can read and the service cannot");
        return;
    }
    let folder = folder();
    let list = folder.list("bad", "");
    assert!(run(&["validate", "--list", &list]).status.success());
    let path = folder.path("bad");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("root can change the mode");
    let output = run(&["validate", "--list", &list]);
    let text = String::from_utf8_lossy(&output.stdout);
    let wanted = format!("the user spoa cannot read {} (mode 0600)", path.display());
    assert!(output.status.code() == Some(1) && text.contains(&wanted), "expected {wanted:?}, got {text}");
    assert!(run(&["validate", "--list", &list, "--user", "root"]).status.success());
    assert_eq!(run(&["validate", "--list", &list, "--user", "no-such-user"]).status.code(), Some(1));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("root can change the mode");
    fs::set_permissions(folder.path(""), fs::Permissions::from_mode(0o700)).expect("root can change the mode");
    let output = run(&["validate", "--list", &list]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("the user spoa cannot enter"), "{output:?}");
    // A link in a folder that is closed leads nowhere, wherever its target is.
    let open = Folder::with(&[("bad", b"192.0.2.1\n")]);
    symlink(open.path("bad"), folder.path("link")).expect("the name is free");
    let output = run(&["validate", "--list", &folder.list("link", "")]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("the user spoa cannot enter"), "{output:?}");
    assert!(run(&["validate", "--list", &open.list("bad", "")]).status.success());
}

/// A result that was not written is not a success.
#[test]
fn a_full_disk_is_an_error_and_a_reader_that_has_gone_is_none() {
    let folder = folder();
    let mut command = Command::new(binary());
    command.args(["check", "192.0.2.1", "--list", &folder.list("bad", "")]);
    let full = File::options().write(true).open("/dev/full").expect("Linux has it");
    let output = command.stdout(full).output().expect("spoa can be run");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains("spoa: cannot write to standard output: "), "{text}");
    let (reader, writer) = io::pipe().expect("a pipe can be created");
    drop(reader);
    assert!(command.stdout(writer).status().expect("spoa can be run").success());
}
