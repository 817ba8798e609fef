//! `compare` on real runs: what it prints, what it draws, and what it does with folders that are no runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use crate::whole_runs::{Run, TestFolder, exit_with, program, stderr, stdout, succeed};

/// A run with a bottleneck, a longer one without.
fn two_runs(place: &TestFolder) -> [Run; 2] {
    [
        place.trained("vgan", "quick --steps 12 --tick 3 --desc vgan"),
        place.trained("gan", "quick --steps 20 --tick 2 --desc gan --set bottleneck.enabled=false"),
    ]
}

/// Compares with the pictures in the place's folder `out`.
fn compare(place: &TestFolder, runs: &[&Path], words: &str) -> std::process::Command {
    let mut command = program(&format!("compare {words}"));
    command.args(runs);
    if !words.contains("--output") {
        command.arg("--output").arg(place.path("out"));
    }
    command
}

/// `[height, width, 3]` of a PNG in grey or colour.
fn decode(path: &Path) -> (usize, usize, Vec<[u8; 3]>) {
    let file = fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut reader = png::Decoder::new(std::io::BufReader::new(file)).read_info().expect("a PNG");
    let mut bytes = vec![0; reader.output_buffer_size().expect("a size")];
    let info = reader.next_frame(&mut bytes).expect("a whole picture");
    let pixels = match info.color_type {
        png::ColorType::Grayscale => bytes.iter().map(|&grey| [grey; 3]).collect(),
        png::ColorType::Rgb => bytes.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
        other => panic!("{other:?}"),
    };
    (info.height as usize, info.width as usize, pixels)
}

/// The place of the whole picture in the sheet, to the pixel.
fn find(sheet: &Path, picture: &Path) -> Option<[usize; 2]> {
    let (height, width, sheet) = decode(sheet);
    let (h, w, picture) = decode(picture);
    let is_at =
        |top: usize, left: usize| (0..h).all(|y| sheet[(top + y) * width + left..][..w] == picture[y * w..(y + 1) * w]);
    let places =
        (0..=height.checked_sub(h)?).flat_map(|top| (0..=width.saturating_sub(w)).map(move |left| [top, left]));
    places.into_iter().find(|&[top, left]| is_at(top, left))
}

#[test]
fn two_runs_side_by_side() {
    let place = TestFolder::new();
    let [vgan, gan] = two_runs(&place);
    let output = succeed(compare(&place, &[vgan.path(), gan.path()], ""));
    assert_eq!(stderr(&output), "");
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("#  run                  preset  steps  loss D  loss G  KL real"), "{text}");

    // The means of the last ten records, or of all four.
    let cells = |line: &str| line.split_whitespace().map(str::to_string).collect::<Vec<_>>();
    for (line, run, steps) in [(lines[1], &vgan, "12"), (lines[2], &gan, "20")] {
        let records = run.records();
        let records = &records[records.len().saturating_sub(10)..];
        let loss = records.iter().map(|record| record.loss_d).sum::<f64>() / records.len() as f64;
        assert_eq!(cells(line)[2..5], ["quick".to_string(), steps.to_string(), format!("{loss:.4}")], "{text}");
    }
    assert_eq!(cells(lines[1])[..2], ["1", "00000-quick-b8-vgan"]);
    assert_eq!(cells(lines[2])[6..9], ["-", "-", "-"], "no KL and no beta: {text}");
    assert_ne!(cells(lines[1])[6], "-");
    for part in
        ["settings that differ", "bottleneck.enabled    true  false", "train.steps", "train.tick", "last 10 records"]
    {
        assert!(text.contains(part), "{text}\nlacks {part}");
    }
    assert!(!text.contains("train.batch"), "what is the same is not listed: {text}");

    let svg = fs::read_to_string(place.path("out/curves.svg")).expect("curves");
    assert!(svg.contains("1  00000-quick-b8-vgan") && svg.contains("2  00000-quick-b8-gan"));
    // The legend's stroke and six panels; without a bottleneck three of them.
    for (colour, lines) in [("#1F77B4", 7), ("#E66E14", 4)] {
        let drawn = svg.split("<polyline").filter(|tag| tag.contains(&format!("stroke=\"{colour}\""))).count();
        assert_eq!(drawn, lines, "{colour}");
    }
    let sheet = place.path("out/samples.png");
    let places = [(&vgan, "fakes000012.png"), (&gan, "fakes000020.png")]
        .map(|(run, name)| find(&sheet, &run.file(name)).unwrap_or_else(|| panic!("{name} is not on the sheet")));
    let width = decode(&vgan.file("fakes000012.png")).1;
    assert_eq!(places[0][0], places[1][0], "in one row");
    assert!(places[1][1] > places[0][1] + width);
    let (height, sheet_width, _) = decode(&sheet);
    assert_eq!((height, sheet_width), (24 + 37 + width + 24, 24 + 2 * (width + 24)));

    // Its own files are written again; the same runs give the same.
    let before = fs::read(&sheet).expect("the sheet");
    succeed(compare(&place, &[vgan.path(), gan.path()], "--smooth 3"));
    assert!(fs::read(&sheet).expect("the sheet") == before);
    let smooth = fs::read_to_string(place.path("out/curves.svg")).expect("curves");
    assert!(smooth.contains("means of 3 records") && smooth.len() > svg.len());
    json_and_pipes(&place, &vgan, &gan);
}

