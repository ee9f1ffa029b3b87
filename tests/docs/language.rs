//! Keeps the private dialect of earlier versions out of comments, texts and documents.
//!
//! The contributors' guide has the glossary with the words to use.

use std::fs;
use std::process::Command;

use super::root;

/// Phrases that are not used, in lower case.
const BANNED: &[&str] = &[
    "whoever",
    "anew",
    "heed",
    "heeds",
    "heeded",
    "let_go",
    "bury",
    "for to",
    "as it was",
    "as they were",
    "come to rest",
    "comes to rest",
    "come to pass",
    "comes to pass",
    "came to pass",
    "of its own making",
    "told of",
    "tells of",
    "tell of",
    "no more than that",
    "the way down",
    "way out",
    "in work",
    "at work",
    "turned away",
    "belongs into",
    "trying on",
    "go on so",
    "goes on so",
    "what there is",
    "have it that",
    "is of whoever",
    "want of memory",
    "changes places",
    "change places",
];

/// Words that do not begin a documentation comment: it starts with what the item is or does.
const OPENERS: &[&str] = &["What ", "How many ", "Whether ", "That ", "Whoever ", "Who "];

/// Uses that are right: the file, the phrase, and the reason.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("tests/docs/language.rs", "", "the list itself"),
    (".github/CONTRIBUTING.md", "", "the glossary names the words that are not used"),
];

/// Files whose text is not ours, or not prose.
const SKIPPED: &[&str] = &["Cargo.lock", "LICENSE-APACHE", "LICENSE-MIT", "sim/recordings/"];

#[test]
fn comments_and_texts_are_in_plain_english() {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().expect("git runs");
    let files = String::from_utf8(output.stdout).expect("plain names");
    let mut found = Vec::new();
    let mut count = 0;
    for file in files.split('\0').filter(|file| !file.is_empty()) {
        if SKIPPED.iter().any(|skipped| file.starts_with(skipped)) && !file.ends_with(".md") {
            continue;
        }
        let Ok(text) = fs::read_to_string(root().join(file)) else { continue };
        count += 1;
        for (number, line) in (1..).zip(text.lines()) {
            let phrase = banned(line).filter(|phrase| !is_allowed(file, phrase));
            found.extend(phrase.map(|phrase| format!("{file}:{number}: \"{phrase}\" in: {}", line.trim())));
        }
        for (number, line) in openings(file, &text) {
            found.push(format!("{file}:{number}: begins with no verb or noun: {line}"));
        }
    }
    assert!(count > 200, "only {count} files were read");
    assert!(found.is_empty(), "{} phrases to reword:\n{}", found.len(), found.join("\n"));
}

fn is_allowed(file: &str, phrase: &str) -> bool {
    ALLOWED.iter().any(|(of, allowed, _)| *of == file && (allowed.is_empty() || *allowed == phrase))
}

/// Returns the first banned phrase in a text.
fn banned(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    let is_word = |char: char| char.is_alphanumeric() || char == '_';
    BANNED.iter().copied().find(|phrase| {
        text.match_indices(phrase).any(|(at, _)| {
            let (before, after) = (&text[..at], &text[at + phrase.len()..]);
            !before.ends_with(is_word) && !after.starts_with(is_word)
        })
    })
}

/// Returns the documentation comments of a Rust file that begin with none of the words that they should.
fn openings<'t>(file: &str, text: &'t str) -> Vec<(usize, &'t str)> {
    if !file.ends_with(".rs") {
        return Vec::new();
    }
    let comment = |line: &'t str| line.trim().strip_prefix("///").or_else(|| line.trim().strip_prefix("//!"));
    let mut is_inside = false;
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let prose = comment(line);
        if let Some(prose) = prose.filter(|_| !is_inside)
            && OPENERS.iter().any(|opener| prose.trim_start().starts_with(opener))
        {
            found.push((number, line.trim()));
        }
        is_inside = prose.is_some();
    }
    found
}

#[test]
fn phrases_and_openings_are_found() {
    assert_eq!(banned("It is loaded anew."), Some("anew"));
    assert_eq!(banned("A renewal, and a manewver."), None);
    assert_eq!(openings("a.rs", "/// What it is.\n/// That is all.\nfn f() {}\n/// Returns it.\n").len(), 1);
}
