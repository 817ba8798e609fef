//! Whatever the bytes are: either they are read whole, or the error is one of bad data. A panic fails a test by itself. The fuzzers of
//! `tests/fuzz` look further, led by what the code does; these are random, and need no other compiler.

use proptest::prelude::*;
use vgan_cuda::exchange::{Weights, npy};
use vgan_cuda::run::{State, tensors};

use super::pickles::{dict, global, storage, tensor, with_pickle, word};
use super::safetensors::safetensors;
use super::settings::read_bytes;
use super::state::sample;
use super::*;
use crate::data_samples::{cifar, flat_grey, gz, idx, jpeg, png, tar, write};
use crate::weights::fixture;

/// Valid files of each format with the names that they go by.
fn valid_files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("x-idx3-ubyte", idx(&[2, 5, 3], &noise(30))),
        ("x-idx3-ubyte.gz", gz(&idx(&[2, 5, 3], &noise(30)))),
        ("x.bin", cifar(&[0, 9])),
        ("x.bin.gz", gz(&cifar(&[0, 9]))),
        ("x.tar", tar(&[("data_batch_1.bin", &cifar(&[0]))])),
        ("x.tar.gz", gz(&tar(&[("data_batch_1.bin", &cifar(&[0]))]))),
        ("in/grey.png", flat_grey(5, 3, 200)),
        ("in/palette.png", png(3, 2, ::png::ColorType::Indexed, ::png::BitDepth::Two, &[0b0001_1000, 0b1110_0100])),
        ("in/alpha.png", png(1, 3, ::png::ColorType::Rgba, ::png::BitDepth::Sixteen, &noise(24))),
        ("in/grey.jpg", jpeg::GREY.to_vec()),
        ("in/colour.jpg", jpeg::COLOUR.to_vec()),
        ("in/progressive.jpg", jpeg::PROGRESSIVE.to_vec()),
        ("in/cmyk.jpg", jpeg::CMYK.to_vec()),
        ("in/subsampled.jpg", jpeg::SUBSAMPLED.to_vec()),
    ]
}

/// Loads a file (or, of pictures, its folder): it must come out whole or be refused in the proper way.
fn assert_no_surprise(name: &str, bytes: &[u8]) {
    let folder = tempdir().unwrap();
    let path = write(folder.path(), name, bytes);
    let source = if name.starts_with("in/") { folder.path().join("in") } else { path };
    let options = LoadOptions { resize: 3, channels: 3, ..LoadOptions::default() };
    match load(source.to_str().unwrap(), &options) {
        Ok(images) => assert_eq!(images.pixels.len(), images.count * 27),
        Err(error) => {
            assert_eq!(error.exit_code(), 3, "{error}");
            assert!(error.to_string().starts_with(source.to_str().unwrap()), "{error}");
        }
    }
    let _ = check(&source, &options);
}

proptest! {
    #[test]
    fn random_bytes_never_surprise(
        which in 0usize..14,
        keep in 0usize..40,
        random in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let (name, valid) = valid_files().swap_remove(which);
        let start = &valid[..keep.min(valid.len())];
        assert_no_surprise(name, &[start, &random].concat());
    }

    #[test]
    fn damaged_files_never_surprise(
        which in 0usize..14,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let (name, mut bytes) = valid_files().swap_remove(which);
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Some(length) = length {
            bytes.truncate(length.index(bytes.len()));
        }
        assert_no_surprise(name, &bytes);
    }
}