fn json_and_pipes(place: &TestFolder, vgan: &Run, gan: &Run) {
    let output = succeed(compare(place, &[vgan.path(), gan.path()], "--json"));
    let lines: Vec<serde_json::Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["number"], &lines[1]["steps"], &lines[1]["samples_step"]),
        (&1.into(), &20.into(), &20.into())
    );
    assert_eq!(lines[1]["settings"]["bottleneck.enabled"], false);
    assert!(lines[0]["kl_real"].is_f64() && lines[1]["kl_real"].is_null());
    assert_eq!(lines[0]["beta"].as_f64(), vgan.records().last().map(|record| record.beta));
    assert!(lines[0]["settings"].get("train.batch").is_none());

    // Nobody reads: the pictures are there all the same, and nothing complains.
    fs::remove_dir_all(place.path("out")).expect("removing");
    for words in ["", "--json"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = compare(place, &[vgan.path(), gan.path()], words);
        command.stdout(writer).stderr(Stdio::piped());
        let output: Output = command.spawn().and_then(|child| child.wait_with_output()).expect("the program runs");
        assert_eq!((output.status.code(), stdout(&output)), (Some(0), String::new()));
        assert!(!stderr(&output).contains("error") && !stderr(&output).contains("panicked"), "{}", stderr(&output));
        assert!(place.path("out/samples.png").is_file());
    }
}

