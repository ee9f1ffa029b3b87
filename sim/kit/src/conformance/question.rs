//! The question that the cases ask, so that agents of any purpose can be tested.

use crate::bytes::{Action, Value, message, read_actions};
use crate::frames::notify;

/// A message that the agent knows, and the variable that its answer sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name of the message.
    pub message: String,
    /// The arguments: names and values. The name of an unnamed argument is empty.
    pub args: Vec<(String, Value)>,
    /// The variable that the ACK has to set. `None` if the content of ACKs is not checked.
    pub variable: Option<String>,
}

impl Default for Question {
    /// Asks what HAProxy's own example of an agent answers: the score of an address.
    fn default() -> Self {
        Self {
            message: "check-client-ip".into(),
            args: vec![(String::new(), Value::Ipv4([192, 0, 2, 1]))],
            variable: Some("ip_score".into()),
        }
    }
}

impl Question {
    /// Encodes the message.
    pub fn encode(&self) -> Vec<u8> {
        let args: Vec<_> = self.args.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        message(&self.message, &args)
    }

    /// Encodes a NOTIFY with the message alone.
    pub fn notify(&self, sid: u64, fid: u64) -> Vec<u8> {
        notify(sid, fid, &[self.encode()])
    }

    /// Checks that the payload of an ACK is well-formed, and if `answered`, that it sets the variable. Returns a description of what
    /// is wrong with it.
    pub fn check(&self, payload: &[u8], answered: bool) -> Result<(), String> {
        let actions = read_actions(payload).ok_or("an ACK with malformed actions")?;
        let bad_scope = |action: &Action| {
            let (Action::SetVar { scope, .. } | Action::UnsetVar { scope, .. }) = action;
            *scope > 4
        };
        if actions.iter().any(bad_scope) {
            return Err("an ACK with an unknown scope".into());
        }
        let sets = |name: &str, action: &Action| matches!(action, Action::SetVar { name: set, .. } if set == name);
        match &self.variable {
            Some(name) if answered && !actions.iter().any(|action| sets(name, action)) => {
                Err(format!("an ACK without the variable {name}"))
            }
            _ => Ok(()),
        }
    }
}
