//! Samples from latents of the user's, and as arrays and archives.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use crate::whole_runs::{TestFolder, exit_with, program, stderr, stdout, succeed};

/// A `.npy` file as NumPy writes it.
fn npy(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
    let text = format!("{text:<117}\n");
    [b"\x93NUMPY\x01\x00\x76\x00", text.as_bytes(), data].concat()
}

/// Pixels and size of a PNG.
fn decoded(png: &[u8]) -> (Vec<u8>, u32, u32) {
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
    let info = reader.next_frame(&mut pixels).expect("a picture");
    (pixels, info.width, info.height)
}

#[test]
fn latents_in_and_samples_out() {
    let place = TestFolder::new();
    let run = place.trained("run", "quick --steps 3 --set init_std=0.5");
    let draw = |words: &str| {
        let mut command = program("generate");
        let paths =
            words.split_whitespace().map(|word| if word.contains('.') { place.path(word).into() } else { word.into() });
        command.arg(run.path()).args(paths.collect::<Vec<std::ffi::OsString>>()).current_dir(place.path(""));
        command
    };
    let save = |name: &str, bytes: Vec<u8>| fs::write(place.path(name), bytes).expect("writing");
    // Three latents of six values, each with a number that tells its place.
    let value = |row: usize, column: usize| (1.3 * row as f64 + 0.4 * column as f64).sin();
    let rows = || (0..3).flat_map(|row| (0..6).map(move |column| value(row, column)));
    let columns = || (0..6).flat_map(|column| (0..3).map(move |row| value(row, column)));
    let f32s =
        |values: &mut dyn Iterator<Item = f64>| values.flat_map(|v| (v as f32).to_le_bytes()).collect::<Vec<u8>>();
    save("c.npy", npy("<f4", false, "(3, 6)", &f32s(&mut rows())));
    save("fortran.npy", npy("<f4", true, "(3, 6)", &f32s(&mut columns())));
    save("double.npy", npy("<f8", false, "(3, 6)", &rows().flat_map(f64::to_le_bytes).collect::<Vec<u8>>()));
    save("one.npy", npy("<f4", false, "(1, 6)", &f32s(&mut rows().skip(12))));
    for name in ["c", "fortran", "double"] {
        let said = stdout(&succeed(draw(&format!("--latents {name}.npy --output {name}-x.npy"))));
        assert!(said.starts_with("3 samples of "), "{said}");
    }
    let array = fs::read(place.path("c-x.npy")).expect("an array");
    let (header, pixels) = array.split_at(128);
    assert!(
        String::from_utf8_lossy(header).contains("{'descr': '|u1', 'fortran_order': False, 'shape': (3, 8, 8, 1), }")
    );
    assert_eq!(pixels.len(), 3 * 64);
    assert!(pixels[..64] != pixels[64..128], "other latents, other pictures");
    for name in ["fortran", "double"] {
        assert!(fs::read(place.path(&format!("{name}-x.npy"))).expect("an array") == array, "{name}");
    }
    succeed(draw("--latents one.npy --output one-x.npy"));
    assert!(
        fs::read(place.path("one-x.npy")).expect("an array")[128..] == pixels[128..],
        "whatever is drawn beside it"
    );

    // The same samples as pictures, in a folder and in an archive.
    succeed(draw("--latents c.npy"));
    succeed(draw("--latents c.npy --zip x.zip"));
    let mut archive =
        zip::ZipArchive::new(fs::File::open(place.path("x.zip")).expect("an archive")).expect("an archive");
    assert_eq!(archive.len(), 3);
    for (i, pixels) in pixels.chunks(64).enumerate() {
        let name = format!("sample{i:04}.png");
        let mut packed = Vec::new();
        archive.by_name(&name).expect("a file").read_to_end(&mut packed).expect("a file");
        assert!(packed == fs::read(place.path("samples").join(&name)).expect("a file"), "{name}");
        assert_eq!(decoded(&packed), (pixels.to_vec(), 8, 8), "{name}");
    }
    // Seeds give names of their own, and the same bytes each time.
    for name in ["a.zip", "b.zip"] {
        succeed(draw(&format!("--seeds 3,12 --zip {name}")));
    }
    assert!(fs::read(place.path("a.zip")).expect("bytes") == fs::read(place.path("b.zip")).expect("bytes"));
    refusals(&draw, &save);
}

fn refusals(draw: &dyn Fn(&str) -> Command, save: &dyn Fn(&str, Vec<u8>)) {
    let zeros = vec![0; 72];
    save("short.npy", npy("<f4", false, "(3, 5)", &zeros[..60]));
    save("flat.npy", npy("<f4", false, "(18,)", &zeros));
    save("none.npy", npy("<f4", false, "(0, 6)", &[]));
    save("whole.npy", npy("<i4", false, "(3, 6)", &zeros));
    save("cut.npy", npy("<f4", false, "(3, 6)", &zeros[..71]));
    save("nan.npy", npy("<f4", false, "(1, 6)", &[f32::NAN.to_le_bytes(); 6].concat()));
    for (name, fragment) in [
        ("short", "expected latents [N, 6], as this generator takes them, found shape [3, 5]"),
        ("flat", "expected latents [N, z] with N from 1 to 65536, found shape [18]"),
        ("none", "found shape [0, 6]"),
        ("whole", "expected an array of f32 or f64, found one of i32"),
        ("cut", "found 71 bytes"),
        ("nan", "expected finite latents, found NaN at index 0"),
        ("missing", "can't read"),
    ] {
        let message = stderr(&exit_with(draw(&format!("--latents {name}.npy --output y.npy")), 3));
        assert!(message.contains(&format!("{name}.npy")) && message.contains(fragment), "{message}");
    }
    for (words, fragment) in [
        ("--output y.png", "pass --grid for one PNG"),
        ("--zip y.tar", "ends in .zip"),
        ("--latents c.npy --output c-x.npy", "is there already"),
        ("--zip x.zip", "is there already"),
    ] {
        let message = stderr(&exit_with(draw(words), 2));
        assert!(message.contains(fragment), "{message}");
    }
    assert!(!Path::new("y.npy").exists());
}