/// Each folder is harmed in its own way; the whole ones are compared all the same.
#[test]
fn what_is_no_run_is_named_and_left_out() {
    let place = TestFolder::new();
    let [vgan, gan] = two_runs(&place);
    let plain = place.path("just a folder");
    fs::create_dir(&plain).expect("a folder");
    let runs = [vgan.path(), &plain, Path::new("/nowhere/at/all"), gan.path(), vgan.path()];
    let output = succeed(compare(&place, &runs, ""));
    for part in [
        "warning: left out: ",
        "just a folder: expected the folder of a run",
        "/nowhere/at/all: expected the folder of a run, with config.toml and checkpoints/, found no such folder",
        "is named twice and counted once",
    ] {
        assert!(stderr(&output).contains(part), "{}\nlacks {part}", stderr(&output));
    }
    assert_eq!(stdout(&output).lines().filter(|line| line.contains("quick")).count(), 2);

    // Nothing left: an error of its own, or that of the only folder.
    let output = exit_with(compare(&place, &[&plain], ""), 3);
    assert!(stderr(&output).starts_with("error: ") && stderr(&output).contains("without config.toml"));
    let output = exit_with(compare(&place, &[&plain, Path::new("/nowhere")], ""), 3);
    assert!(stderr(&output).contains("here or in what follows it, found none"), "{}", stderr(&output));

    // Neither records nor pictures.
    let bare = place.trained("bare", "quick --steps 2 --desc bare");
    fs::rename(bare.path(), place.path("ünïcödé β")).expect("renaming");
    let bare = place.path("ünïcödé β");
    fs::write(bare.join("stats.jsonl"), b"{}\n{}\n").expect("writing");
    for name in ["fakes_init.png", "fakes000002.png"] {
        fs::write(bare.join(name), b"no picture").expect("writing");
    }
    let output = succeed(compare(&place, &[&bare], ""));
    for part in ["without its records", "a record in line 1", "fakes000002.png: expected a PNG", "no grid of samples"] {
        assert!(stderr(&output).contains(part), "{}\nlacks {part}", stderr(&output));
    }
    // The pictures of the comparison before would seem to be of this run.
    assert!(!place.path("out/curves.svg").exists() && !place.path("out/samples.png").exists());
    assert!(stdout(&output).contains("ünïcödé β  quick"), "{}", stdout(&output));
    let output = succeed(compare(&place, &[&bare, gan.path()], ""));
    assert!(fs::read_to_string(place.path("out/curves.svg")).expect("curves").contains("2  00000-quick-b8-gan"));
    assert!(find(&place.path("out/samples.png"), &gan.file("fakes000020.png")).is_some());
    assert!(
        stdout(&output).lines().any(|line| line.starts_with("1  ünïcödé β           quick       -")),
        "{}",
        stdout(&output)
    );

    // A line that a crash cut short is passed over; a broken configuration leaves the run out.
    let text = fs::read(vgan.file("stats.jsonl")).expect("records");
    fs::write(vgan.file("stats.jsonl"), [&text, &b"{\"step\":99"[..]].concat()).expect("writing");
    fs::write(gan.file("config.toml"), b"[nonsense").expect("writing");
    let output = succeed(compare(&place, &[vgan.path(), gan.path()], ""));
    assert!(stderr(&output).contains("left out") && stderr(&output).contains("config.toml: expected TOML (line 1"));
    assert!(stdout(&output).contains("00000-quick-b8-vgan"));
}

#[test]
fn grey_and_colour_of_many_sizes_share_a_sheet() {
    let place = TestFolder::new();
    let [vgan, _] = two_runs(&place);
    let colour = place.trained("colour", "quick --steps 2 --data glyphs --resize 12 --channels 3 --desc vgan");
    let runs: Vec<PathBuf> = (0..9).map(|i| place.path(&format!("copies/{i}/00000-vgan"))).collect();
    for (i, copy) in runs.iter().enumerate() {
        let original = if i % 2 == 0 { &vgan } else { &colour };
        fs::create_dir_all(copy.parent().expect("a parent")).expect("a folder");
        let copied = std::process::Command::new("cp").arg("-r").arg(original.path()).arg(copy).status();
        assert!(copied.expect("cp").success());
    }
    let paths: Vec<&Path> = runs.iter().map(PathBuf::as_path).collect();
    let output = succeed(compare(&place, &paths, ""));
    // Nine folders of one name are told apart by their paths, and the ninth run's lines are dashed.
    assert!(stdout(&output).contains("copies/3/00000-vgan"), "{}", stdout(&output));
    assert!(stdout(&output).contains("#9"), "{}", stdout(&output));
    let sheet = place.path("out/samples.png");
    for picture in [vgan.file("fakes000012.png"), colour.file("fakes000002.png")] {
        assert!(find(&sheet, &picture).is_some(), "{}", picture.display());
    }
}

#[test]
fn nothing_of_the_users_is_written_over() {
    let place = TestFolder::new();
    let run = place.trained("vgan", "quick --steps 2");
    let before = run.bytes("curves.svg");
    let output = exit_with(compare(&place, &[run.path()], &format!("--output {}", run.path().display())), 3);
    let message = stderr(&output);
    assert!(message.contains("curves.svg: expected no file, or one that `compare` wrote"), "{message}");
    assert!(message.contains("pass another --output"), "{message}");
    assert!(run.bytes("curves.svg") == before && !run.file("samples.png").exists());
    let file = place.path("images-idx3-ubyte");
    let output = exit_with(compare(&place, &[run.path()], &format!("--output {}", file.display())), 1);
    assert!(stderr(&output).contains("images-idx3-ubyte"), "{}", stderr(&output));
}
