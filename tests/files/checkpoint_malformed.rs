//! Malformed checkpoints: every one is refused with path, what was expected and what was found, and exit code 3.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use sha2::{Digest, Sha256};
use vgan_cuda::Error;
use vgan_cuda::run::checkpoint::{self, Checkpoint};
use vgan_cuda::run::{DataPosition, Files, ImageShape, RngPosition, State, Tensor, Updates, tensors};

fn sample() -> Checkpoint {
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
            settings: BTreeMap::new(),
            classes: None,
            changes: Vec::new(),
            origin: None,
            files: Files::default(),
        },
    }
}

/// A folder with one valid checkpoint, `000200`.
fn valid() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint::save(folder.path(), &sample(), 1).unwrap();
    (folder, path)
}

/// Loads what must not load, and checks what the error promises.
fn refused(case: &str, folder: &Path, file: &str, fragment: &str) {
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

/// A safetensors file from the text of its header and the bytes of its data.
fn safetensors(header: impl AsRef<[u8]>, data: &[u8]) -> Vec<u8> {
    let header = header.as_ref();
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

/// Puts `bytes` in the place of `model.safetensors`, with a state that vouches for them.
fn replace_model(folder: &Path, bytes: &[u8]) {
    let state = folder.join("state.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    let sha256: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    json["files"]["model.safetensors"] = serde_json::json!({"bytes": bytes.len(), "sha256": sha256});
    fs::write(state, json.to_string()).unwrap();
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
}

/// The bytes of four values: 1, 2, 3 and `last`.
fn values(last: f32) -> Vec<u8> {
    [1.0, 2.0, 3.0, last].iter().flat_map(|v: &f32| v.to_le_bytes()).collect()
}

#[test]
fn malformed_safetensors() {
    let one = |info: &str| safetensors(format!("{{\"a\":{info}}}"), &values(4.0));
    let with = |header: &str| safetensors(header, &values(4.0));
    let good = r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
    let last = |value: f32| safetensors(good, &values(value));
    let length = |length: u64| [&length.to_le_bytes(), &with(good)[8..]].concat();
    let two = |a: &str, b: &str| {
        let info = |offsets: &str| format!(r#"{{"dtype":"F32","shape":[2],"data_offsets":{offsets}}}"#);
        with(&format!(r#"{{"a":{},"b":{}}}"#, info(a), info(b)))
    };
    let nested = format!(r#"{{"a":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty file", vec![], "found 0 bytes in all"),
        ("seven bytes", vec![1; 7], "8 bytes of header length"),
        ("length alone", vec![0; 8], "EOF while parsing"),
        ("length beyond the end", length(1000), "a header length of at most 71 at offset 0, found 1000"),
        ("length of 2^64 - 1", length(u64::MAX), "found 18446744073709551615"),
        ("length of 2^63", length(1 << 63), "a header length of at most"),
        ("length one short", length(good.len() as u64 - 1), "a JSON object of tensors, found EOF"),
        ("length one long", length(good.len() as u64 + 1), "found trailing characters"),
        ("length of 0", length(0), "EOF while parsing"),
        ("big-endian length", [&(good.len() as u64).to_be_bytes(), &with(good)[8..]].concat(), "at offset 0"),
        (
            "no UTF-8",
            with("{\"\u{e9}\":1}").iter().map(|&b| if b == 0xc3 { 0xff } else { b }).collect(),
            "at offset 10",
        ),
        ("no JSON", with("not JSON"), "found expected ident at line 1 column 2"),
        ("an array", with("[1,2]"), "an object of tensors"),
        ("a pickle", b"PK\x03\x04\x00\x00\x00\x00 archive/data.pkl".to_vec(), "a header length of at most"),
        ("deeply nested", with(&nested), "a JSON object of tensors"),
        ("cut within the header", with(good)[..30].to_vec(), "a header length of at most 22"),
        ("cut within the data", with(good)[..with(good).len() - 1].to_vec(), "15 bytes of data"),
        ("a byte after the end", [with(good), vec![0]].concat(), "17 bytes of data"),
        ("no tensors, but data", with("{}"), "16 bytes of data"),
        ("the same name twice", with(&format!("{},{}", &good[..good.len() - 1], &good[1..])), "the name `a` twice"),
        ("metadata twice", with(r#"{"__metadata__":{},"__metadata__":{}}"#), "the name `__metadata__` twice"),
        ("metadata with a number", with(r#"{"__metadata__":{"format":1}}"#), "expected a string"),
        ("metadata that is none", with(r#"{"__metadata__":[]}"#), "invalid type: sequence"),
        ("a tensor that is null", with(r#"{"a":null}"#), "invalid type: null"),
        ("no dtype", one(r#"{"shape":[4],"data_offsets":[0,16]}"#), "missing field `dtype`"),
        ("no shape", one(r#"{"dtype":"F32","data_offsets":[0,16]}"#), "missing field `shape`"),
        ("no offsets", one(r#"{"dtype":"F32","shape":[4]}"#), "missing field `data_offsets`"),
        ("dtype twice", one(r#"{"dtype":"F32","dtype":"F32","shape":[4],"data_offsets":[0,16]}"#), "duplicate field"),
        ("shape twice", one(r#"{"dtype":"F32","shape":[4],"shape":[4],"data_offsets":[0,16]}"#), "duplicate field"),
        ("a field of its own", one(r#"{"dtype":"F32","shape":[4],"data_offsets":[0,16],"x":1}"#), "unknown field `x`"),
        (
            "another dtype",
            one(r#"{"dtype":"F64","shape":[2],"data_offsets":[0,16]}"#),
            "dtype F32 for tensor `a`, found F64",
        ),
        (
            "no such dtype",
            one(r#"{"dtype":"f32","shape":[4],"data_offsets":[0,16]}"#),
            "dtype F32 for tensor `a`, found f32",
        ),
        ("a dtype that is a number", one(r#"{"dtype":32,"shape":[4],"data_offsets":[0,16]}"#), "invalid type: integer"),
        (
            "a negative dimension",
            one(r#"{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}"#),
            "invalid value: integer `-4`",
        ),
        (
            "a fractional dimension",
            one(r#"{"dtype":"F32","shape":[4.0],"data_offsets":[0,16]}"#),
            "floating point `4.0`",
        ),
        (
            "a shape too small",
            one(r#"{"dtype":"F32","shape":[3],"data_offsets":[0,16]}"#),
            "12 bytes for tensor `a` of shape [3]",
        ),
        ("a shape too large", one(r#"{"dtype":"F32","shape":[5],"data_offsets":[0,16]}"#), "20 bytes for tensor `a`"),
        (
            "a shape that overflows",
            one(r#"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16]}"#),
            "more bytes than there are for tensor `a`",
        ),
        (
            "a shape that overflows in bytes",
            one(r#"{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}"#),
            "more bytes than there are for tensor `a`",
        ),
        ("offsets reversed", one(r#"{"dtype":"F32","shape":[4],"data_offsets":[16,0]}"#), "data_offsets [16, 0]"),
        ("one offset", one(r#"{"dtype":"F32","shape":[4],"data_offsets":[0]}"#), "invalid length 1"),
        ("three offsets", one(r#"{"dtype":"F32","shape":[4],"data_offsets":[0,16,16]}"#), "trailing characters"),
        ("offsets beyond the end", one(r#"{"dtype":"F32","shape":[8],"data_offsets":[0,32]}"#), "at 32 of its data"),
        ("offsets after a hole", one(r#"{"dtype":"F32","shape":[3],"data_offsets":[4,16]}"#), "one after the other"),
        ("overlapping tensors", two("[0,8]", "[4,12]"), "one after the other"),
        ("tensors in one place", two("[0,8]", "[0,8]"), "one after the other"),
        ("a hole between tensors", two("[0,8]", "[12,20]"), "one after the other"),
        ("NaN", last(f32::NAN), "finite values in tensor `a`, found NaN at index 3"),
        ("a NaN with a payload", last(f32::from_bits(0xffc0_1234)), "found NaN at index 3"),
        ("infinity", last(f32::INFINITY), "found inf at index 3"),
        ("minus infinity", last(f32::NEG_INFINITY), "found -inf at index 3"),
    ];
    assert!(cases.len() >= 30);
    let (_keep, folder) = valid();
    replace_model(&folder, &last(4.0));
    assert_eq!(checkpoint::load(&folder).unwrap().model[0].values, [1.0, 2.0, 3.0, 4.0]);
    for (case, bytes, fragment) in cases {
        replace_model(&folder, &bytes);
        refused(case, &folder, "model.safetensors", fragment);
    }
}

#[test]
fn malformed_state() {
    let (_keep, folder) = valid();
    let path = folder.join("state.json");
    let good = fs::read_to_string(&path).unwrap();
    let sums: Vec<&str> = good.split('"').filter(|word| word.len() == 64).collect();
    let [data_sum, sha256, _] = sums[..] else { panic!("{good}") };
    let change = |from: &str, to: &str| {
        assert_eq!(good.matches(from).count(), 1, "{from} must come once in {good}");
        good.replace(from, to).into_bytes()
    };
    let first_sha = |to: &str| good.replacen(sha256, to, 1).into_bytes();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
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
        ("a change of nothing", change("\"seed\"", "\"changes\": [{\"step\": 3}], \"seed\""), "missing field `key`"),
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
        ("samples beyond 64 bits", change("\"step\": 200,", "\"step\": 18446744073709551615,"), "step × batch, found"),
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
        ("samples of other steps", change("\"samples_seen\": 25600", "\"samples_seen\": 25472"), "step × batch, found"),
        ("another batch", change("\"batch\": 128", "\"batch\": 96"), "a multiple of step × batch, found 25600"),
        ("samples of no step", change("\"samples_seen\": 25600", "\"samples_seen\": 0"), "step × batch, found 0"),
        (
            "a batch beyond the data set",
            change("\"batch\": 128", "\"batch\": 92233720368547758"),
            "batch to be from 1 to data.count, found 92233720368547758",
        ),
        ("a batch of none", change("\"batch\": 128", "\"batch\": 0"), "batch to be from 1 to data.count, found 0"),
        ("no batch", change("\"batch\": 128,", ""), "missing field `batch`"),
        ("fewer images than a batch", change("\"count\": 60000", "\"count\": 127"), "from 1 to data.count, found 128"),
        (
            "the draws of another step",
            good.replace("    \"step\": 200\n", "    \"step\": 199\n").into_bytes(),
            "rng.step to be equal to step, found 199",
        ),
        ("a short sha256 of the data", change(data_sum, "abc"), "data to be listed with a sha256 of 64"),
        ("an empty preset", change("\"quick\"", "\"\""), "preset to be 1 to 200 bytes of plain text, found \"\""),
        ("a preset with an escape", change("\"quick\"", "\"\\u001b[2J\""), "preset to be 1 to 200 bytes of plain text"),
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
    ];
    assert!(cases.len() >= 30);
    for (case, bytes, fragment) in cases {
        fs::write(&path, bytes).unwrap();
        refused(case, &folder, "state.json", fragment);
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

/// Whatever the bytes: either they load, or the error is one of bad data. A panic fails the test by itself.
fn decode_calmly(bytes: &[u8]) -> Result<(), TestCaseError> {
    match tensors::decode(Path::new("x.safetensors"), bytes) {
        Ok(tensors) => {
            for tensor in tensors {
                prop_assert_eq!(tensor.shape.iter().product::<usize>(), tensor.values.len());
                prop_assert!(tensor.values.iter().all(|v| v.is_finite()));
            }
        }
        Err(error) => prop_assert_eq!(error.exit_code(), 3),
    }
    Ok(())
}

fn parse_calmly(bytes: &[u8]) -> Result<(), TestCaseError> {
    match State::from_json(Path::new("state.json"), bytes) {
        Ok(state) => prop_assert!(state.beta >= 0.0 && state.epoch.is_finite()),
        Err(error) => prop_assert_eq!(error.exit_code(), 3),
    }
    Ok(())
}

/// Replaces, removes or inserts a byte at each place (a share of the length).
fn mutate(bytes: &[u8], changes: &[(f64, u8, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for &(place, kind, byte) in changes {
        let index = (place * bytes.len() as f64) as usize;
        match kind % 3 {
            0 => bytes[index] = byte,
            1 => drop(bytes.remove(index)),
            _ => bytes.insert(index, byte),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        text in "[\\[\\]{}:,\"a-f0-9.e-]{0,80}",
    ) {
        decode_calmly(&bytes)?;
        decode_calmly(&safetensors(&text, &bytes))?;
        parse_calmly(&bytes)?;
        parse_calmly(text.as_bytes())?;
    }

    #[test]
    fn mutations_never_panic(
        changes in prop::collection::vec((0.0..1.0, any::<u8>(), any::<u8>()), 1..4),
        in_header in prop::collection::vec(
            (0.0..1.0, any::<u8>(), prop::sample::select(b"0123456789[]{},\"-e".to_vec())),
            1..4,
        ),
    ) {
        let mut sample = sample();
        let file = tensors::encode(&sample.model).unwrap();
        sample.state.files.model.sha256 = "0".repeat(64);
        sample.state.files.optim.sha256 = "f".repeat(64);
        let state = sample.state.to_json().unwrap();
        for changes in [&changes, &in_header] {
            decode_calmly(&mutate(&file, changes))?;
            parse_calmly(&mutate(state.as_bytes(), changes))?;
        }
        // The length that the header is given fits again, so that the mutation reaches what comes after it.
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let (header, data) = file[8..].split_at(length);
        decode_calmly(&safetensors(mutate(header, &in_header), data))?;
    }
}
