//! Conditional blocks: `.if`, `.elif`, `.else` and `.endif`.

use crate::version::Version;
use crate::words::Environment;

/// The open blocks at a line.
#[derive(Debug, Default)]
pub(crate) struct Blocks(Vec<Block>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    /// No branch was taken so far.
    Waiting,
    /// The lines of this branch are read.
    Taken,
    /// Another branch was taken.
    Done,
}

impl Blocks {
    /// Reads a line. Returns true if it is one of this file's lines, false if it is skipped or belongs to a block.
    pub(crate) fn reads(&mut self, words: &[String], environment: &Environment<'_>, version: Version) -> bool {
        let holds = |words: &[String]| Condition { environment, version }.holds(&words.join(" "));
        match words.first().map(String::as_str) {
            Some(".if") => {
                let taken = self.is_open() && holds(&words[1..]);
                let outside = if self.is_open() { Block::Waiting } else { Block::Done };
                self.0.push(if taken { Block::Taken } else { outside });
            }
            Some(".elif") => {
                if let Some(block) = self.0.last_mut() {
                    *block = match *block {
                        Block::Waiting if holds(&words[1..]) => Block::Taken,
                        Block::Waiting => Block::Waiting,
                        Block::Taken | Block::Done => Block::Done,
                    };
                }
            }
            Some(".else") => {
                if let Some(block) = self.0.last_mut() {
                    *block = if *block == Block::Waiting { Block::Taken } else { Block::Done };
                }
            }
            Some(".endif") => drop(self.0.pop()),
            // .alert, .warning, .notice and .diag
            Some(word) if word.starts_with('.') => {}
            _ => return self.is_open(),
        }
        false
    }

    fn is_open(&self) -> bool {
        // A block inside one that is not taken is never taken.
        self.0.last().is_none_or(|block| *block == Block::Taken)
    }
}

/// The facts that a condition may ask for.
struct Condition<'c, 'e> {
    environment: &'c Environment<'e>,
    version: Version,
}

/// The depth of parentheses that is read.
const DEPTH_MAX: u32 = 64;

impl Condition<'_, '_> {
    /// Evaluates a condition. What cannot be decided holds: features and options of an unknown HAProxy are there.
    fn holds(&self, text: &str) -> bool {
        self.any(&mut text.trim(), 0)
    }

    fn any(&self, text: &mut &str, depth: u32) -> bool {
        let mut holds = self.all(text, depth);
        while let Some(rest) = text.trim_start().strip_prefix("||") {
            *text = rest;
            holds |= self.all(text, depth);
        }
        holds
    }

    fn all(&self, text: &mut &str, depth: u32) -> bool {
        let mut holds = self.one(text, depth);
        while let Some(rest) = text.trim_start().strip_prefix("&&") {
            *text = rest;
            holds &= self.one(text, depth);
        }
        holds
    }

    fn one(&self, text: &mut &str, depth: u32) -> bool {
        *text = text.trim_start();
        let mut wanted = true;
        while let Some(rest) = text.strip_prefix('!') {
            (*text, wanted) = (rest.trim_start(), !wanted);
        }
        if let Some(rest) = text.strip_prefix('(')
            && depth < DEPTH_MAX
        {
            *text = rest;
            let holds = self.any(text, depth + 1);
            *text = text.trim_start();
            *text = text.strip_prefix(')').unwrap_or(text);
            return holds == wanted;
        }
        let end = text.find(['(', '|', '&', ')', ' ']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let Some(rest) = rest.strip_prefix('(') else {
            // An integer, or nothing.
            *text = if name.is_empty() { "" } else { rest };
            return (name.parse::<i64>() != Ok(0) && !name.is_empty()) == wanted;
        };
        let (arguments, rest) = rest.split_once(')').unwrap_or((rest, ""));
        *text = rest;
        self.predicate(name, arguments).is_none_or(|holds| holds == wanted)
    }

    fn predicate(&self, name: &str, arguments: &str) -> Option<bool> {
        let mut arguments = arguments.split(',').map(|argument| argument.trim().trim_matches('"'));
        let (first, second) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
        match name {
            "defined" => Some(self.environment.get(first).is_some()),
            "streq" => Some(first == second),
            "strneq" => Some(first != second),
            "strstr" => Some(first.contains(second)),
            "version_atleast" => Version::find(first).map(|version| self.version >= version),
            "version_before" => Version::find(first).map(|version| self.version < version),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let outer = |name: &str| (name == "SET").then(|| "x".to_owned());
        let (environment, mut blocks) = (Environment::new(&outer), Blocks::default());
        let words = |line: &str| crate::words::split(line, &environment);
        let lines = text.lines().filter(|line| blocks.reads(&words(line), &environment, Version(3, 0)));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn conditions_hold_as_in_haproxy() {
        for (condition, expected) in [
            ("defined(SET)", true),
            ("!defined(SET)", false),
            ("defined(GONE)", false),
            ("version_atleast(3.0)", true),
            ("version_atleast(3.1)", false),
            ("version_before(3.1-dev1)", true),
            ("streq(\"$SET\",x) && strneq(a,b)", true),
            ("streq(a,b) || 1", true),
            ("0", false),
            ("", false),
            ("(0 || 1) && !(0)", true),
            ("feature(OPENSSL)", true),
            ("!feature(OPENSSL)", true),
            ("((((", false),
        ] {
            assert_eq!(read(&format!(".if {condition}\na\n.endif")).len(), usize::from(expected), "{condition}");
        }
    }

    #[test]
    fn one_branch_is_read() {
        let text =
            "a\n.if 0\nb\n.if 1\nc\n.else\nd\n.endif\n.elif 1\ne\n.alert x\n.else\nf\n.endif\ng\n.endif\n.else\nh";
        assert_eq!(read(text), ["a", "e", "g", "h"]);
    }
}
