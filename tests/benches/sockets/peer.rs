//! An agent on the other Rust library for SPOP, the crate `spop`. It runs on tokio as the examples of the crate do,
//! with a task per connection and a write per ACK. It has one thread and always answers with the same score.

use std::io;
use std::path::Path;

use futures_util::{SinkExt, StreamExt};
use spop::actions::VarScope;
use spop::frame::{FramePayload, FrameType};
use spop::frames::{Ack, AgentHello, FrameCapabilities, HaproxyHello};
use spop::{MAX_FRAME_SIZE_LIMIT, SpopCodec, SpopFrame, TypedData};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::codec::Framed;

/// Serves on the unix socket at `path`, or else on a free port, until the process is killed. The address is printed.
pub(crate) fn serve(path: Option<&Path>) -> ! {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().expect("the runtime can be created");
    // `spop` reports an error when the client closes a connection.
    runtime.block_on(async {
        if let Some(path) = path {
            let listener = UnixListener::bind(path).expect("no file has this path");
            println!("unix:{}", path.display());
            loop {
                let Ok((socket, _)) = listener.accept().await else { continue };
                tokio::spawn(async { serve_connection(socket).await.ok() });
            }
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        println!("{}", listener.local_addr().expect("the socket is bound"));
        loop {
            let Ok((socket, _)) = listener.accept().await else { continue };
            socket.set_nodelay(true).expect("the socket is a TCP socket");
            tokio::spawn(async { serve_connection(socket).await.ok() });
        }
    })
}

async fn serve_connection(socket: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut socket = Framed::new(socket, SpopCodec::default());
    while let Some(frame) = socket.next().await {
        let frame = frame?;
        let answer: Box<dyn SpopFrame> = match frame.frame_type() {
            FrameType::HaproxyHello => {
                let hello = HaproxyHello::try_from(frame.payload()).map_err(|_| io::ErrorKind::InvalidData)?;
                let version = hello.negotiate_version().ok_or(io::ErrorKind::InvalidData)?;
                let max_frame_size = hello.negotiate_max_frame_size(MAX_FRAME_SIZE_LIMIT);
                let max_frame_size = max_frame_size.map_err(|_| io::ErrorKind::InvalidData)?;
                socket.codec_mut().set_max_frame_size(max_frame_size);
                Box::new(AgentHello { version, max_frame_size, capabilities: vec![FrameCapabilities::Pipelining] })
            }
            FrameType::Notify => Box::new(answer(&*frame)),
            _ => return Ok(()),
        };
        socket.send(answer).await?;
    }
    Ok(())
}

/// Returns an ACK with a score for each message check-client-ip.
fn answer(frame: &dyn SpopFrame) -> Ack {
    let metadata = frame.metadata();
    let mut ack = Ack::new(metadata.stream_id, metadata.frame_id);
    if let FramePayload::ListOfMessages(messages) = frame.payload() {
        for message in messages.iter().filter(|message| message.name == "check-client-ip") {
            if let Some((_, TypedData::IPv4(_))) = message.args.first() {
                ack = ack.set_var(VarScope::Session, "ip_score", 42_u32);
            }
        }
    }
    ack
}
