//! Tells the library which commit it is built from.

use std::env;
use std::process::Command;

fn main() {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        Some(text).filter(|text| output.status.success() && !text.is_empty())
    };
    // Whoever builds without the repository can say it.
    println!("cargo::rerun-if-env-changed=SPOA_COMMIT");
    let commit = env::var("SPOA_COMMIT").ok().or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    println!("cargo::rustc-env=SPOA_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    // HEAD changes with each commit in the log of it, wherever it points to.
    if let Some(log) = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
}
