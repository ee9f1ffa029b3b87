//! The command line of `spoa-sim`, as somebody who does not know it would use it.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Folder, sim};

const SCRIPT: &str = "spop-script 4
# A NOTIFY and its answer.
connect c1
send c1 hello supported-versions=\"2.0\" max-frame-size=u32:16380 capabilities=\"pipelining\"
send c1 notify sid=1 fid=1 m()
";

/// Writes a file, and returns its path.
fn write(folder: &Folder, name: &str, text: &str) -> String {
    let path = folder.path(name);
    fs::write(&path, text).expect("the folder can be written");
    path
}

#[test]
fn a_newcomer_learns_what_is_missing() {
    let (code, _, help) = sim(&[]);
    assert!(code == 2 && help.contains("Commands:") && help.contains("Exit codes:"), "{code} {help}");
    for (arguments, parts) in [
        (&["replay"][..], &["<SEED>"][..]),
        (&["replay", "1", "--profile", "x"], &["standard, calm, mux, applet, endpoint or fleet"]),
        (&["replay", "1", "--trace", "x"], &["text, json, chart, pcapng"]),
        (&["runn"], &["'runn'", "'run'"]),
        (&["run", "--seeds", ""], &["expected FIRST..END"]),
        (&["run", "--seeds", "x"], &["'x' is not a seed"]),
        (&["run", "--seeds", "9..9"], &["END must be above FIRST"]),
        (&["run", "--guided", "--profile", "any", "--failures", "none"], &["--guided needs one profile"]),
        (&["run", "--seeds", "281474976710656"], &["above the largest seed"]),
        (&["diff", "x", "--seeds", "5.."], &["need an end"]),
        (&["replay", "1", "--until", "0"], &["expected the number of a step, from 1"]),
        (&["coverage", "--seeds", "5.."], &["need an end"]),
        (&["replay", "1", "--until", "999"], &["above the number of steps, which is"]),
        (&["bugs", "no-such"], &["there is no bug no-such"]),
        (&["bugs", "/nonexistent.patch"], &["cannot read /nonexistent.patch"]),
    ] {
        let (code, _, error) = sim(arguments);
        let is_explained = parts.iter().all(|part| error.contains(part)) && error.lines().count() == 1;
        assert!(code == 2 && is_explained, "{arguments:?}: {code} {error}");
    }
}

#[test]
fn seeds_have_several_forms() {
    let run = |arguments: &[&str]| {
        let (code, text, error) = sim(&[&["run", "--failures", "none", "--jobs", "1"], arguments].concat());
        assert_eq!(code, 0, "{text} {error}");
        text
    };
    let hash = |text: &str| text.split("hash of the traces ").nth(1).map(|rest| rest[..32].to_owned());
    let (number, range) = (run(&["--seeds", "40"]), run(&["--seeds", "0..40"]));
    assert!(hash(&number).is_some() && hash(&number) == hash(&range), "{number} {range}");
    assert!(run(&["--seeds", "..40"]).contains("seeds 0..40,"));
    // It ends although the seeds have no end.
    assert!(run(&["--for", "1ms"]).contains("seeds 0.., profile standard"));
    assert!(run(&["--seeds", "600", "--profile", "any"]).contains("calm "));
}

#[test]
fn steps_that_do_nothing_are_reported() {
    let folder = Folder::new("idle");
    let path = write(&folder, "idle.spop", &SCRIPT.replace("connect c1\n", "wait 1ms\nask h1 m()\n"));
    let (code, text, error) = sim(&["script", &path]);
    assert!(code == 0 && text.contains("held"), "{code} {text}");
    assert!(error.contains("step 2 does nothing, because h1 is not started before: ask h1 m()"), "{error}");
    assert!(error.contains("step 4 does nothing, because c1 is not connected before: send c1 notify"), "{error}");
    let (_, _, error) = sim(&["script", &write(&folder, "good.spop", SCRIPT)]);
    assert_eq!(error, "");
}

