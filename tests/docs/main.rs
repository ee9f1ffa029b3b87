//! Checks the parts of the documents that can be compared with the program and with other files.

mod language;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use spoa_tests::agent;

/// The documents, from the root of the repository.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "runtime/OPERATING.md",
    "runtime/README.md",
    "core/README.md",
    "sim/README.md",
    "sim/bugs/README.md",
    "sim/recordings/README.md",
    "tests/benches/README.md",
    "tests/doctor/README.md",
    ".github/CONTRIBUTING.md",
    ".github/SECURITY.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the contents of the fenced code blocks in this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|rest| rest.split_once("```")).map(|(block, _)| block.to_string()).collect()
}

#[test]
fn the_readme_is_short() {
    let lines = read("README.md").lines().count();
    assert!(lines < 160, "expected fewer than 160 lines, got {lines}");
}

#[test]
fn the_options_in_the_manual_are_those_of_the_program() {
    let help = Command::new(agent::binary()).arg("-h").output().expect("spoa can be run");
    let shown = format!("$ spoa -h\n{}", String::from_utf8_lossy(&help.stdout));
    assert!(
        blocks(&read("runtime/OPERATING.md"), "text").contains(&shown),
        "expected this help in runtime/OPERATING.md:\n{shown}"
    );
}

#[test]
fn the_findings_in_the_manual_are_those_of_the_program() {
    let findings = agent::run(&["generate", "findings"]);
    let shown = format!("<!-- findings -->\n{}<!-- /findings -->", String::from_utf8_lossy(&findings.stdout));
    assert!(read("runtime/OPERATING.md").contains(&shown), "expected these findings in runtime/OPERATING.md:\n{shown}");
}

#[test]
fn the_example_of_the_library_is_the_one_that_is_compiled() {
    let example = read("runtime/examples/quick.rs");
    let found = blocks(&read("runtime/README.md"), "rust,no_run").iter().any(|code| example.ends_with(code.as_str()));
    assert!(found, "expected the code of runtime/examples/quick.rs in runtime/README.md");
}

#[test]
fn the_haproxy_lines_in_the_documents_are_in_the_example_files() {
    let files = ["haproxy.cfg", "haproxy-3.0.cfg", "ip-reputation.spoe.conf"]
        .map(|name| read(&format!("runtime/examples/haproxy/{name}")))
        .concat();
    for document in ["README.md", "runtime/OPERATING.md"] {
        let text = read(document);
        let rows: Vec<_> = text.lines().filter(|row| row.starts_with("| both |") || row.contains(".cfg` |")).collect();
        assert!(rows.len() >= 4, "expected at least 4 HAProxy lines in {document}, got {}", rows.len());
        for row in rows {
            let line = row.split('|').nth(2).and_then(|cell| cell.split('`').nth(1)).expect("a line in backticks");
            assert!(files.contains(line), "{document}: expected {line:?} in an example file of HAProxy");
        }
    }
}

#[test]
fn every_path_in_the_documents_exists() {
    for document in DOCUMENTS {
        let (text, path) = (read(document), root().join(document));
        let folder = path.parent().expect("a file is in a folder");
        let inline = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(path, _)| path);
        let references =
            text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: ")).map(|(_, path)| path);
        for link in inline.chain(references) {
            let path = link.split('#').next().unwrap_or_default();
            let exists = path.is_empty() || path.starts_with("https://") || folder.join(path).exists();
            assert!(exists, "{document} links to {link}, which does not exist");
        }
    }
}

/// The contributors' guide has a line for each package, with its name and folder.
#[test]
fn the_map_of_the_crates_is_complete() {
    let metadata = Command::new(env!("CARGO")).args(["metadata", "--format-version", "1", "--no-deps"]).output();
    let metadata = String::from_utf8(metadata.expect("cargo can be run").stdout).expect("JSON is UTF-8");
    let guide = read(".github/CONTRIBUTING.md");
    let names = metadata.split("\"manifest_path\":\"").skip(1).filter_map(|rest| rest.split_once("/Cargo.toml\""));
    let root = root().canonicalize().expect("the repository exists");
    let folders: Vec<_> = names
        .filter_map(|(path, _)| Path::new(path).canonicalize().ok()?.strip_prefix(&root).ok().map(Path::to_owned))
        .collect();
    assert!(folders.len() >= 6, "{folders:?}");
    for folder in folders {
        let name = read(&format!("{}/Cargo.toml", folder.display()));
        let name = name.lines().find_map(|line| line.strip_prefix("name = ")).expect("a package has a name");
        let entry = format!("- `{}` ({}):", name.trim_matches('"'), folder.display());
        assert!(guide.contains(&entry), "expected a line that begins with {entry:?} in .github/CONTRIBUTING.md");
    }
}
