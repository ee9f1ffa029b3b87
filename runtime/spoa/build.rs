//! Passes the commit that the library is built from to the compiler.

use std::env;
use std::process::Command;

fn main() {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        Some(text).filter(|text| output.status.success() && !text.is_empty())
    };
    // The variable overrides the commit of the repository. A build without a repository needs it.
    println!("cargo::rerun-if-env-changed=SPOA_COMMIT");
    let commit = env::var("SPOA_COMMIT").ok().or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    println!("cargo::rustc-env=SPOA_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    // Git appends to the log of HEAD at each commit and checkout.
    if let Some(log) = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
}
