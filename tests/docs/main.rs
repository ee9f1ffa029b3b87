//! What the README claims and code can check.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use spoa_tests::agent;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The blocks between fences of this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|rest| rest.split_once("```")).map(|(block, _)| block.to_string()).collect()
}

#[test]
fn the_options_in_the_readme_are_those_of_the_program() {
    let help = Command::new(agent::binary()).arg("-h").output().expect("it runs");
    let shown = format!("$ spoa -h\n{}", String::from_utf8_lossy(&help.stdout));
    assert!(blocks(&read("README.md"), "text").contains(&shown), "the README has other options than:\n{shown}");
}

#[test]
fn the_example_in_the_readme_is_the_one_that_is_compiled() {
    let example = read("runtime/examples/quick.rs");
    let [code] = &blocks(&read("README.md"), "rust")[..] else { panic!("the README has one example") };
    assert!(example.ends_with(code.as_str()), "runtime/examples/quick.rs differs from:\n{code}");
}

#[test]
fn the_lines_of_haproxy_in_the_readme_are_in_the_files() {
    let readme = read("README.md");
    let files = ["haproxy.cfg", "haproxy-3.0.cfg", "ip-reputation.spoe.conf"]
        .map(|name| read(&format!("runtime/examples/haproxy/{name}")))
        .concat();
    let rows: Vec<_> = readme.lines().filter(|row| row.starts_with("| both |") || row.contains(".cfg` |")).collect();
    assert!(rows.len() >= 4, "the README has no table of HAProxy's lines any more");
    for row in rows {
        let line = row.split('|').nth(2).and_then(|cell| cell.split('`').nth(1)).expect("a line in backticks");
        assert!(files.contains(line), "{line:?} is in none of HAProxy's files");
    }
}

#[test]
fn every_path_in_the_readme_is_there() {
    let readme = read("README.md");
    for path in readme.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(path, _)| path) {
        assert!(path.starts_with("https://") || root().join(path).exists(), "{path} is not there");
    }
}
