//! The wire format of SPOP 2.0 in both directions. Each module decodes and encodes one structure of SPOE.txt section 3.
//!
//! Decoders borrow from the frame and allocate nothing. Encoders append to a `Vec<u8>`. HAProxy's side (encoding
//! HAPROXY-HELLO, NOTIFY and HAPROXY-DISCONNECT, decoding AGENT-HELLO and ACK) is included for tests and simulators
//! that act as HAProxy.
//!
//! These irregularities are accepted on purpose, because HAProxy or other agents accept or send them:
//!
//! | on the wire | here | in HAProxy |
//! |---|---|---|
//! | unknown keys, messages and arguments | skipped | skipped |
//! | the same key twice | the last one counts | the last one counts |
//! | another integer type than the specified one | accepted, then range-checked | read as `i64` |
//! | flags ABORT and 2..31 together with FIN | ignored | ignored |
//! | a BOOL with other flag bits | false unless the flags are exactly 1 | the same |
//! | a STRING with flag bits | read as BINARY | the same |
//!
//! Everything else is a [`DecodeError`](crate::DecodeError), even where HAProxy's decoder wraps or reads past the end.

mod action;
mod capabilities;
mod describe;
mod disconnect;
mod extract;
mod frame;
mod headers;
mod hello;
mod kv;
mod message;
mod reader;
mod set_vars;
mod typed_data;
mod var_name;
mod varint;

pub use action::{Action, ActionIter, Scope};
pub use capabilities::Capabilities;
pub use disconnect::Disconnect;
pub use extract::{ArgFault, BadArg, FromArg, FromMessage};
pub use frame::{
    FRAME_LEN_MIN, Flags, Frame, FrameEncoder, FrameId, FrameType, LENGTH_LEN, MAX_FRAME_SIZE_MIN, StreamId,
};
pub use headers::Headers;
pub use hello::{AgentHello, HaproxyHello};
pub use kv::KvList;
pub use message::{ArgError, Args, Message, MessageEncoder, Messages};
pub use reader::Reader;
pub use set_vars::{Actions, SetVarError, SetVars};
pub use typed_data::TypedData;
pub use var_name::{AsVarName, NameError, VAR_NAME_LEN_MAX, VarName};
pub use varint::{VARINT_LEN_MAX, encode_varint, varint_len};

pub(crate) use frame::{HEADER_LEN_MAX, patch_length};
pub(crate) use set_vars::Append;
