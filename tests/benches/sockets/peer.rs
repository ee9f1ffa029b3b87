//! The other agent in Rust there is to write: the crate `spop`, driven over tokio as its own examples do, a task a
//! connection and a write an ACK. On one thread, and with a score that it need not make up.

use std::io;

use futures_util::{SinkExt, StreamExt};
use spop::actions::VarScope;
use spop::frame::{FramePayload, FrameType};
use spop::frames::{Ack, AgentHello, FrameCapabilities, HaproxyHello};
use spop::{MAX_FRAME_SIZE_LIMIT, SpopCodec, SpopFrame, TypedData};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::Framed;

/// Serves on a free port, which it prints, until it is killed.
pub(crate) fn serve() -> ! {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        println!("{}", listener.local_addr().expect("it is bound"));
        loop {
            let Ok((socket, _)) = listener.accept().await else { continue };
            socket.set_nodelay(true).expect("it is a TCP socket");
            // How the client ends a connection is an error to it.
            tokio::spawn(async { converse(socket).await.ok() });
        }
    })
}

async fn converse(socket: TcpStream) -> io::Result<()> {
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

/// A score for each message that asks for one.
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
