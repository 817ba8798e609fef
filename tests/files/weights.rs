//! Weights of other programs: files that PyTorch and NumPy wrote, read to the values that those programs read themselves.

use std::fs;
use std::path::{Path, PathBuf};

use vgan_cuda::exchange::{Weights, npy};
use vgan_cuda::run::{Tensor, tensors};

/// A file of `tests/oracle/pickles.py`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pickles").join(name)
}

/// What PyTorch itself loads from the file `<name>.pt`, in order of the names.
fn expected(name: &str) -> Vec<Tensor> {
    let prefix = format!("{name}/");
    let all = tensors::read(&fixture("values.safetensors")).expect("values");
    let own = all.into_iter().filter_map(|tensor| {
        let name = tensor.name.strip_prefix(&prefix)?.to_string();
        Some(Tensor { name, ..tensor })
    });
    own.collect()
}

fn left_out(weights: &Weights) -> Vec<(&str, &str)> {
    weights.left_out.iter().map(|other| (&other.name[..], &other.what[..])).collect()
}

#[test]
fn what_pytorch_wrote_is_read_as_pytorch_reads_it() {
    for (file, name) in [
        ("network.pt", "network"),
        ("protocol4.pt", "network"),
        ("deflated.pt", "network"),
        ("types.pt", "types"),
        ("views.pt", "views"),
        ("nested.pt", "nested"),
    ] {
        let weights = Weights::read(&fixture(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let expected = expected(name);
        assert!(expected.len() >= 4, "{name}: {}", expected.len());
        let names = |tensors: &[Tensor]| tensors.iter().map(|tensor| tensor.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&weights.tensors), names(&expected), "{file}");
        assert_eq!(weights.tensors, expected, "{file}");
        assert_eq!((weights.format, weights.sha256.len()), ("PyTorch", 64));
    }
}

#[test]
fn what_is_no_weight_is_left_out_and_named() {
    let network = Weights::read(&fixture("network.pt")).unwrap();
    assert_eq!(left_out(&network), [("1.num_batches_tracked", "i64")]);
    let types = Weights::read(&fixture("types.pt")).unwrap();
    let whole = ["i64", "i32", "i16", "i8", "u8", "bool"];
    assert_eq!(left_out(&types), whole.map(|name| (name, name)));
    let nested = Weights::read(&fixture("nested.pt")).unwrap();
    let left = left_out(&nested);
    for other in [("step", "a number"), ("lr", "a number"), ("name", "text"), ("size", "a tuple"), ("flags", "a list")]
    {
        assert!(left.contains(&other), "{other:?} in {left:?}");
    }
}

/// Safetensors of f16, written here by hand, and of whole numbers.
#[test]
fn safetensors_of_any_type() {
    let header = r#"{"h":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"n":{"dtype":"I64","shape":[1],"data_offsets":[4,12]}}"#;
    let data = [0x00, 0x3e, 0x00, 0xc0, 7, 0, 0, 0, 0, 0, 0, 0];
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    let weights = Weights::decode(Path::new("x"), &bytes).unwrap();
    assert_eq!(weights.tensors, [Tensor { name: "h".into(), shape: vec![2], values: vec![1.5, -2.0] }]);
    assert_eq!(left_out(&weights), [("n", "i64")]);
}

/// A `.npz` of ours is read back; `tests/oracle/exchange_check.py` reads one with NumPy.
#[test]
fn npz_there_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.npz");
    let tensor = |name: &str, shape: &[usize]| {
        let count: usize = shape.iter().product();
        Tensor { name: name.into(), shape: shape.into(), values: (0..count).map(|i| i as f32 - 0.5).collect() }
    };
    let all = [tensor("fc.0.weight", &[3, 5]), tensor("fc.1.bias", &[7]), tensor("scalar", &[])];
    npy::write_npz(&path, &all).unwrap();
    let weights = Weights::read(&path).unwrap();
    assert_eq!((&weights.tensors[..], weights.format), (&all[..], "NumPy"));
    let first = fs::read(&path).unwrap();
    npy::write_npz(&path, &all).unwrap();
    assert!(first == fs::read(&path).unwrap(), "the same tensors, the same bytes");
}

#[test]
fn a_folder_and_a_file_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_path_buf(), folder.path().join("none.pt")] {
        let error = Weights::read(&path).unwrap_err();
        assert_eq!(error.exit_code(), 3, "{error}");
    }
}
