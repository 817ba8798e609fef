//! Moving pictures by `animate` and `interpolate`, truncation, and the ways between seeds.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::html::decoded;
use crate::whole_runs::{Run, TestFolder, exit_with, program, stderr, stdout, succeed};

/// The frames of a GIF in red, green and blue, their size, and their times in hundredths of a second.
fn gif_frames(path: &Path) -> (Vec<Vec<u8>>, [usize; 2], Vec<u16>) {
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::RGBA);
    let mut decoder = options.read_info(fs::File::open(path).expect("a file")).expect("a GIF");
    let size = [usize::from(decoder.height()), usize::from(decoder.width())];
    let (mut frames, mut times) = (Vec::new(), Vec::new());
    while let Some(frame) = decoder.read_next_frame().expect("a frame") {
        times.push(frame.delay);
        frames.push(frame.buffer.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect());
    }
    (frames, size, times)
}

/// A command on a run.
fn on(run: &Run, command: &str, words: &str, output: &Path) -> Command {
    let mut command = program(command);
    command.arg(run.path()).args(words.split_whitespace()).arg("--output").arg(output);
    command
}

/// The picture of a seed, each pixel once: `[8, 8]` in grey.
fn sample(place: &TestFolder, run: &Run, seed: u64, words: &str) -> Vec<u8> {
    let mut command = program(&format!("generate --seeds {seed} --force {words}"));
    command.arg(run.path()).arg("--outdir").arg(place.path("samples"));
    succeed(command);
    decoded(&fs::read(place.path(&format!("samples/seed{seed:04}.png"))).expect("a sample")).1
}

#[test]
fn a_walk_moves_from_seed_to_seed_and_back() {
    let place = TestFolder::new();
    let run = place.trained("a", "quick --steps 4");
    let path = place.path("walk.gif");
    let output = succeed(on(&run, "interpolate", "--seeds 3,5,9 --frames 5 --fps 10", &path));
    assert!(stdout(&output).starts_with("12 pictures in 1.2 s of "), "{}", stdout(&output));
    let (frames, [height, width], times) = gif_frames(&path);
    assert_eq!((frames.len(), height, width), (12, 256, 256));
    assert!(times.iter().all(|&time| time == 10));
    for (frame, seed) in [(0, 3), (4, 5), (8, 9)] {
        let sample = sample(&place, &run, seed, "");
        let seen: Vec<u8> = (0..64).map(|i| frames[frame][((i / 8 * 32 + 7) * 256 + i % 8 * 32 + 20) * 3]).collect();
        assert_eq!(seen, sample, "frame {frame} is seed {seed}");
        assert!(frames[frame].chunks_exact(3).all(|pixel| pixel == [pixel[0]; 3]), "grey");
    }
    // The still picture has the same frames in its first row, with the end.
    let still = place.path("walk.png");
    succeed(on(&run, "interpolate", "--seeds 3,5 --frames 5", &still));
    let ([_, wide, _], pixels) = decoded(&fs::read(still).expect("a picture"));
    let scale = (wide + 2) / 5 - 2;
    let cell = |frame: usize| pixels[frame * (scale + 2)];
    assert_eq!([cell(0), cell(2)], [frames[0][0], frames[2][0]]);

    // Every pixel in an APNG; nothing is written over without --force.
    let apng = place.path("walk.apng");
    succeed(on(&run, "interpolate", "--seeds 3,5 --frames 3", &apng));
    let bytes = fs::read(&apng).expect("a file");
    let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().expect("a PNG");
    assert_eq!(reader.info().animation_control().map(|control| control.num_frames), Some(4));
    let mut first = vec![0; reader.output_buffer_size().expect("a size")];
    reader.next_frame(&mut first).expect("a frame");
    assert!(first.iter().zip(frames[0].chunks_exact(3)).all(|(a, b)| *a == b[0]));
    let output = exit_with(on(&run, "interpolate", "--seeds 3,5", &apng), 2);
    assert!(stderr(&output).contains("is there already: pass --force"), "{}", stderr(&output));
    let output = exit_with(on(&run, "interpolate", "", &place.path("walk.webp")), 2);
    assert!(stderr(&output).contains("expected a name that ends in .png, .gif, .apng or .mp4"), "{}", stderr(&output));
}

#[test]
fn the_way_and_the_truncation_are_those_of_the_prior() {
    let place = TestFolder::new();
    let normal = place.trained("n", "quick --steps 4 --set init_std=0.3 --set generator.prior=normal");
    let uniform = place.trained("u", "quick --steps 4 --set init_std=0.3 --set generator.prior=uniform");
    let walk = |run: &Run, words: &str| {
        let path = place.path("walk.png");
        succeed(on(run, "interpolate", &format!("--seeds 3,5 --force {words}"), &path));
        fs::read(path).expect("a picture")
    };
    assert!(walk(&normal, "") == walk(&normal, "--spherical") && walk(&normal, "") != walk(&normal, "--linear"));
    assert!(walk(&uniform, "") == walk(&uniform, "--linear"));
    assert!(walk(&normal, "--truncation 0.5") != walk(&normal, ""));
    for words in ["--spherical", "--truncation 0.5"] {
        let output = exit_with(on(&uniform, "interpolate", words, &place.path("no.png")), 2);
        assert!(stderr(&output).contains("was trained with a uniform prior"), "{}", stderr(&output));
        assert!(!place.path("no.png").exists());
    }
    // At 0 every seed is the centre's picture; at 1 nothing changes.
    assert_eq!(sample(&place, &normal, 3, "--truncation 0"), sample(&place, &normal, 4, "--truncation 0"));
    assert_eq!(sample(&place, &normal, 3, "--truncation 1"), sample(&place, &normal, 3, ""));
    assert_ne!(sample(&place, &normal, 3, ""), sample(&place, &normal, 4, ""));
    let mut command = program("generate --truncation 0.5 --grid");
    command.arg(uniform.path()).arg("--output").arg(place.path("no.png"));
    assert!(stderr(&exit_with(command, 2)).contains("no dense centre"));
}

