//! Events for TensorBoard on real runs: the run is the same with and without them, and each event is there once, however the run came
//! about.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::whole_runs::{Run, TestFolder, assert_same_checkpoint, exit_with, program, stdout, succeed};

/// The contents of the frames of all event files in a folder, without their checksums, those of later files last.
fn contents(folder: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
    paths
        .retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("events.out.tfevents.")));
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let bytes = fs::read(&path).expect("events");
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().expect("8 bytes")) as usize;
            found.push(rest[12..12 + length].to_vec());
            rest = &rest[16 + length..];
        }
    }
    found
}

/// Those that show something: not the format of a file, nor the begin of a start.
fn shown(folder: &Path) -> Vec<Vec<u8>> {
    // Field 5, a summary, stands behind the time (9 bytes) and the step (2 to 3 bytes).
    contents(folder).into_iter().filter(|event| event[11] == 0x2a || event[12] == 0x2a).collect()
}

/// The count of each event.
fn counted(events: Vec<Vec<u8>>) -> BTreeMap<Vec<u8>, usize> {
    let mut counts = BTreeMap::new();
    events.into_iter().for_each(|event| *counts.entry(event).or_default() += 1);
    counts
}

/// The events of a finished run are those of its records and pictures.
fn assert_is_its_export(place: &TestFolder, run: &Run, events: usize) {
    let board = place.path("board");
    let mut command = program("report");
    command.arg(run.path()).arg("--tensorboard").arg(&board);
    let output = stdout(&succeed(command));
    assert!(
        output.starts_with(&format!("events  {}/00000-quick-b8/events.out.tfevents.", board.display())),
        "{output}"
    );
    // The settings are those of the first start, and now those of the last.
    let without_settings = |folder: &Path| {
        let mut all = shown(folder);
        let count = all.len();
        all.retain(|event| !event.windows(8).any(|part| part == b"settings"));
        assert_eq!(all.len(), count - 1, "the settings once");
        counted(all)
    };
    let exported = without_settings(&board.join("00000-quick-b8"));
    assert!(exported.len() == events - 1 && exported.values().all(|&count| count == 1), "{} events", exported.len());
    assert!(without_settings(run.path()) == exported, "{} of {events} events", shown(run.path()).len());
    fs::remove_dir_all(board).expect("removing");
}

#[test]
fn a_run_is_the_same_with_its_events() {
    let place = TestFolder::new();
    let words = "quick --steps 12 --tick 3 --snap 4";
    let plain = place.trained("plain", words);
    let with = place.trained("with", &format!("{words} --tensorboard"));
    assert!(contents(plain.path()).is_empty());
    // The settings, real images, 4 grids and 4 records.
    assert_is_its_export(&place, &with, 10);
    assert_same_checkpoint(&with.checkpoint(12), &plain.checkpoint(12), "with events and without");
    for name in ["fakes_init.png", "fakes000004.png", "fakes000012.png", "reals.png"] {
        assert!(with.bytes(name) == plain.bytes(name), "{name}");
    }
    assert_eq!(with.numbers(), plain.numbers());
    let all = contents(with.path()).concat();
    let has = |part: &[u8]| all.windows(part.len()).any(|bytes| bytes == part);
    assert!(has(b"brain.Event:2") && has(&with.bytes("fakes000008.png")) && has(b"batch = 8") && has(b"loss_d"));
    // Exported of a run that never wrote any.
    let mut command = program("report");
    command.arg(plain.path()).arg("--tensorboard").arg(place.path("board"));
    succeed(command);
    assert_eq!(shown(&place.path("board/00000-quick-b8")).len(), 10);
}

#[test]
fn a_resumed_run_has_each_event_once() {
    let place = TestFolder::new();
    let words = "quick --steps 12 --tick 3 --snap 4 --keep 0 --metrics swd --set eval.samples=16";
    let run = place.trained("a", &format!("{words} --tensorboard"));
    // Back to step 4, as a run that was killed before its next checkpoint: what came later comes again.
    for step in [8, 12] {
        fs::remove_dir_all(run.file(&format!("checkpoints/{step:06}"))).expect("removing");
    }
    fs::write(run.file("checkpoints/latest"), "000004").expect("writing");
    succeed(run.resume(""));
    // As above, and measurements of steps 4, 8 and 12.
    assert_is_its_export(&place, &run, 13);
    // A longer run, with the events turned off and on again.
    succeed(run.resume("--steps 16 --set train.tensorboard=false"));
    assert_eq!(shown(run.path()).len(), 13);
    succeed(run.resume("--steps 20 --set train.tensorboard=true"));
    // Two grids and two measurements more, and the records of steps 15, 16, 18 and 20.
    assert_is_its_export(&place, &run, 21);
    // At its end there is nothing to do; a picture that somebody removed is drawn again, and not shown twice.
    fs::remove_file(run.file("fakes000020.png")).expect("removing");
    succeed(run.resume(""));
    assert_is_its_export(&place, &run, 21);
    // A new run from a checkpoint of this one has the events of its whole length.
    succeed({
        let mut command = program("resume");
        command.arg(run.path()).args(["--from", "8", "--steps", "10", "--outdir"]).arg(place.path("forks"));
        command
    });
    let fork = place.run("forks");
    assert_eq!(shown(fork.path()).len(), 2 + 4 + 4 + 3, "of steps 3, 6, 9 and 10, 0, 4, 8 and 10, 4, 8 and 10");
}

#[test]
fn events_stand_in_the_place_of_a_page() {
    let place = TestFolder::new();
    let run = place.trained("a", "quick --steps 2");
    for other in ["--output a.html", "--no-nearest", "--data glyphs"] {
        let mut command = program(&format!("report --tensorboard b {other}"));
        command.arg(run.path()).current_dir(place.path("a"));
        exit_with(command, 2);
    }
    assert!(!place.path("a/b").exists());
}
