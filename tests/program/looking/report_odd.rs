//! `report` on runs as they may be: going on, damaged, of another version, with names that would be HTML, and large.

use std::fs;

use serde_json::Value;

use super::html::{element, png_of};
use super::report::{page_of, report};
use crate::whole_runs::{Run, TestFolder, send, stderr, succeed, wait_for};

const HOSTILE: &str = "<img src=x onerror=alert(1)>\"'&amp;<!--<script>";

/// Whatever a run's files say is text in the page.
#[test]
fn text_of_a_run_never_becomes_html() {
    let place = TestFolder::new();
    let run = place.trained("a", "quick --steps 2");
    let path = place.path(&format!("a/{HOSTILE}"));
    fs::rename(run.path(), &path).expect("renaming");
    let run = Run::at(&path);
    let end = "</script><script>alert(1)</script>\u{2028}";
    fs::write(
        run.file("status.json"),
        serde_json::json!({"outcome": "failed", "step": 2, "steps": 9, "message": end}).to_string(),
    )
    .expect("writing");
    let start = serde_json::json!([{"device": end, "command": ["train", end], end: HOSTILE}]);
    fs::write(run.file("env.json"), start.to_string()).expect("writing");
    let record = fs::read_to_string(run.file("stats.jsonl")).expect("records");
    let hostile = serde_json::to_string(end).expect("JSON");
    let record = record.replace("{\"step\"", &format!("{{{hostile}:3,\"step\""));
    fs::write(run.file("stats.jsonl"), record).expect("writing");
    fs::write(run.file(&format!("fakes{HOSTILE}.png")), b"").expect("writing");

    let (page, data) = page_of(&run, "");
    assert!(!page.contains("alert(1)<") && !page.contains("<img") && !page.contains("</script><script>alert"));
    let title = element(&page, "<title>");
    assert_eq!(title, "&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;amp;&lt;!--&lt;script&gt;");
    // And it is there as it was, for the script to show.
    let run = &data["runs"][0];
    assert_eq!((&run["name"], &run["message"], &run["state"]), (&HOSTILE.into(), &end.into(), &"failed".into()));
    assert_eq!((&run["starts"][0]["device"], &run["starts"][0][end]), (&end.into(), &HOSTILE.into()));
    assert_eq!(run["series"][end]["y"][0], 3.0);
    assert!(
        run["panels"].as_array().expect("panels").iter().any(|panel| panel["title"] == end),
        "an unknown figure has a panel"
    );
}

#[test]
fn what_cannot_be_read_is_left_out_and_said() {
    let place = TestFolder::new();
    let run = place.trained("a", "quick --steps 8 --tick 2 --snap 4");
    let message = |data: &Value, index: usize| data["runs"][0]["notes"][index].as_str().expect("a note").to_string();

    // A line that was cut short is passed over; one within is counted; figures of a file beside are shown.
    let text = fs::read_to_string(run.file("stats.jsonl")).expect("records");
    let lines: Vec<&str> = text.lines().collect();
    fs::write(run.file("stats.jsonl"), format!("{}\nnonsense\n{}\n{{\"step\":99,\"lo", lines[0], lines[2]))
        .expect("writing");
    let measured = |step, swd: f64| {
        format!(
            "{{\"step\":{step},\"samples\":9,\"seed\":0,\"reals\":9,\"data\":\"d\",\"swd\":{swd:?},\"swd_28\":1.0}}\n"
        )
    };
    fs::write(run.file("metrics.jsonl"), measured(4, 70.5) + &measured(8, 31.25) + "{\"step\":12,\"sa")
        .expect("writing");
    // One picture cut short, one gone, one that is a folder.
    let picture = run.bytes("fakes000004.png");
    fs::write(run.file("fakes000004.png"), &picture[..picture.len() - 4]).expect("writing");
    fs::remove_file(run.file("fakes_init.png")).expect("removing");
    fs::create_dir(run.file("fakes000006.png")).expect("a folder");
    fs::remove_file(run.file("reals.png")).expect("removing");
    fs::write(run.file("env.json"), "{").expect("writing");
    let (_, data) = page_of(&run, "");
    let found = &data["runs"][0];
    assert_eq!(found["series"]["swd"], serde_json::json!({"x": [4, 8], "y": [70.5, 31.25]}));
    assert_eq!(found["series"]["loss_d"]["x"], serde_json::json!([2, 6]));
    assert!(found["series"].get("swd_28").is_none() && found["series"].get("samples").is_none());
    assert_eq!(message(&data, 0), "1 line of the records can't be read and are left out");
    assert_eq!(message(&data, 1), "fakes000004.png is no whole PNG, and left out");
    assert_eq!(message(&data, 2), "fakes000006.png is no whole PNG, and left out");
    assert_eq!((found["snapshots"].as_array().map(Vec::len), &found["snapshots"][0]["step"]), (Some(1), &8.into()));
    assert!(found["reals"].is_null() && found["starts"] == Value::Array(Vec::new()));

    // Another version's run: its configuration has settings that this one does not know, its records figures.
    fs::write(run.file("config.toml"), "preset = \"vgan-mnist\"\n[train]\nwarmup = 3\n").expect("writing");
    fs::write(run.file("stats.jsonl"), "{\"step\":5,\"loss_d\":1,\"loss_q\":2}\n").expect("writing");
    let output = succeed(report(&run, ""));
    assert!(stderr(&output).contains("note: 00000-quick-b8: config.toml can't be read: "), "{}", stderr(&output));
    let data = super::html::data(&fs::read_to_string(run.file("report.html")).expect("a page"));
    let titles: Vec<&Value> =
        data["runs"][0]["panels"].as_array().expect("panels").iter().map(|panel| &panel["title"]).collect();
    assert_eq!(titles, ["Loss", "SWD (patches, ×1000)", "loss_q"]);
    assert!(data["runs"][0]["settings"].is_null() && data["runs"][0]["nearest"].is_null());

    // Measurements of another kind.
    fs::write(run.file("metrics.jsonl"), "{\"step\":4,\"fid\":70.5}\n").expect("writing");
    let (_, data) = page_of(&run, "");
    assert!(message(&data, 1).starts_with("metrics.jsonl can't be read: expected a measurement in line 1"), "{data}");

    // Nothing but what makes it a run.
    for name in ["stats.jsonl", "status.json", "metrics.jsonl", "fakes000004.png", "fakes000008.png"] {
        fs::remove_file(run.file(name)).expect("removing");
    }
    fs::remove_dir_all(run.file("checkpoints")).expect("removing");
    fs::create_dir(run.file("checkpoints")).expect("a folder");
    let (_, data) = page_of(&run, "");
    assert_eq!((&data["runs"][0]["state"], &data["runs"][0]["panels"]), (&"empty".into(), &Value::Array(Vec::new())));
}

