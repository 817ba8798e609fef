//! Weights and arrays of this and of other programs.

use std::path::Path;
use std::sync::OnceLock;

use vgan_cuda::config::Resize;
use vgan_cuda::device::Cpu;
use vgan_cuda::eval::{inception::Extractor, statistics};
use vgan_cuda::exchange::archive::pack;
use vgan_cuda::exchange::{Weights, npy as arrays};
use vgan_cuda::run::{ImageShape, Tensor, tensors};

use super::{file, orderly};

const NAME: &str = "a file";

fn assert_whole<T>(tensors: &[Tensor<T>]) {
    for Tensor { name, shape, values } in tensors {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "{name}");
    }
}

fn weights(bytes: &[u8]) -> Option<Weights> {
    let weights = orderly(Weights::decode(Path::new(NAME), bytes))?;
    assert_whole(&weights.tensors);
    assert!(weights.tensors.iter().all(|tensor| tensor.values.iter().all(|value| value.is_finite())));
    Some(weights)
}

pub(crate) fn safetensors(bytes: &[u8]) {
    let path = Path::new(NAME);
    if let Some(read) = orderly(tensors::decode(path, bytes)) {
        assert_whole(&read);
        if read.iter().all(|tensor| !tensor.name.is_empty()) {
            let again = tensors::encode(&read).expect("what was read can be written");
            assert_eq!(orderly(tensors::decode(path, &again)).as_ref(), Some(&read));
        }
    }
    orderly(tensors::decode_as::<f64>(path, bytes)).inspect(|read| assert_whole(read));
    orderly(tensors::decode_raw(path, bytes));
    orderly(tensors::holds_f64(path, bytes, "a"));
    // Another beginning is another format.
    if !bytes.starts_with(b"PK") {
        weights(bytes);
    }
}

pub(crate) fn pytorch(bytes: &[u8]) {
    weights(bytes);
}

/// The bytes as the pickle of an archive that has one storage, `0`, of four f32.
pub(crate) fn pickle(bytes: &[u8]) {
    let files: [(&str, &[u8]); 2] = [("x/data.pkl", bytes), ("x/data/0", &[0; 16])];
    let archive = pack(files.iter().map(|(name, content)| Ok(((*name).to_string(), content.to_vec()))));
    weights(&archive.expect("an archive in memory"));
}

pub(crate) fn npy(bytes: &[u8]) {
    if let Some(read) = orderly(arrays::decode(Path::new(NAME), bytes)) {
        assert_whole(&[read]);
    }
}

/// An archive of arrays: as weights, and as the statistics of FID.
pub(crate) fn npz(bytes: &[u8]) {
    weights(bytes);
    let path = file("npz", "x.npz", bytes);
    orderly(arrays::read_npz_f64(&path)).inspect(|(arrays, _)| assert_whole(arrays));
    if let Some((moments, _)) = orderly(statistics::read(&path)) {
        assert_eq!(moments.covariance.len(), moments.mean.len() * moments.mean.len());
    }
}

/// Weights as those of Inception-v3.
pub(crate) fn inception(bytes: &[u8]) {
    static CPU: OnceLock<Cpu<f32>> = OnceLock::new();
    let cpu = CPU.get_or_init(|| Cpu::new(Some(1)).expect("a processor"));
    if let Some(weights) = weights(bytes) {
        let image = ImageShape { h: 8, w: 8, c: 3 };
        orderly(Extractor::new(cpu, Path::new(NAME), weights.tensors, image, Resize::Clean, (75, 1)));
    }
}
