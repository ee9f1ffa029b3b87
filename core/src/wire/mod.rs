//! The bytes of SPOP 2.0, both directions: each file decodes and encodes one shape of SPOE.txt section 3.
//!
//! Decoders borrow from the frame and allocate nothing; encoders append to a `Vec<u8>`. The HAProxy side (HELLO,
//! NOTIFY and DISCONNECT out, AGENT-HELLO and ACK in) is here too, for whatever has to play HAProxy.
//!
//! What is tolerated on purpose, because HAProxy or the other agents do it:
//!
//! | on the wire | here | HAProxy |
//! |---|---|---|
//! | unknown keys, messages, arguments | skipped | skipped |
//! | the same key twice | the last wins | the last wins |
//! | any integer type where one is wanted | taken, then range-checked | taken as one `i64` |
//! | flags ABORT and 2..31 beside FIN | ignored | ignored |
//! | a BOOL with other flag bits | false unless the flags are exactly 1 | the same |
//! | a STRING with flag bits | read as BINARY | the same |
//!
//! All else is a [`DecodeError`](crate::DecodeError), also where HAProxy wraps or reads on.

mod action;
mod capabilities;
mod describe;
mod disconnect;
mod frame;
mod hello;
mod kv;
mod message;
mod reader;
mod typed_data;
mod varint;

pub use action::{Action, ActionIter, Actions, AsVarName, NameError, Scope, SetVarError, VAR_NAME_LEN_MAX, VarName};
pub use capabilities::Capabilities;
pub use disconnect::Disconnect;
pub use frame::{
    FRAME_LEN_MIN, Flags, Frame, FrameEncoder, FrameId, FrameType, LENGTH_LEN, MAX_FRAME_SIZE_MIN, StreamId,
};
pub use hello::{AgentHello, HaproxyHello};
pub use kv::KvList;
pub use message::{ArgError, Args, Message, MessageEncoder, Messages};
pub use reader::Reader;
pub use typed_data::TypedData;
pub use varint::{VARINT_LEN_MAX, encode_varint, varint_len};

pub(crate) use action::{encode_set_var, encode_unset_var, set_var_len, unset_var_len};
pub(crate) use frame::{HEADER_LEN_MAX, patch_length};
