//! `report` on runs as they should be: what stands in the page is what stands in the run's folder.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::html::{data, decoded, png_of};
use crate::whole_runs::{Run, TestFolder, exit_with, idx, program, stderr, stdout, succeed};

pub(super) fn report(run: &Run, words: &str) -> Command {
    let mut command = program("report");
    command.arg(run.path()).args(words.split_whitespace());
    command
}

/// The page that `report` writes into the run's folder, and its data.
pub(super) fn page_of(run: &Run, words: &str) -> (String, Value) {
    let output = succeed(report(run, words));
    assert_eq!(stdout(&output), format!("report  {}/report.html\n", run.path().display()));
    let page = fs::read_to_string(run.file("report.html")).expect("a page");
    (page.clone(), data(&page))
}

#[test]
fn the_page_has_what_the_folder_has() {
    let place = TestFolder::new();
    let run = place.trained("a", "quick --steps 12 --tick 3 --snap 4 --set target_kl=0.25 --seed 3");
    let (page, data) = page_of(&run, "");
    assert!(page.len() < 400_000, "{} bytes", page.len());
    assert_eq!((&data["live"], &data["runs"][0]["name"]), (&false.into(), &"00000-quick-b8".into()));
    let run_data = &data["runs"][0];
    assert_eq!((&run_data["state"], &run_data["step"], &run_data["steps"]), (&"done".into(), &12.into(), &12.into()));
    assert_eq!(run_data["notes"], Value::Array(Vec::new()));

    // Every number of every record, to the last bit.
    let text = fs::read_to_string(run.file("stats.jsonl")).expect("records");
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a record")).collect();
    assert_eq!(records.len(), 4);
    let figures: Vec<&String> =
        records[0].as_object().expect("an object").keys().filter(|key| *key != "step").collect();
    assert_eq!(run_data["series"].as_object().expect("series").keys().collect::<Vec<_>>(), figures);
    for key in figures {
        let series = &run_data["series"][key];
        for (index, record) in records.iter().enumerate() {
            assert_eq!(
                (&series["x"][index], series["y"][index].as_f64()),
                (&record["step"], record[key].as_f64()),
                "{key}"
            );
        }
        assert_eq!(series["y"].as_array().map(Vec::len), Some(4));
    }
    let titles: Vec<&str> =
        run_data["panels"].as_array().expect("panels").iter().filter_map(|one| one["title"].as_str()).collect();
    assert_eq!(titles.len(), 5, "{titles:?}");
    assert_eq!(run_data["panels"][1]["level"]["value"], 0.25);

    // The pictures are the files, byte for byte.
    let steps: Vec<u64> =
        run_data["snapshots"].as_array().expect("snapshots").iter().filter_map(|one| one["step"].as_u64()).collect();
    assert_eq!(steps, [0, 4, 8, 12]);
    for (index, name) in ["fakes_init.png", "fakes000004.png", "fakes000008.png", "fakes000012.png"].iter().enumerate()
    {
        assert!(png_of(&run_data["snapshots"][index]["src"]) == run.bytes(name), "{name}");
    }
    assert!(png_of(&run_data["reals"]) == run.bytes("reals.png"));

    let changed: Vec<(&str, &str)> = run_data["settings"]
        .as_array()
        .expect("settings")
        .iter()
        .filter_map(|one| Some((one["key"].as_str()?, one["value"].as_str()?)))
        .collect();
    for expected in
        [("bottleneck.target_kl", "0.25"), ("train.seed", "3"), ("train.batch", "8"), ("generator.channels", "[8, 4]")]
    {
        assert!(changed.contains(&expected), "{expected:?} is not among {changed:?}");
    }
    assert!(!changed.iter().any(|(key, _)| *key == "bottleneck.beta"), "what is as in the preset is not listed");
    assert_eq!(run_data["starts"][0]["command"][1], "train");

    // Its own file is written again; the page of the same run is the same but for its time.
    let (_, again) = page_of(&run, "");
    // Its own time alone: the run may have started in the same second.
    let timeless = |data: &Value| {
        let mut data = data.clone();
        assert!(data["made"].take().is_string());
        data
    };
    assert!(timeless(&again) == timeless(&data));
    assert!(data["runs"][0]["nearest"].is_object());
    let (_, without) = page_of(&run, "--no-nearest");
    assert!(without["runs"][0]["nearest"].is_null());
}

