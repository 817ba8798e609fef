//! The files of a run's folder, the files by which ranks meet, and a request of a browser.

use std::cell::OnceCell;
use std::fs;
use std::path::Path;
use std::time::Duration;

use vgan_cuda::run::env::Environment;
use vgan_cuda::run::ranks::{LaunchFolder, Meeting};
use vgan_cuda::run::report::Records;
use vgan_cuda::run::serve::request::parse;
use vgan_cuda::run::{EventLog, RunFolder, State, Status, measured, stats};
use vgan_cuda::train::revision::trained_with;

use super::{file, folder, orderly, orderly_as};

/// A state that is read can be written, and is then read as the same.
pub(crate) fn state(bytes: &[u8]) {
    let path = Path::new("000200/state.json");
    if let Some(state) = orderly(State::from_json(path, bytes)) {
        let text = state.to_json().expect("what was read can be written");
        orderly(trained_with(&state, path));
        assert_eq!(orderly(State::from_json(path, text.as_bytes())), Some(state));
    }
}

/// `stats.jsonl`, `metrics.jsonl`, `status.json`, `env.json`.
pub(crate) fn records(bytes: &[u8]) {
    let path = file("records", "x.jsonl", bytes);
    if let Some(records) = orderly(stats::read(&path)) {
        let text = orderly(stats::text_up_to(&path, u64::MAX)).expect("they were read");
        let again = file("records", "y.jsonl", text.as_bytes());
        assert_eq!(orderly(stats::read(&again)).map(|again| again.len()), Some(records.len()));
    }
    let mut shown = Records::read(&path);
    if let Some(all) = orderly(measured::read(&path)) {
        shown.add_measured(&all, &["fcd"]);
        orderly(measured::text_up_to(&path, 100));
    }
    shown.thin();
    shown.last();
    Status::read(&path);
    let env = file("records", "env.json", bytes);
    orderly(Environment::now("cpu", 1).add_to(&env));
}

/// CRC-32C, masked, as TFRecord has it.
fn masked(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    let crc = !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), bit));
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A content in TFRecord's frame.
pub(crate) fn framed(content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u64).to_le_bytes();
    [&length[..], &masked(&length).to_le_bytes(), content, &masked(content).to_le_bytes()].concat()
}

/// A file of events. Most changes of a frame break its checksum: where the first byte is `#`, what follows is put into frames, each as long
/// as the byte before it says.
pub(crate) fn events(bytes: &[u8]) {
    let mut in_frames = Vec::new();
    let mut rest = bytes.strip_prefix(b"#").unwrap_or_default();
    while let Some((&length, more)) = rest.split_first() {
        let (content, after) = more.split_at(usize::from(length).min(more.len()));
        in_frames.extend(framed(content));
        rest = after;
    }
    let bytes = if bytes.starts_with(b"#") { &in_frames[..] } else { bytes };
    thread_local! {
        static RUN: OnceCell<RunFolder> = const { OnceCell::new() };
    }
    RUN.with(|run| {
        let run = run.get_or_init(|| {
            let root = folder("events");
            let _ = fs::remove_dir_all(root.join("run"));
            RunFolder::create_named(&root, "run").expect("a folder")
        });
        for entry in fs::read_dir(run.path()).expect("the folder").flatten() {
            let path = entry.path();
            if path.is_file() {
                fs::remove_file(path).expect("a file of the last input");
            }
        }
        let path = run.path().join("events.out.tfevents.0000000001.0000.vgan-cuda");
        fs::write(&path, bytes).expect("a file");
        orderly(EventLog::begin(run, 100));
        // What is left of it is whole, so that the next start leaves it as it is; where nothing is left the file is gone.
        let left = fs::read(&path).ok();
        orderly(EventLog::begin(run, 100));
        assert_eq!(fs::read(&path).ok(), left);
        assert!(left.is_none_or(|left| left.len() <= bytes.len()));
    });
}

/// What another rank wrote, as it is read by the leader and by a rank that looks for its word in it. Nobody comes: exit code 1 at once, or
/// the others were met.
pub(crate) fn ranks(bytes: &[u8]) {
    let launch = LaunchFolder::open(&folder("ranks"), "launch").expect("a folder");
    let leader = Meeting::new(&launch, 0, 2, Duration::ZERO);
    let named = |meeting: &Meeting<'_>| String::from_utf8_lossy(bytes).replace("WORD", meeting.word());
    fs::write(launch.path().join("hello-1"), named(&leader)).expect("a file");
    orderly_as(leader.attend("a line", || Ok("a gift".into())), 1);
    let follower = Meeting::new(&launch, 1, 2, Duration::ZERO);
    fs::write(launch.path().join("answer"), named(&follower)).expect("a file");
    orderly_as(follower.attend("a line", || Ok(String::new())), 1);
}

/// A request that `--serve` reads.
pub(crate) fn request(bytes: &[u8]) {
    let _ = parse(bytes, &["localhost".to_string()]);
}
