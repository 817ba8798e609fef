//! The events of a run's folder, read back frame by frame and field by field.

use std::collections::BTreeMap;

use super::message::{Field, fields, seen};
use super::*;
use crate::run::Setup;
use crate::run::picture::write_grid;
use crate::run::stats::StatsLog;
use crate::run::stats::tests::record;

/// A run with records at steps 20, 40, … and grids at steps 0, 40, ….
fn run(steps: u64) -> (tempfile::TempDir, RunFolder) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("checkpoints")).unwrap();
    fs::write(folder.path().join("config.toml"), "[train]\nbatch = 8\n").unwrap();
    fs::write(folder.path().join("env.json"), r#"[{"start_time":"2026-01-31T12:00:00Z"},{"start_time":"x"}]"#).unwrap();
    let run = RunFolder::open(folder.path()).unwrap();
    StatsLog::create(&run.stats_path()).unwrap();
    write_grid(&run.fakes_init_path(), &[0; 8 * 12], 8, 2, 2, 3, 4, 1).unwrap();
    write_grid(&run.reals_path(), &[0; 8 * 4], 8, 2, 2, 1, 4, 1).unwrap();
    (1..=steps / 20).for_each(|i| go_on(&run, 20 * i, None));
    (folder, run)
}

/// Does what a run does at a step.
fn go_on(run: &RunFolder, step: u64, mut events: Option<&mut EventLog>) {
    let record = Record { elapsed_s: step as f64 / 4.0, ..record(step) };
    StatsLog::resume(&run.stats_path(), step - 1).unwrap().append(&record).unwrap();
    if let Some(events) = &mut events {
        events.record(&record).unwrap();
    }
    if step.is_multiple_of(40) {
        write_grid(&run.snapshot_picture_path(step), &[step as u8; 8 * 4], 8, 2, 2, 1, 4, 1).unwrap();
        if let Some(events) = events {
            events.samples(step, &run.snapshot_picture_path(step)).unwrap();
        }
    }
}

/// The events of all files in the order in which TensorBoard reads them, as step and tags, but for those without tags.
fn all(folder: &Path) -> Vec<(u64, Vec<String>)> {
    let mut found = Vec::new();
    for path in files(folder) {
        let bytes = fs::read(path).unwrap();
        let contents = frame::contents(&bytes);
        assert_eq!(contents.iter().map(|content| content.len() + 16).sum::<usize>(), bytes.len(), "whole frames only");
        found.extend(contents.into_iter().map(|content| seen(content).unwrap()).map(|seen| (seen.step, seen.tags)));
    }
    found.retain(|(_, tags)| !tags.is_empty());
    found
}

#[test]
fn a_run_without_records_has_taken_no_time() {
    let (_folder, run) = run(0);
    assert_eq!(EventLog::begin(&run, 0).unwrap().elapsed, 0.0);
    let (_folder, run) = self::run(40);
    assert_eq!(EventLog::begin(&run, 40).unwrap().elapsed, 10.0);
}

#[test]
fn an_export_has_every_record_and_picture() {
    let (folder, run) = run(80);
    let to = folder.path().join("board/run");
    let path = export(&run, &to).unwrap();
    assert_eq!(path.file_name().unwrap(), "events.out.tfevents.1769860800.0000.vgan-cuda");
    let found = all(&to);
    let tags: Vec<(u64, &str)> = found.iter().map(|(step, tags)| (*step, tags[0].as_str())).collect();
    let expected = [
        (0, "settings"),
        (0, "reals"),
        (0, "samples"),
        (20, "beta"),
        (40, "beta"),
        (40, "samples"),
        (60, "beta"),
        (80, "beta"),
        (80, "samples"),
    ];
    assert_eq!(tags, expected);
    let names = [
        "beta",
        "d_fake",
        "d_real",
        "elapsed_s",
        "epoch",
        "images_per_s",
        "kl_fake",
        "kl_real",
        "loss_d",
        "loss_g",
        "penalty",
    ];
    assert_eq!(found[3].1, names);
    export(&run, &to).unwrap();
    assert_eq!(all(&to), found, "written over, and not doubled");
    // What samples were measured to be.
    let setup = Setup { samples: 9, seed: 0, reals: 9, data: "d".into(), classifier: None, inception: None };
    let figures = BTreeMap::from([("fcd".to_string(), 70.5), ("kid".to_string(), f64::NAN)]);
    Measured { step: 40, setup, figures }.append_to(&run.metrics_path()).unwrap();
    export(&run, &to).unwrap();
    let with: Vec<_> = all(&to).into_iter().filter(|event| !found.contains(event)).collect();
    assert_eq!(with, [(40, vec!["metrics/fcd".to_string()])]);
}