/// A generator that has learnt images by heart: its newest grid is the grid of the training images.
#[test]
fn copies_of_training_images_are_found() {
    let place = TestFolder::new();
    let run = place.trained("a", "quick --steps 2");
    let of = |run: &Run, words: &str| page_of(run, words).1["runs"][0]["nearest"].clone();
    let nearest = of(&run, "");
    assert_eq!(
        (&nearest["images"], &nearest["step"], &nearest["reference_count"]),
        (&44.into(), &2.into(), &44.into())
    );
    let rows = nearest["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 16);
    // Each distance by the definition, from the pictures in the page.
    for row in rows {
        let (shape, sample) = decoded(&png_of(&row["sample"]));
        assert_eq!((shape, row["nearest"].as_array().map(Vec::len)), ([8, 8, 1], Some(3)));
        let mut before = 0.0;
        for near in row["nearest"].as_array().expect("images") {
            let (_, image) = decoded(&png_of(&near["src"]));
            let squares: f64 = sample.iter().zip(&image).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
            let distance = near["distance"].as_f64().expect("a number");
            assert!(
                (distance - (squares / 64.0).sqrt()).abs() < 1e-9 && distance >= before && distance > 1.0,
                "{near}"
            );
            before = distance;
        }
    }
    assert!(nearest["sample_median"].as_f64() > Some(1.0));

    fs::copy(run.file("reals.png"), run.file("fakes000002.png")).expect("copying");
    let copied = of(&run, "");
    let images = idx(44, 8);
    for (index, row) in copied["rows"].as_array().expect("rows").iter().enumerate() {
        assert_eq!(row["nearest"][0]["distance"], 0.0, "sample {index}");
        // reals.png shows all 44 images in their order.
        assert!(decoded(&png_of(&row["nearest"][0]["src"])).1 == images[16 + index * 64..][..64], "sample {index}");
        assert!(row["nearest"][1]["distance"].as_f64() >= copied["reference"]["least"].as_f64());
    }
    assert_eq!(copied["sample_median"], 0.0);
    // No image is its own neighbour.
    assert!(copied["reference"]["least"].as_f64() > Some(1.0), "{}", copied["reference"]);

    // Moved, or others: said in the page, which is written all the same.
    let moved = place.path("moved");
    fs::rename(place.path("images-idx3-ubyte"), &moved).expect("renaming");
    let (_, data) = page_of(&run, "");
    assert!(data["runs"][0]["nearest"].is_null());
    let note = data["runs"][0]["notes"][0].as_str().expect("a note").to_string();
    assert!(note.starts_with("without the nearest training images: ") && note.contains("images-idx3-ubyte"), "{note}");
    assert_eq!(of(&run, &format!("--data {}", moved.display())), copied);
    fs::write(&moved, idx(45, 8)).expect("writing");
    let (_, data) = page_of(&run, &format!("--data {}", moved.display()));
    let note = data["runs"][0]["notes"][0].as_str().expect("a note").to_string();
    assert!(note.contains("are not those that the run was trained on: pass --data PATH"), "{note}");
}

#[test]
fn several_runs_are_laid_over_each_other() {
    let place = TestFolder::new();
    let vgan = place.trained("vgan", "quick --steps 12 --tick 3 --desc vgan");
    let gan = place.trained("gan", "quick --steps 20 --tick 2 --desc gan --set bottleneck.enabled=false");
    let mut command = program("report");
    command.arg(vgan.path()).arg(gan.path()).arg(vgan.path()).arg("/nowhere");
    command.arg("--output").arg(place.path("out/both.html"));
    let output = succeed(command);
    for part in ["is named twice and counted once", "warning: left out: /nowhere: expected the folder of a run"] {
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
    let data = data(&fs::read_to_string(place.path("out/both.html")).expect("a page"));
    let names = [&data["runs"][0]["name"], &data["runs"][1]["name"]];
    assert_eq!(names, ["00000-quick-b8-vgan", "00000-quick-b8-gan"]);
    // The last of ten records, or the mean over all four.
    for (index, run) in [&vgan, &gan].into_iter().enumerate() {
        let records = run.records();
        let records = &records[records.len().saturating_sub(10)..];
        let mean = records.iter().map(|record| record.loss_d).sum::<f64>() / records.len() as f64;
        let last = &data["runs"][index]["last"];
        assert!((last["loss_d"].as_f64().expect("a number") - mean).abs() < 1e-12);
        // A run without a bottleneck has no β.
        let beta = records.last().map(|record| record.beta).filter(|_| index == 0);
        assert_eq!(last["beta"].as_f64(), beta);
        let snapshots = data["runs"][index]["snapshots"].as_array().expect("snapshots");
        assert_eq!(snapshots.len(), 1);
        assert!(png_of(&snapshots[0]["src"]) == run.bytes(["fakes000012.png", "fakes000020.png"][index]));
    }
    let differing =
        |key: &str| data["differences"].as_array().expect("settings").iter().find(|one| one["key"] == key).cloned();
    assert_eq!(differing("bottleneck.enabled").expect("it differs")["values"], serde_json::json!(["true", "false"]));
    assert_eq!(differing("train.batch"), None);

    // A folder of runs stands for them; runs of one name are told apart.
    let copy = place.path("copies/00000-quick-b8-vgan");
    fs::create_dir_all(place.path("copies")).expect("a folder");
    let copied = Command::new("cp").arg("-r").arg(vgan.path()).arg(&copy).status();
    assert!(copied.expect("cp").success());
    let mut command = program("report");
    command.args([place.path("vgan"), place.path("copies")]).current_dir(place.path("gan"));
    assert_eq!(stdout(&succeed(command)), "report  report.html\n");
    let data = super::html::data(&fs::read_to_string(place.path("gan/report.html")).expect("a page"));
    assert!(data["runs"][0]["name"].as_str().expect("a name").ends_with("vgan/00000-quick-b8-vgan"));
    assert_eq!(data["differences"], Value::Array(Vec::new()));
}

#[test]
fn nothing_of_the_users_is_written_over() {
    let place = TestFolder::new();
    let run = place.trained("a", "quick --steps 2");
    fs::write(run.file("report.html"), "<p>mine</p>").expect("writing");
    let message = stderr(&exit_with(report(&run, ""), 3));
    assert!(
        message.contains("report.html: expected no file, or one that `report` wrote, found another one"),
        "{message}"
    );
    assert_eq!(run.bytes("report.html"), b"<p>mine</p>");
    let message = stderr(&exit_with(program("report /nowhere"), 3));
    assert!(message.contains("/nowhere: expected the folder of a run"), "{message}");
}
