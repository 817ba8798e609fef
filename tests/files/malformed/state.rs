//! `state.json`, and the files that it vouches for.

use std::collections::BTreeMap as Map;
use std::fs;
use std::path::PathBuf;

use vgan_cuda::run::checkpoint::{self, Checkpoint};
use vgan_cuda::run::{DataPosition, Files, ImageShape, RngPosition, State, Tensor, Updates, tensors};

use super::*;

pub(crate) fn sample() -> Checkpoint {
    let tensor = |name: &str, shape: &[usize]| {
        let count: usize = shape.iter().product();
        Tensor { name: name.into(), shape: shape.into(), values: (0..count).map(|i| i as f32).collect() }
    };
    Checkpoint {
        model: vec![tensor("a", &[2, 3]), tensor("b", &[4])],
        optim: vec![tensor("moment", &[3])],
        state: State {
            format: 1,
            version: "0.1.0".into(),
            preset: "quick".into(),
            image: ImageShape { h: 28, w: 24, c: 3 },
            seed: 3,
            step: 200,
            batch: 128,
            samples_seen: 25_600,
            epoch: 0.5,
            beta: 0.25,
            balance: 0.75,
            updates: Updates { discriminator: 41, generator: 42, encoder: 0 },
            rng: RngPosition { step: 200 },
            data: DataPosition { position: 25_600, count: 60_000, sha256: "5".repeat(64) },
            settings: Map::new(),
            classes: None,
            changes: Vec::new(),
            origin: None,
            files: Files::default(),
        },
    }
}

/// A folder with one valid checkpoint, `000200`.
pub(crate) fn valid() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint::save(folder.path(), &sample(), 1).unwrap();
    (folder, path)
}

/// Loads what must not load, and checks what the error promises.
pub(crate) fn refused(case: &str, folder: &Path, file: &str, fragment: &str) {
    let error = match checkpoint::load(folder) {
        Ok(_) => panic!("{case}: it was loaded"),
        Err(error) => error,
    };
    assert_eq!(error.exit_code(), 3, "{case}: {error}");
    let Error::BadData { path, expected, found, .. } = &error else { panic!("{case}: {error}") };
    assert_eq!(path, &folder.join(file), "{case}");
    assert!(!expected.is_empty() && !found.is_empty(), "{case}: {error}");
    assert!(error.to_string().contains(fragment), "{case}: {error}");
}

/// A state that is good.
fn good() -> String {
    let (_keep, folder) = valid();
    fs::read_to_string(folder.join("state.json")).unwrap()
}