#[test]
fn training_as_a_film_has_the_runs_own_pictures() {
    let place = TestFolder::new();
    let run = place.trained("a", "quick --steps 12 --snap 3 --data glyphs --resize 8 --channels 3");
    let path = place.path("training.apng");
    let output = succeed(on(&run, "animate", "--fps 4", &path));
    assert!(stdout(&output).starts_with("5 snapshots of "), "{}", stdout(&output));
    let bytes = fs::read(&path).expect("a file");
    let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().expect("a PNG");
    for name in ["fakes_init.png", "fakes000003.png", "fakes000006.png", "fakes000009.png", "fakes000012.png"] {
        let (_, grid) = decoded(&run.bytes(name));
        let mut frame = vec![0; reader.output_buffer_size().expect("a size")];
        reader.next_frame(&mut frame).expect("a frame");
        assert!(frame.starts_with(&grid) && frame.len() > grid.len(), "{name}");
        let delay = reader.info().frame_control().map(|frame| (frame.delay_num, frame.delay_den));
        assert_eq!(delay, Some((if name.contains("12") { 8 } else { 1 }, 4)));
    }
    // Of three frames the first and the last are those of the run; a picture that is none is passed over.
    fs::write(run.file("fakes000006.png"), b"no picture").expect("writing");
    let path = place.path("training.gif");
    let output = succeed(on(&run, "animate", "--frames 3", &path));
    assert!(stderr(&output).contains("warning: passed over: ") && stderr(&output).contains("fakes000006.png"));
    let (frames, _, times) = gif_frames(&path);
    assert_eq!((frames.len(), times), (2, vec![20, 200]));
    let empty = place.trained("b", "quick --steps 2");
    ["fakes_init.png", "fakes000002.png"].iter().for_each(|name| fs::remove_file(empty.file(name)).expect("removing"));
    let output = exit_with(on(&empty, "animate", "", &place.path("no.gif")), 3);
    assert!(stderr(&output).contains("expected grids of samples (fakes*.png), found none"), "{}", stderr(&output));
}

/// A stand-in for ffmpeg says what it was given.
#[test]
fn mp4_is_what_ffmpeg_makes_of_the_frames() {
    let place = TestFolder::new();
    let run = place.trained("a", "quick --steps 4");
    let bin = place.path("bin");
    fs::create_dir(&bin).expect("a folder");
    let path = place.path("-walk.mp4");
    let with = |words: &str| {
        let mut command = on(&run, "interpolate", &format!("--seeds 3,5 --frames 3 --force {words}"), &path);
        command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
        command
    };
    let install = |script: &str| {
        fs::write(bin.join("ffmpeg"), format!("#!/bin/sh\n[ \"$1\" = -version ] && exit 0\n{script}\n"))
            .expect("writing");
        fs::set_permissions(bin.join("ffmpeg"), fs::Permissions::from_mode(0o755)).expect("a program");
    };
    install("for last; do :; done; (echo \"$@\"; wc -c) > \"${last#file:}\"");
    succeed(with("--fps 25"));
    let text = fs::read_to_string(&path).expect("what ffmpeg wrote");
    for part in ["-pixel_format gray", "-video_size 256x256", "-framerate 25", "-pix_fmt yuv420p", "-f mp4 -y file:"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(text.lines().last().map(str::trim), Some("262144"), "four frames: {text}");

    install("cat > /dev/null; echo 'no encoder' >&2; exit 3");
    let before = fs::read(&path).expect("the file before");
    let output = exit_with(with(""), 1);
    assert!(stderr(&output).contains("-walk.mp4: ffmpeg failed: no encoder"), "{}", stderr(&output));
    install("exec 0<&-; echo 'no memory' >&2; exit 3");
    assert!(stderr(&exit_with(with(""), 1)).contains("ffmpeg failed: no memory"));
    assert!(fs::read(&path).expect("the file") == before, "the old file is untouched");

    let mut command = on(&run, "interpolate", "--force", &path);
    command.env("PATH", place.path("nothing"));
    let output = exit_with(command, 2);
    assert!(stderr(&output).contains("MP4 is written by ffmpeg, which is not installed"), "{}", stderr(&output));
    assert!(
        !fs::read_dir(place.path(""))
            .expect("a folder")
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with(".tmp-"))
    );
}