#[test]
fn the_corpus_is_found_from_any_folder_and_no_other_folder_is_searched() {
    let (code, text, error) = sim(&["corpus"]);
    let total = text.lines().last().expect("a total");
    assert!(code == 0 && total.ends_with(" held") && total.contains(" scripts, "), "{code} {total} {error}");
    let folder = Folder::new("corpus");
    fs::create_dir(folder.0.join("below")).expect("the folder is new");
    write(&folder, "below/good.spop", SCRIPT);
    let path = folder.0.to_str().expect("a plain path");
    let (code, _, error) = sim(&["corpus", path]);
    assert!(code == 6 && error.contains("is no corpus"), "{code} {error}");
    write(&folder, "good.spop", SCRIPT);
    let (code, text, _) = sim(&["corpus", path]);
    assert!(code == 0 && text.ends_with("2 scripts, 2 held\n"), "{code} {text}");
}

#[test]
fn the_state_after_a_step_is_shown() {
    let folder = Folder::new("state");
    let path = write(&folder, "good.spop", SCRIPT);
    let (code, text, _) = sim(&["script", &path, "--until", "2", "--state"]);
    assert!(code == 0 && text.contains("after step 2, at 0s: send c1 hello"), "{code} {text}");
    assert!(text.contains("state                       running             running"), "{text}");
    assert!(!text.contains("after step 1") && !text.contains("differs"), "{text}");
    let (_, text, _) = sim(&["script", &path, "--state=full"]);
    assert!(text.contains("after step 1,") && text.ends_with("\n") && text.contains("held, trace"), "{text}");
    assert!(!text.contains("<- differs"), "{text}");
    assert!(text.contains("after step 3") && text.contains("Connection {"), "{text}");
}

#[test]
fn a_script_that_does_not_fail_any_more_is_removed() {
    let folder = Folder::new("failures");
    let path = write(&folder, "fixed.spop", SCRIPT);
    let failures = folder.0.to_str().expect("a plain path");
    let (code, text, _) = sim(&["run", "--seeds", "40", "--failures", failures]);
    assert!(code == 0 && text.contains("fixed.spop does not fail any more") && !Path::new(&path).exists(), "{text}");
    assert!(text.contains("A NOTIFY and its answer."), "{text}");
    // A file that is no script is not removed.
    let path = write(&folder, "broken.spop", "no script");
    let (code, _, error) = sim(&["run", "--seeds", "40", "--failures", failures]);
    assert!(code == 0 && error.contains("broken.spop") && Path::new(&path).exists(), "{code} {error}");
    let (code, _, error) = sim(&["run", "--seeds", "40", "--failures", &path]);
    assert!(code == 2 && error.contains("cannot read"), "{code} {error}");
}

#[test]
fn a_build_is_compared_with_another_one() {
    let this = env!("CARGO_BIN_EXE_spoa-sim");
    let (code, text, error) = sim(&["diff", this, "--seeds", "30"]);
    assert!(code == 0 && text == "30 seeds, no difference\n", "{code} {text} {error}");
    let folder = Folder::new("diff");
    // A build whose seed 3 has another trace, and one with another generator.
    let other = write(
        &folder,
        "other",
        &format!("#!/bin/sh\n{this} \"$@\" | sed 's/^3 .*/3 other/; s/AGENT-HELLO/AGENT-BYE/'\n"),
    );
    let newer = write(&folder, "newer", "#!/bin/sh\necho generator 999, scripts 4\n");
    let chmod = Command::new("chmod").args(["+x", &other, &newer]).status().expect("chmod runs");
    assert!(chmod.success());
    let (code, text, _) = sim(&["diff", &other, "--seeds", "30"]);
    assert!(code == 1 && text.contains("seed 3 differs") && text.contains("AGENT-BYE"), "{code} {text}");
    let (code, _, error) = sim(&["diff", &newer, "--seeds", "30"]);
    assert!(code == 2 && error.contains("another generator"), "{code} {error}");
    let (code, _, error) = sim(&["diff", "/nonexistent"]);
    assert!(code == 2 && error.contains("cannot compare with /nonexistent"), "{code} {error}");
}

#[test]
fn the_beginning_of_a_failure_needs_a_failure() {
    let (code, text, _) = sim(&["when", "5"]);
    assert_eq!((code, &*text), (0, "5 does not fail\n"));
}