#[test]
fn the_fields_are_those_of_the_protocol() {
    let (folder, run) = run(40);
    let path = export(&run, folder.path()).unwrap();
    let bytes = fs::read(path).unwrap();
    let events: Vec<_> = frame::contents(&bytes).into_iter().map(|content| fields(content).unwrap()).collect();
    let time = |event: &[(u64, Field<'_>)]| match event[0] {
        (1, Field::Fixed(bytes)) => f64::from_le_bytes(bytes.try_into().unwrap()),
        ref other => panic!("{other:?}"),
    };
    assert_eq!(events[0][2], (3, Field::Bytes(b"brain.Event:2")));
    // The start, and 20 steps later 5 seconds.
    assert_eq!([time(&events[0]), time(&events[4])], [1_769_860_800.0, 1_769_860_805.0]);
    let value = |event: usize| {
        let (5, Field::Bytes(summary)) = events[event][2] else { panic!("{:?}", events[event]) };
        let (1, Field::Bytes(value)) = fields(summary).unwrap()[0] else { panic!("no value") };
        fields(value).unwrap()
    };
    let text = value(1);
    assert_eq!(text[0], (1, Field::Bytes(b"settings")));
    let (8, Field::Bytes(tensor)) = text[1] else { panic!("{text:?}") };
    assert_eq!(fields(tensor).unwrap()[2], (8, Field::Bytes(b"    [train]\n    batch = 8\n")));
    let (4, Field::Bytes(image)) = value(3)[1] else { panic!("{:?}", value(3)) };
    let image = fields(image).unwrap();
    // Two rows of four images of 2×2 with gaps of 2 pixels.
    assert_eq!(image[..3], [(1, Field::Number(6)), (2, Field::Number(14)), (3, Field::Number(3))]);
    let png = fs::read(run.fakes_init_path()).unwrap();
    assert_eq!(image[3], (4, Field::Bytes(&png)));
    let beta = value(4);
    assert_eq!(beta[1], (2, Field::Fixed(&(1e-7 * 20.0_f64 as f32).to_le_bytes())));
}

#[test]
fn a_resumed_run_has_each_event_once() {
    let (_whole, expected_run) = run(120);
    EventLog::begin(&expected_run, 120).unwrap();
    let expected = all(expected_run.path());
    assert_eq!(expected.len(), 3 + 6 + 3);

    let (_folder, run) = run(0);
    let mut events = EventLog::begin(&run, 0).unwrap();
    (1..=5).for_each(|i| go_on(&run, 20 * i, Some(&mut events)));
    // Killed within an event; its newest checkpoint is of step 40.
    events.file.write_all(&[9; 13]).unwrap();
    for i in 3..=4 {
        fs::remove_file(run.snapshot_picture_path(20 * i)).ok();
    }
    StatsLog::resume(&run.stats_path(), 40).unwrap();
    let mut events = EventLog::begin(&run, 40).unwrap();
    assert_eq!(all(run.path()), expected[..6]);
    go_on(&run, 60, Some(&mut events));
    // Stopped and resumed at once, twice, with nothing in between.
    EventLog::begin(&run, 60).unwrap();
    let mut events = EventLog::begin(&run, 60).unwrap();
    (4..=6).for_each(|i| go_on(&run, 20 * i, Some(&mut events)));
    assert_eq!(all(run.path()), expected);
    assert_eq!(files(run.path()).len(), 3, "files without an event do not pile up");

    // Events that somebody removed come again from the records.
    fs::remove_file(&files(run.path())[1]).unwrap();
    fs::remove_file(&files(run.path())[1]).unwrap();
    EventLog::begin(&run, 120).unwrap();
    assert_eq!(all(run.path()), expected);
}

/// The event that makes a TensorBoard forget: `SessionLog.START` of the first step that comes again.
#[test]
fn a_second_file_begins_with_a_session_log() {
    let (_folder, run) = run(40);
    EventLog::begin(&run, 40).unwrap();
    EventLog::begin(&run, 40).unwrap();
    let bytes = fs::read(&files(run.path())[1]).unwrap();
    let contents = frame::contents(&bytes);
    assert_eq!(fields(contents[1]).unwrap()[1..], [(2, Field::Number(41)), (7, Field::Bytes(&[8, 1]))]);
}
