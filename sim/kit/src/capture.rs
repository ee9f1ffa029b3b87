//! Conversations as captures of packets: writes pcapng for Wireshark, and reads pcap and pcapng.

mod packets;
mod reassemble;
mod write;

pub use packets::CaptureError;
pub use reassemble::{Import, Importer, Note, import};
pub use write::write_pcapng;

/// The port of the agent in captures, which Wireshark's dissector for SPOP expects.
pub const AGENT_PORT: u16 = 12345;
