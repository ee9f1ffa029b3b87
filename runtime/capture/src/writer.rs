//! Writes packets as pcapng.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::{DataLink, PcapError};

/// The `if_tsresol` of nanoseconds: the negative power of ten.
const NANOSECONDS: u8 = 9;

/// A capture that is being written.
pub struct Writer<W: Write> {
    pcapng: PcapNgWriter<W>,
    written: u64,
}

impl<W: Write> fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("written", &self.written).finish_non_exhaustive()
    }
}

impl<W: Write> Writer<W> {
    /// Writes the beginning of a capture of IP packets.
    ///
    /// # Errors
    /// If `out` fails.
    pub fn new(out: W) -> io::Result<Self> {
        let mut pcapng = PcapNgWriter::new(out).map_err(into_io)?;
        let interface = InterfaceDescriptionBlock {
            linktype: DataLink::RAW,
            snaplen: 0,
            options: vec![InterfaceDescriptionOption::IfTsResol(NANOSECONDS)],
        };
        let len = pcapng.write_pcapng_block(interface).map_err(into_io)?;
        Ok(Self { pcapng, written: len as u64 })
    }

    /// Writes a packet, which begins with the IP header. `at` is the time since 1970, or since the start of the conversation.
    ///
    /// # Errors
    /// If the output fails. It may then end inside this packet.
    pub fn write(&mut self, at: Duration, packet: &[u8]) -> io::Result<()> {
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: at,
            original_len: packet.len() as u32,
            data: packet.into(),
            options: Vec::new(),
        };
        self.written += self.pcapng.write_pcapng_block(block).map_err(into_io)? as u64;
        Ok(())
    }

    /// Returns the number of bytes that were written, without the header of the file.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Writes what the output has buffered.
    ///
    /// # Errors
    /// If the output fails.
    pub fn flush(&mut self) -> io::Result<()> {
        self.pcapng.get_mut().flush()
    }
}

fn into_io(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    }
}
