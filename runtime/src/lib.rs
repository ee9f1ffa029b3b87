//! Runs SPOE agents on smol sockets.
