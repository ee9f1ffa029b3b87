//! Passes the commit that the library is built from to the compiler.

use std::env;
use std::process::Command;

fn main() {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        Some(text).filter(|text| output.status.success() && !text.is_empty())
    };
    // Without a repository the commit can be given.
    println!("cargo::rerun-if-env-changed=SPOA_COMMIT");
    let commit = env::var("SPOA_COMMIT").ok().or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    println!("cargo::rustc-env=SPOA_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    // The log of HEAD changes with each commit, on every branch.
    if let Some(log) = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
}
