//! Measures the time that the core takes, without sockets: `cargo bench -p spoa-tests --bench core`.
//!
//! Each NOTIFY has the message check-client-ip with an IPv4 address, and its ACK sets `ip_score`. For comparison, the
//! crate `spop` reads and writes the same bytes, driven as in its own agent and benchmark.

use bytes::BytesMut;
use divan::Bencher;
use divan::counter::ItemsCount;
use spoa_core::Notify;
use spoa_core::wire::{Scope, SetVars};
use spoa_tests::bytes::{FIN, Frame, NOTIFY, UNSET, Value};
use spoa_tests::frames::{Hello, ack};
use spoa_tests::steady::{self, DeferredAnswer, SCORE, Steady, notifys};
use spop::actions::VarScope;
use spop::frame::{FramePayload, FrameType};
use spop::{SpopCodec, TypedData};
use tokio_util::codec::{Decoder, Encoder};

/// Numbers of NOTIFYs per read.
const BATCHES: [u64; 3] = [1, 16, 64];

fn main() {
    for n in BATCHES {
        let acks: Vec<u8> = (0..n).flat_map(|i| ack(2 * i + 1, 1, &[u64::from(SCORE)])).collect();
        let input = notifys(n);
        for handler in [steady::immediate, steady::deferred, steady::deferred_with_copy] {
            let mut sent = Vec::new();
            Steady::default().turn(&input, handler, |bytes| sent.extend_from_slice(bytes));
            assert_eq!(sent, acks);
        }
        let mut sent = Vec::new();
        Spop::default().turn(&input, |bytes| sent.extend_from_slice(bytes));
        assert_eq!(sent, acks, "spop must send the same bytes");
    }
    divan::main();
}

#[divan::bench(args = BATCHES, sample_size = 500)]
fn notify_in_place(bencher: Bencher<'_, '_>, n: u64) {
    bench(bencher, n, steady::immediate);
}

#[divan::bench(args = BATCHES, sample_size = 500)]
fn notify_deferred(bencher: Bencher<'_, '_>, n: u64) {
    bench(bencher, n, steady::deferred);
}

#[divan::bench(args = BATCHES, sample_size = 500)]
fn notify_deferred_with_a_copy(bencher: Bencher<'_, '_>, n: u64) {
    bench(bencher, n, steady::deferred_with_copy);
}

fn bench(bencher: Bencher<'_, '_>, n: u64, handle: impl Fn(Notify<'_>) -> Option<DeferredAnswer> + Copy + Sync) {
    let (mut steady, input) = (Steady::default(), notifys(n));
    bencher.counter(ItemsCount::new(n)).bench_local(|| steady.turn(divan::black_box(&input), handle, black_box_bytes));
}

#[divan::bench(args = BATCHES, sample_size = 500)]
fn notify_by_spop(bencher: Bencher<'_, '_>, n: u64) {
    let (mut spop, input) = (Spop::default(), notifys(n));
    bencher.counter(ItemsCount::new(n)).bench_local(|| spop.turn(divan::black_box(&input), black_box_bytes));
}

/// A new connection up to its AGENT-HELLO.
#[divan::bench(sample_size = 100)]
fn hello(bencher: Bencher<'_, '_>) {
    let hello = Hello::mux().encode();
    bencher.bench_local(|| Steady::new(divan::black_box(&hello)));
}

/// A NOTIFY of 40 000 bytes in three frames.
#[divan::bench(sample_size = 100)]
fn notify_in_fragments(bencher: Bencher<'_, '_>) {
    let message = spoa_tests::bytes::message(
        "check-client-ip",
        &[("", Value::Ipv4([192, 0, 2, SCORE as u8])), ("body", Value::Binary(vec![7; 40_000]))],
    );
    let parts = message.chunks(16_000);
    let last = parts.len() - 1;
    let frame = |(i, part): (usize, &[u8])| {
        let kind = if i == 0 { NOTIFY } else { UNSET };
        Frame::new(kind, (1, 1), part).flags(if i == last { FIN } else { 0 }).encode()
    };
    let input: Vec<u8> = parts.enumerate().flat_map(frame).collect();
    let mut steady = Steady::new(&Hello::mux().with("capabilities", Value::text("pipelining,fragmentation")).encode());
    bencher.bench_local(|| steady.turn(divan::black_box(&input), steady::immediate, black_box_bytes));
}

/// An ACK with 100 variables, of 15 kB.
#[divan::bench(sample_size = 100)]
fn big_ack(bencher: Bencher<'_, '_>) {
    let (mut steady, input, value) = (Steady::default(), notifys(1), "v".repeat(140));
    let handle = |notify: Notify<'_>| {
        let mut ack = notify.ack();
        for _ in 0..100 {
            ack.set_var(Scope::Session, "name", value.as_str()).expect("the variable is valid");
        }
        ack.finish().expect("the ACK fits into a frame");
        None
    };
    bencher.bench_local(|| steady.turn(divan::black_box(&input), handle, black_box_bytes));
}

/// Makes the compiler assume that the bytes are used.
fn black_box_bytes(bytes: &[u8]) {
    divan::black_box(bytes);
}

/// An agent on `spop`: its codec, driven as by `Framed`, with buffers that are reused.
#[derive(Default)]
struct Spop {
    codec: SpopCodec,
    read: BytesMut,
    unsent: BytesMut,
}

impl Spop {
    fn turn(&mut self, input: &[u8], mut out: impl FnMut(&[u8])) {
        self.read.extend_from_slice(input);
        while let Some(frame) = self.codec.decode(&mut self.read).expect("the input is a frame") {
            assert_eq!(*frame.frame_type(), FrameType::Notify);
            let FramePayload::ListOfMessages(messages) = frame.payload() else { panic!("a NOTIFY has messages") };
            let metadata = frame.metadata();
            let mut ack = spop::frames::Ack::new(metadata.stream_id, metadata.frame_id);
            for message in messages.iter().filter(|message| message.name == "check-client-ip") {
                if let Some((_, TypedData::IPv4(address))) = message.args.first() {
                    ack = ack.set_var(VarScope::Session, "ip_score", u32::from(address.octets()[3]));
                }
            }
            self.codec.encode(Box::new(ack), &mut self.unsent).expect("the ACK fits into a frame");
        }
        out(&self.unsent);
        self.unsent.clear();
    }
}
