//! Files of events for TensorBoard. A resume takes out of them what a crash cut short and what is no event, says nothing of it, and goes on:
//! what is left is the good events up to its step, byte for byte.

use std::fs;

use vgan_cuda::run::{EventLog, RunFolder};

use super::*;
use crate::fuzz_inputs::runs::framed;

/// A malformed file, and what is left of it; nothing where the file goes.
struct Damaged {
    name: String,
    bytes: Vec<u8>,
    left: Vec<u8>,
}

/// Varints as protocol buffers have them.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 127 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &varint(content.len() as u64), content].concat()
}

/// An event of one scalar: time, step, summary.
fn event(step: u64, tag: &[u8]) -> Vec<u8> {
    let value = [field(1, tag), vec![2 << 3 | 5, 0, 0, 0, 63]].concat();
    [vec![1 << 3 | 1, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f], with_step(step), field(5, &field(1, &value))].concat()
}

fn with_step(step: u64) -> Vec<u8> {
    [&[2 << 3][..], &varint(step)].concat()
}

fn version() -> Vec<u8> {
    [vec![1 << 3 | 1, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f], field(3, b"brain.Event:2")].concat()
}

/// Contents that are no events though their checksums are right.
fn contents() -> Vec<(&'static str, Vec<u8>)> {
    let good = event(40, b"loss_g");
    let summary = |value: &[u8]| [with_step(40), field(5, value)].concat();
    vec![
        ("a key alone", vec![0x10]),
        ("a varint without its end", vec![0x10, 0x80, 0x80]),
        ("a varint of 11 bytes", [&[0x10][..], &[0xff; 11]].concat()),
        ("a key without an end", vec![0xff; 12]),
        ("a fixed number of 7 bytes", vec![0x09, 0, 0, 0, 0, 0, 0, 0]),
        ("a fixed number of 3 bytes", vec![0x0d, 0, 0, 0]),
        ("the start of a group", vec![0x0b]),
        ("the end of a group", vec![0x0c]),
        ("wire type 6", vec![0x0e, 0]),
        ("wire type 7", vec![0x0f, 0]),
        ("a length beyond the end", [vec![0x2a, 200], vec![0; 20]].concat()),
        ("a length of 2^63", [vec![0x2a], varint(1 << 63), vec![0; 20]].concat()),
        ("a length of 2^64 - 1", [vec![0x2a], varint(u64::MAX), vec![0; 20]].concat()),
        ("an event cut after its time", good[..9].iter().copied().chain([0x10]).collect()),
        ("an event cut in its summary", good[..good.len() - 3].to_vec()),
        ("an event cut in its tag", good[..good.len() - 8].to_vec()),
        ("a summary that is a number", [with_step(40), vec![0x28, 1]].concat().into_iter().chain([0x80]).collect()),
        ("a value that is a number", summary(&[0x08, 1])),
        ("a value of fixed length", summary(&[0x0d, 0, 0, 0, 0])),
        ("a value that is no message", summary(&field(1, &[0xff]))),
        ("a summary that is no message", summary(&[0xff])),
        ("a second summary that is no message", [summary(&field(1, &field(1, b"a"))), field(5, &[0x0b])].concat()),
        ("text", b"step 40: loss_g 0.5".to_vec()),
        ("a picture", b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR".to_vec()),
        ("a step after the resume's", event(101, b"loss_g")),
        ("a step far after", event(1 << 40, b"samples")),
        ("a step of 2^64 - 1", event(u64::MAX, b"loss_g")),
        ("two steps, the last too late", [with_step(1), event(4000, b"loss_g")].concat()),
    ]
}

fn damaged() -> Vec<Damaged> {
    let frames = [version(), event(7, b"loss_d"), event(50, b"samples")].map(|event| framed(&event));
    let whole = frames.concat();
    let mut all = Vec::new();
    let mut add = |name: String, bytes: Vec<u8>, left: Vec<u8>| all.push(Damaged { name, bytes, left });
    // Each frame in turn: what is before it stays, and a file without any figure goes.
    for (number, frame) in frames.iter().enumerate() {
        let start: usize = frames[..number].iter().map(Vec::len).sum();
        let left = if number < 2 { Vec::new() } else { whole[..start].to_vec() };
        let end = frame.len();
        for (what, at) in
            [("length", 0), ("last byte of the length", 7), ("checksum of the length", 9), ("content", 12)]
        {
            let bytes = with(whole.clone(), start + at, whole[start + at] ^ 0x40);
            add(format!("frame {number}: {what}"), bytes, left.clone());
        }
        let bytes = with(whole.clone(), start + end - 1, whole[start + end - 1] ^ 1);
        add(format!("frame {number}: checksum of the content"), bytes, left.clone());
        for (what, at) in
            [("its length", 5), ("the checksum of its length", 10), ("its content", 20), ("its checksum", end - 2)]
        {
            add(format!("frame {number}: cut in {what}"), cut(whole.clone(), start + at), left.clone());
        }
    }
    for (name, content) in contents() {
        let bytes = [&frames[0][..], &frames[1], &framed(&content), &frames[2]].concat();
        add(name.into(), bytes, whole.clone());
    }
    let lying = |length: u64| {
        let mut frame = framed(b"");
        frame[..8].copy_from_slice(&length.to_le_bytes());
        // The checksum of a frame's length is that of a content of the same bytes.
        let of_length = framed(&length.to_le_bytes());
        frame[8..12].copy_from_slice(&of_length[20..24]);
        plus(whole.clone(), &frame)
    };
    add("a frame of 2^64 - 1 bytes".into(), lying(u64::MAX), whole.clone());
    add("a frame of 2^63 bytes".into(), lying(1 << 63), whole.clone());
    add("a frame of 1 GiB".into(), lying(1 << 30), whole.clone());
    add("a frame one byte too long".into(), lying(5), whole.clone());
    add("zeros behind".into(), plus(whole.clone(), &[0; 64]), whole.clone());
    add("text behind".into(), plus(whole.clone(), b"killed\n"), whole.clone());
    add("nothing".into(), Vec::new(), Vec::new());
    add("an empty frame alone".into(), framed(b""), Vec::new());
    add("text alone".into(), b"brain.Event:2".to_vec(), Vec::new());
    add("a gzipped file".into(), crate::data_samples::gz(&whole), Vec::new());
    add("a byte before".into(), plus(vec![0], &whole), Vec::new());
    add("its first byte missing".into(), whole[1..].to_vec(), Vec::new());
    all
}

pub(crate) fn all() -> Vec<Case> {
    let case = |Damaged { name, bytes, .. }| Case { name, bytes, says: String::new() };
    table("events", damaged().into_iter().map(case).collect())
}

#[test]
fn malformed_events_are_taken_out() {
    let folder = tempdir().unwrap();
    let run = RunFolder::create_named(folder.path(), "run").unwrap();
    let path = run.path().join("events.out.tfevents.0000000001.0000.vgan-cuda");
    let cases = damaged();
    assert_eq!(all().len(), cases.len());
    for Damaged { name, bytes, left } in cases {
        fs::write(&path, bytes).unwrap();
        EventLog::begin(&run, 100).expect(&name);
        let found = fs::read(&path).unwrap_or_default();
        assert!(found == left, "{name}: {} bytes are left, and should be {}", found.len(), left.len());
        for entry in fs::read_dir(run.path()).unwrap().flatten().filter(|entry| entry.path().is_file()) {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}