pub(crate) fn all() -> Vec<Case> {
    let good = good();
    let sums: Vec<&str> = good.split('"').filter(|word| word.len() == 64).collect();
    let [data_sum, sha256, _] = sums[..] else { panic!("{good}") };
    let change = |from: &str, to: &str| {
        assert_eq!(good.matches(from).count(), 1, "{from} must come once in {good}");
        good.replace(from, to).into_bytes()
    };
    let first_sha = |to: &str| good.replacen(sha256, to, 1).into_bytes();
    table(
        "state.json",
        cases(vec![
            ("empty", vec![], "found EOF while parsing"),
            ("cut in the middle", good.as_bytes()[..good.len() / 2].to_vec(), "found EOF while parsing"),
            ("zeroes", vec![0; good.len()], "expected value at line 1 column 1"),
            ("no UTF-8", [b"{\"format\":1,\"preset\":\"\xff\"}".as_slice()].concat(), "invalid unicode code point"),
            ("two objects", good.repeat(2).into_bytes(), "found trailing characters"),
            ("an array", b"[]".to_vec(), "a JSON object with \"format\": 2"),
            ("a string", b"\"state\"".to_vec(), "invalid type: string"),
            ("no fields", b"{}".to_vec(), "missing field `format`"),
            ("a comma too many", change("\"version\"", ",\"version\""), "key must be a string"),
            ("too long", [good.as_bytes(), &vec![b' '; 2 << 20]].concat(), "at most 1.0 MiB, found 2.0 MiB"),
            (
                "a newer format",
                change("\"format\": 1", "\"format\": 3"),
                "checkpoint format 1 to 2, found format 3: read it with",
            ),
            ("format 0", change("\"format\": 1", "\"format\": 0"), "checkpoint format 1 to 2, found format 0"),
            ("a negative format", change("\"format\": 1", "\"format\": -1"), "invalid value: integer `-1`"),
            ("format twice", change("\"format\": 1", "\"format\": 1, \"format\": 1"), "duplicate field `format`"),
            ("a format of text", change("\"format\": 1", "\"format\": \"1\""), "invalid type: string \"1\""),
            ("settings in a list", change("\"seed\"", "\"settings\": [3], \"seed\""), "invalid type: sequence"),
            (
                "a change of nothing",
                change("\"seed\"", "\"changes\": [{\"step\": 3}], \"seed\""),
                "missing field `key`",
            ),
            (
                "an origin without a name",
                change(
                    "\"seed\"",
                    &format!(
                        "\"origin\": {{\"run\": \"\", \"step\": 3, \"model_sha256\": \"{}\"}}, \"seed\"",
                        "5".repeat(64)
                    ),
                ),
                "expected origin.run to be 1 to 200 bytes",
            ),
            (
                "an origin of no model",
                change("\"seed\"", "\"origin\": {\"run\": \"a\", \"step\": 3, \"model_sha256\": \"5\"}, \"seed\""),
                "expected origin to be listed with a sha256",
            ),
            ("an unknown field", change("\"seed\"", "\"sead\": 1, \"seed\""), "unknown field `sead`, expected one of"),
            ("a missing field", change("\"beta\": 0.25,", ""), "missing field `beta`"),
            ("a field twice", change("\"seed\": 3", "\"seed\": 3, \"seed\": 3"), "duplicate field `seed`"),
            ("a negative step", change("\"step\": 200,", "\"step\": -200,"), "invalid value: integer `-200`"),
            ("a fractional step", change("\"step\": 200,", "\"step\": 200.0,"), "floating point `200.0`"),
            (
                "samples beyond 64 bits",
                change("\"step\": 200,", "\"step\": 18446744073709551615,"),
                "step × batch, found",
            ),
            ("a step beyond 64 bits", change("\"step\": 200,", "\"step\": 18446744073709551616,"), "invalid type"),
            (
                "the step of another folder",
                good.replace("\"step\": 200", "\"step\": 201").replace("25600", "25728").into_bytes(),
                "expected step 200, as the folder's name",
            ),
            ("a seed of text", change("\"seed\": 3", "\"seed\": \"3\""), "expected u64"),
            ("a seed that is null", change("\"seed\": 3", "\"seed\": null"), "invalid type: null"),
            (
                "a negative beta",
                change("\"beta\": 0.25", "\"beta\": -0.25"),
                "beta to be a finite number from 0, found -0.25",
            ),
            ("a k above 1", change("\"balance\": 0.75", "\"balance\": 1.25"), "balance to be from 0 to 1, found 1.25"),
            ("a beta beyond f64", change("\"beta\": 0.25", "\"beta\": 1e999"), "number out of range"),
            ("NaN", change("\"beta\": 0.25", "\"beta\": NaN"), "expected value"),
            ("a beta that is null", change("\"beta\": 0.25", "\"beta\": null"), "invalid type: null"),
            ("a beta that is a list", change("\"beta\": 0.25", "\"beta\": [0.25]"), "invalid type: sequence"),
            ("a negative epoch", change("\"epoch\": 0.5", "\"epoch\": -0.5"), "epoch to be a finite number from 0"),
            ("updates missing", change("\"discriminator\": 41,", ""), "missing field `discriminator`"),
            ("updates below 0", change("\"generator\": 42", "\"generator\": -42"), "invalid value: integer `-42`"),
            ("updates in fractions", change("\"generator\": 42", "\"generator\": 0.5"), "invalid type: floating point"),
            ("updates too many", change("\"generator\"", "\"h\": 1, \"generator\""), "unknown field `h`"),
            ("no image", change("\"height\": 28,", ""), "missing field `height`"),
            (
                "an image of no rows",
                change("\"height\": 28", "\"height\": 0"),
                "image.height to be from 1 to 65536, found 0",
            ),
            ("an endless image", change("\"width\": 24", "\"width\": 65537"), "image.width to be from 1 to 65536"),
            ("an image in fractions", change("\"width\": 24", "\"width\": 2.4"), "invalid type: floating point `2.4`"),
            ("two channels", change("\"channels\": 3", "\"channels\": 2"), "image.channels to be 1 or 3, found 2"),
            ("a negative position", change("\"position\": 25600", "\"position\": -1"), "invalid value: integer `-1`"),
            ("another position", change("\"position\": 25600", "\"position\": 25601"), "data.position to be equal to"),
            (
                "samples of other steps",
                change("\"samples_seen\": 25600", "\"samples_seen\": 25472"),
                "step × batch, found",
            ),
            ("another batch", change("\"batch\": 128", "\"batch\": 96"), "a multiple of step × batch, found 25600"),
            ("samples of no step", change("\"samples_seen\": 25600", "\"samples_seen\": 0"), "step × batch, found 0"),
            (
                "a batch beyond the data set",
                change("\"batch\": 128", "\"batch\": 92233720368547758"),
                "batch to be from 1 to data.count, found 92233720368547758",
            ),
            ("a batch of none", change("\"batch\": 128", "\"batch\": 0"), "batch to be from 1 to data.count, found 0"),
            ("no batch", change("\"batch\": 128,", ""), "missing field `batch`"),
            (
                "fewer images than a batch",
                change("\"count\": 60000", "\"count\": 127"),
                "from 1 to data.count, found 128",
            ),
            (
                "the draws of another step",
                good.replace("    \"step\": 200\n", "    \"step\": 199\n").into_bytes(),
                "rng.step to be equal to step, found 199",
            ),
            ("a short sha256 of the data", change(data_sum, "abc"), "data to be listed with a sha256 of 64"),
            ("an empty preset", change("\"quick\"", "\"\""), "preset to be 1 to 200 bytes of plain text, found \"\""),
            (
                "a preset with an escape",
                change("\"quick\"", "\"\\u001b[2J\""),
                "preset to be 1 to 200 bytes of plain text",
            ),
            (
                "a class without a name",
                change("  \"files\": {", "  \"classes\": {\"names\": [\"\"], \"sha256\": \"x\"},\n  \"files\": {"),
                "classes.names to be 1 to 1000 bytes of plain text each",
            ),
            ("half a surrogate", change("\"quick\"", "\"\\ud800\""), "found unexpected end of hex escape"),
            ("an endless version", change("\"0.1.0\"", &format!("\"{}\"", "1".repeat(201))), "version to be 1 to 200"),
            ("a file missing", change("\"optim.safetensors\"", "\"optim\""), "unknown field `optim`"),
            (
                "a file twice",
                change("\"optim.safetensors\"", "\"model.safetensors\""),
                "duplicate field `model.safetensors`",
            ),
            (
                "a file elsewhere",
                change("\"optim.safetensors\"", "\"../../etc/passwd\""),
                "unknown field `../../etc/passwd`",
            ),
            ("a short sha256", first_sha("abc"), "a sha256 of 64 hexadecimal digits in lower case, found \"abc\""),
            ("a sha256 in capitals", first_sha(&"A".repeat(64)), "64 hexadecimal digits in lower case"),
            ("a sha256 of other letters", first_sha(&"g".repeat(64)), "64 hexadecimal digits"),
            (
                "a length missing",
                b"{\"format\": 1, \"files\": {\"model.safetensors\": {}}}".to_vec(),
                "missing field `bytes`",
            ),
            ("deeply nested", [b"{\"format\":".to_vec(), vec![b'['; 100_000]].concat(), "found"),
        ]),
    )
}