#[test]
fn a_run_that_goes_on_is_shown_and_left_alone() {
    let place = TestFolder::new();
    let mut command = place.train("a", "quick --steps 1000000 --tick 1 --snap 5");
    let mut child = command.spawn().expect("the program starts");
    let there = || {
        fs::read_dir(place.path("a")).is_ok_and(|mut runs| {
            runs.next().is_some_and(|run| run.is_ok_and(|run| run.path().join("fakes000005.png").exists()))
        })
    };
    wait_for(&mut child, "picture", there);
    let run = place.run("a");
    let (_, data) = page_of(&run, "");
    assert_eq!(data["runs"][0]["state"], "running");
    assert_eq!(data["runs"][0]["notes"], Value::Array(Vec::new()));
    assert!(data["runs"][0]["snapshots"].as_array().expect("snapshots").len() >= 2);
    assert!(data["runs"][0]["steps"] == 1_000_000);
    send(&child, "INT");
    assert_eq!(child.wait().expect("a child").code(), Some(130));
}

/// Many pictures and many records: the page stays small enough for a browser, and has the ends and the peaks.
#[test]
fn a_long_run_makes_no_longer_page() {
    let place = TestFolder::new();
    let run = place.trained("a", "quick --steps 2");
    let picture = run.bytes("fakes000002.png");
    (3..=300).for_each(|step| fs::write(run.file(&format!("fakes{step:06}.png")), &picture).expect("writing"));
    let record = fs::read_to_string(run.file("stats.jsonl")).expect("records");
    let line = record.lines().next().expect("a record");
    let peak =
        |step: u64| if step == 31_234 { line.replace("\"epoch\":", "\"epoch\":9e9,\"was\":") } else { line.into() };
    let lines: String =
        (1..=50_000).map(|step| peak(step).replace("\"step\":2,", &format!("\"step\":{step},")) + "\n").collect();
    fs::write(run.file("stats.jsonl"), lines).expect("writing");
    let (page, data) = page_of(&run, "--no-nearest");
    let found = &data["runs"][0];
    let steps: Vec<u64> =
        found["snapshots"].as_array().expect("snapshots").iter().filter_map(|one| one["step"].as_u64()).collect();
    assert_eq!((steps.len(), steps[0], steps[39], &found["snapshot_count"]), (40, 0, 300, &300.into()));
    assert!(png_of(&found["snapshots"][39]["src"]) == picture);
    assert_eq!(found["thinned"], true);
    let series = &found["series"]["epoch"];
    let x: Vec<u64> = series["x"].as_array().expect("steps").iter().filter_map(Value::as_u64).collect();
    assert!(x.len() <= 2000 && x[0] == 1 && x[x.len() - 1] == 50_000 && x.contains(&31_234), "{}", x.len());
    assert!(page.len() < 2_000_000, "{} bytes", page.len());

    // Large pictures: as many as there is room for, the last one in any case.
    let noise: Vec<u8> = (0..3_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let large = large_png(1000, &noise);
    assert!(large.len() > 2_900_000);
    (3..=300).for_each(|step| fs::remove_file(run.file(&format!("fakes{step:06}.png"))).expect("removing"));
    (3..=12).for_each(|step| fs::write(run.file(&format!("fakes{step:06}.png")), &large).expect("writing"));
    let (page, data) = page_of(&run, "--no-nearest");
    let steps: Vec<&Value> =
        data["runs"][0]["snapshots"].as_array().expect("snapshots").iter().map(|one| &one["step"]).collect();
    assert!(page.len() < 18_000_000 && page.len() > 8_000_000, "{} bytes", page.len());
    assert!(steps.len() >= 4 && *steps[0] == 0 && **steps.last().expect("one") == 12, "{steps:?}");
}

fn large_png(side: u32, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side, side);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fast);
    encoder.write_header().expect("a header").write_image_data(pixels).expect("pixels");
    bytes
}