fn decode_calmly(bytes: &[u8]) -> std::result::Result<(), TestCaseError> {
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

fn parse_calmly(bytes: &[u8]) -> std::result::Result<(), TestCaseError> {
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
    fn random_checkpoints_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        text in "[\\[\\]{}:,\"a-f0-9.e-]{0,80}",
    ) {
        decode_calmly(&bytes)?;
        decode_calmly(&safetensors(&text, &bytes))?;
        parse_calmly(&bytes)?;
        parse_calmly(text.as_bytes())?;
    }

    #[test]
    fn changed_checkpoints_never_panic(
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

fn read_calmly(bytes: &[u8]) -> std::result::Result<(), TestCaseError> {
    match Weights::decode(Path::new("w"), bytes) {
        Ok(weights) => {
            for tensor in weights.tensors {
                prop_assert_eq!(tensor.shape.iter().product::<usize>(), tensor.values.len());
                prop_assert!(tensor.values.iter().all(|value| value.is_finite()));
            }
        }
        Err(error) => prop_assert_eq!(error.exit_code(), 3, "{}", error),
    }
    Ok(())
}

/// Opcodes, with arguments that often make sense.
fn opcodes() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<Vec<u8>> = [
        &b"}"[..],
        b"]",
        b")",
        b"(",
        b"t",
        b"\x85",
        b"\x86",
        b"\x87",
        b"N",
        b"\x88",
        b"K\x02",
        b"M\x00\x01",
        b"s",
        b"u",
        b"a",
        b"e",
        b"R",
        b"b",
        b"Q",
        b"q\x00",
        b"h\x00",
        b"q\x01",
        b"h\x01",
        b"\x94",
        b"0",
        b"1",
        b"\x8a\x01\xff",
        b".",
    ]
    .iter()
    .map(|piece| piece.to_vec())
    .chain([word("w"), word("storage"), global("collections", "OrderedDict"), global("torch", "FloatStorage")])
    .chain([global("torch._utils", "_rebuild_tensor_v2"), storage("FloatStorage", "0", 4), tensor(0, &[4], &[1])])
    .collect();
    prop::collection::vec(prop::sample::select(pieces), 0..40)
        .prop_map(|pieces| [pieces.concat(), b".".to_vec()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn random_weights_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), pickle in opcodes()) {
        read_calmly(&bytes)?;
        read_calmly(&with_pickle(&bytes))?;
        read_calmly(&with_pickle(&pickle))?;
        let _ = npy::decode(Path::new("z.npy"), &[b"\x93NUMPY\x01\x00", &bytes[..]].concat());
    }

    /// A file of PyTorch's with a few bytes changed: within the pickle, where most of it still makes sense, and anywhere.
    #[test]
    fn changed_files_never_panic(changes in prop::collection::vec((0.0..1.0_f64, any::<u8>()), 1..6)) {
        for file in ["network.pt", "views.pt", "nested.pt", "deflated.pt"] {
            let mut bytes = std::fs::read(fixture(file)).unwrap();
            for &(place, byte) in &changes {
                let index = (place * bytes.len() as f64) as usize;
                bytes[index] = byte;
            }
            read_calmly(&bytes)?;
        }
        let mut pickle = dict("w", &tensor(0, &[2, 2], &[2, 1]));
        for &(place, byte) in &changes {
            let index = (place * pickle.len() as f64) as usize;
            pickle[index] = byte;
        }
        read_calmly(&with_pickle(&pickle))?;
    }
}

/// A valid file, to be damaged.
const VALID: &str = "[data]\nsource = \"glyphs\"\nrange = \"0..1\"\n[generator]\nchannels = [32, 16]\nema = 0.5\n\
                     [train]\nbatch = 64\nseed = 7\n";

/// Settings, or an error of the user's data; nothing else.
fn is_orderly(bytes: &[u8]) -> bool {
    read_bytes(bytes).map_or_else(|error| error.exit_code() == 3, |_| true)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_settings_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(is_orderly(&bytes));
    }

    #[test]
    fn damaged_settings_never_panic(at in 0..VALID.len(), length in 0usize..20, new in prop::collection::vec(any::<u8>(), 0..5)) {
        let mut bytes = VALID.as_bytes().to_vec();
        bytes.splice(at..(at + length).min(bytes.len()), new);
        prop_assert!(is_orderly(&bytes));
    }
}