#[test]
fn malformed_states_are_refused() {
    let (_keep, folder) = valid();
    let path = folder.join("state.json");
    let good = fs::read(&path).unwrap();
    for Case { name, bytes, says } in all() {
        fs::write(&path, bytes).unwrap();
        refused(&name, &folder, "state.json", &says);
    }
    fs::write(&path, &good).unwrap();
    checkpoint::load(&folder).unwrap();
}

#[test]
fn files_that_are_not_what_the_state_says() {
    let (_keep, folder) = valid();
    let model = folder.join("model.safetensors");
    let good = fs::read(&model).unwrap();
    fs::write(&model, &good[1..]).unwrap();
    refused("too short", &folder, "model.safetensors", &format!("expected {} bytes, as state.json says", good.len()));
    fs::write(&model, [&good, b"x".as_slice()].concat()).unwrap();
    refused("too long", &folder, "model.safetensors", &format!("found {} bytes", good.len() + 1));
    // A change that the format alone would never notice.
    let mut changed = good.clone();
    let end = changed.len();
    changed[end - 1] ^= 0x01;
    assert!(tensors::decode(&model, &changed).is_ok());
    fs::write(&model, &changed).unwrap();
    refused("one bit", &folder, "model.safetensors", "expected sha256 ");
    fs::remove_file(&model).unwrap();
    refused("absent", &folder, "model.safetensors", "no such file");
    fs::create_dir(&model).unwrap();
    refused("a folder", &folder, "model.safetensors", "something that is not a file");
    refused("no checkpoint at all", &folder.join("none"), "state.json", "no such file");
    refused("a file for a folder", &folder.join("optim.safetensors"), "state.json", "no such file");
}

/// The sha256 stands before everything: no single changed byte gets through, whatever it would mean.
#[test]
fn no_changed_byte_is_loaded() {
    let (_keep, folder) = valid();
    for name in ["model.safetensors", "optim.safetensors"] {
        let good = fs::read(folder.join(name)).unwrap();
        for index in 0..good.len() {
            let mut changed = good.clone();
            changed[index] ^= 1 << (index % 8);
            fs::write(folder.join(name), changed).unwrap();
            refused(&format!("byte {index}"), &folder, name, "expected sha256 ");
        }
        fs::write(folder.join(name), &good).unwrap();
        checkpoint::load(&folder).unwrap();
    }
}
