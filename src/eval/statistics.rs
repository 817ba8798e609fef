//! The moments of the real images' Inception features: from an `.npz` of other programs, or from the data set's images, of which they are
//! kept in the user's cache folder in the same format.

use std::path::{Path, PathBuf};

use super::moments::Moments;
use crate::error::{Error, Result};
use crate::exchange::npy;
use crate::nn::inception::FEATURES;
use crate::run::{Tensor, checkpoint};

/// The arrays of a file, as pytorch-fid, clean-fid and the first code for FID name them.
const MEAN: &str = "mu";
const COVARIANCE: &str = "sigma";
/// Elements (i, j) and (j, i) differ by at most this part of the largest.
const SYMMETRY: f64 = 1e-5;

/// Moments from a file, and the first 12 digits of its SHA-256.
///
/// # Errors
/// [`Error::BadData`] where it has no such arrays, or others than of 2,048 features; [`Error::Io`] where it can't be read.
pub fn read(path: &Path) -> Result<(Moments, String)> {
    let (arrays, sha256) = npy::read_npz_f64(path)?;
    let take = |name: &str, shape: &[usize]| {
        let hint = "statistics for FID are an .npz of `mu` [2048] and `sigma` [2048, 2048], as `python -m pytorch_fid --save-stats` \
                    writes it";
        let expected = format!("an array `{name}` of shape {shape:?}");
        let wrong = |found: String| Error::bad_data(path, &expected, found).with_hint(hint);
        let array = arrays.iter().find(|array| array.name == name).ok_or_else(|| {
            let names: Vec<&str> = arrays.iter().map(|array| array.name.as_str()).collect();
            wrong(if names.is_empty() { "none".into() } else { names.join(", ") })
        })?;
        if array.shape != shape {
            return Err(wrong(format!("shape {:?}", array.shape)));
        }
        match array.values.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(wrong(format!("{value} in it"))),
            None => Ok(array.values.clone()),
        }
    };
    let moments = Moments { mean: take(MEAN, &[FEATURES])?, covariance: take(COVARIANCE, &[FEATURES, FEATURES])? };
    require_covariance(path, &moments.covariance)?;
    Ok((moments, sha256[..12].to_string()))
}

/// Refuses what is no covariance.
fn require_covariance(path: &Path, matrix: &[f64]) -> Result<()> {
    let at = |i: usize, j: usize| matrix[i * FEATURES + j];
    let most = matrix.iter().fold(0.0f64, |most, x| most.max(x.abs())) * SYMMETRY;
    for i in 0..FEATURES {
        if at(i, i) < -most {
            let expected = format!("a covariance in `{COVARIANCE}`, whose diagonal is not negative");
            return Err(Error::bad_data(path, expected, format!("{} at {i}, {i}", at(i, i))));
        }
        if let Some(j) = (0..i).find(|&j| (at(i, j) - at(j, i)).abs() > most) {
            let expected = format!("a covariance in `{COVARIANCE}`, which is symmetric");
            return Err(Error::bad_data(
                path,
                expected,
                format!("{} at {i}, {j} and {} at {j}, {i}", at(i, j), at(j, i)),
            ));
        }
    }
    Ok(())
}

/// The file of moments that all of this decides: pixels and their number, the weights, the way of resizing.
pub(super) fn cached(folder: &Path, decides: &str) -> PathBuf {
    folder.join(format!("{}.npz", &checkpoint::sha256(decides.as_bytes())[..16]))
}

/// Keeps moments in a file that other programs read too.
///
/// # Errors
/// [`Error::Io`] where it can't be written.
pub(super) fn write(path: &Path, moments: &Moments) -> Result<()> {
    let tensor =
        |name: &str, shape: Vec<usize>, values: &[f64]| Tensor { name: name.into(), shape, values: values.to_vec() };
    let mean = tensor(MEAN, vec![FEATURES], &moments.mean);
    npy::write_npz(path, &[mean, tensor(COVARIANCE, vec![FEATURES, FEATURES], &moments.covariance)])
}
