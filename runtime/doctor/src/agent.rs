//! The configuration of our agent, as far as findings depend on it.

use std::rc::Rc;

use spoa_reputation::Config;
use spoa_runtime::{ConnectionConfig, Scope};

use crate::source::{Place, SourceFile};

/// The configuration of the agent.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Its file.
    pub file: SourceFile,
    /// The lists, messages and policies.
    pub reputation: Config,
    /// The capabilities, limits and timeouts of connections.
    pub connection: ConnectionConfig,
}

impl AgentConfig {
    fn place(&self, line: usize) -> Place {
        Place { file: Rc::from(self.file.name.as_str()), line }
    }

    /// Returns the first line that sets a key outside of tables; the first line of the file if there is none.
    pub(crate) fn key(&self, key: &str) -> Place {
        let lines = self.file.text.lines().take_while(|line| !line.trim_start().starts_with('['));
        self.place(lines.enumerate().find(|(_, line)| is_key(line, key)).map_or(1, |(at, _)| at + 1))
    }

    /// Returns the line of a key in the table `[[kind]]` of this name; the line of the table if it does not set the key.
    pub(crate) fn table(&self, kind: &str, name: &str, key: &str) -> Place {
        let head = format!("[[{kind}]]");
        let (mut table, mut found, mut is_it) = (None, None, false);
        for (at, line) in self.file.text.lines().enumerate() {
            if line.trim_start().starts_with("[[") {
                if is_it {
                    break;
                }
                (table, found) = ((line.trim() == head).then_some(at + 1), None);
            }
            if table.is_some() {
                is_it |= is_key(line, "name") && line.split(['"', '\'']).nth(1) == Some(name);
                found = if is_key(line, key) { Some(at + 1) } else { found };
            }
        }
        self.place(if is_it { found.or(table).unwrap_or(1) } else { 1 })
    }

    /// Returns the first line of the first table `[[kind]]`.
    pub(crate) fn first_table(&self, kind: &str) -> Place {
        let head = format!("[[{kind}]]");
        let mut lines = self.file.text.lines().enumerate();
        self.place(lines.find(|(_, line)| line.trim() == head).map_or(1, |(at, _)| at + 1))
    }
}

/// True if a line of TOML sets a key.
fn is_key(line: &str, key: &str) -> bool {
    line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
}

/// Returns the name of a scope in HAProxy's configuration.
pub(crate) const fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Process => "proc",
        Scope::Session => "sess",
        Scope::Transaction => "txn",
        Scope::Request => "req",
        Scope::Response => "res",
    }
}
