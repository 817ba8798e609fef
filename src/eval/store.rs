//! The place where classifiers are kept: in a file that the user names, or else in the user's cache folder, under a hash of all that their
//! weights depend on. Runs on the same images find the same one.

use std::env;
use std::path::{Path, PathBuf};

use super::classifier::{Lesson, RECIPE, TrainedClassifier, Trains};
use crate::error::{Error, Result, readable_path};
use crate::image::ImageShape;
use crate::nn::tensors::TensorSet;
use crate::run::messages::say;
use crate::run::{Tensor, checkpoint, tensors, write_file};

/// The identity and the accuracy of a classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The first 12 hexadecimal digits of its file's SHA-256: numbers that were measured with the same one can be compared.
    pub hash: String,
    /// The share of held-out images that it puts into their class; `None` where none were held out.
    pub accuracy: Option<f64>,
    /// Images held out.
    pub held_out: usize,
    /// Its file; `None` where it could not be kept.
    pub path: Option<PathBuf>,
}

/// The tensors of a file beside weights and statistics.
const IMAGE: &str = "image";
const ACCURACY: &str = "accuracy";
const HELD_OUT: &str = "held_out";
/// Its shape is the number of classes.
const LOGITS: &str = "classifier.logits.bias";

/// The classifier of `file`, or, without one, that of the lesson, from the cache; trained now and kept there where it is not there yet.
/// Without a lesson `file` must be there.
///
/// # Errors
/// [`Error::BadData`] where `file` is no classifier for images of this size, or there is nothing to learn from.
pub(super) fn open<B: Trains>(
    backend: &B,
    image: ImageShape,
    lesson: std::result::Result<Lesson<'_>, Error>,
    file: Option<&Path>,
) -> Result<(TrainedClassifier<B>, Identity)> {
    if let Some(path) = file.filter(|path| path.exists()) {
        return read(backend, image, path);
    }
    let lesson = lesson?;
    let path = file.map(Path::to_path_buf).or_else(|| Some(cache_folder("classifiers")?.join(name(lesson))));
    if let Some(path) = path.as_deref().filter(|path| file.is_none() && path.exists()) {
        match read(backend, image, path) {
            Ok(found) => return Ok(found),
            Err(error) => say(&format!("warning: the classifier is trained again: {error}")),
        }
    }
    let target = path.as_deref().map_or_else(|| "memory".to_string(), readable_path);
    say(&format!("training the classifier of these images, once: it is kept in {target}"));
    let mut trained = TrainedClassifier::new(backend, image, lesson.labels.names.len())?;
    let (accuracy, held_out) = trained.train(lesson)?;
    let bytes = encode(&trained, image, accuracy, held_out)?;
    let kept = path.map(|path| keep(&path, &bytes).map(|()| path));
    let path = match kept {
        // A file that was asked for must be there in the end; the cache only saves time.
        Some(Err(error)) if file.is_some() => return Err(error),
        Some(Err(error)) => {
            say(&format!("warning: the classifier is not kept: {error}"));
            None
        }
        Some(Ok(path)) => Some(path),
        None => None,
    };
    Ok((trained, Identity { hash: hash(&bytes), accuracy, held_out, path }))
}

fn hash(bytes: &[u8]) -> String {
    checkpoint::sha256(bytes)[..12].to_string()
}

fn keep(path: &Path, bytes: &[u8]) -> Result<()> {
    make_folder(path)?;
    write_file(path, bytes)
}

/// Makes the folder of a file.
pub(super) fn make_folder(path: &Path) -> Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, "create the folder", error)),
        None => Ok(()),
    }
}

/// A folder in the user's cache, by the XDG Base Directory Specification; `None` where there is no home.
pub(super) fn cache_folder(name: &str) -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("vgan-cuda").join(name))
}

/// The name of the file of the classifier of these images.
fn name(Lesson { image, pixels, labels }: Lesson<'_>) -> String {
    let classes = checkpoint::sha256(bytemuck::cast_slice(&labels.classes));
    let (pixels, ImageShape { h, w, c }) = (checkpoint::sha256(pixels), image);
    let all = format!("recipe {RECIPE}; {h}x{w}x{c}; {pixels}; {classes}; {:?}", labels.names);
    format!("{}.safetensors", &checkpoint::sha256(all.as_bytes())[..16])
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "sizes and shares, far below the limits"
)]
fn encode<B: Trains>(
    trained: &TrainedClassifier<B>,
    image: ImageShape,
    accuracy: Option<f64>,
    held_out: usize,
) -> Result<Vec<u8>> {
    let tensor = |name: &str, values: Vec<f32>| Tensor { name: name.into(), shape: vec![values.len()], values };
    let mut all = trained.tensors()?;
    all.push(tensor(IMAGE, [image.h, image.w, image.c].map(|side| side as f32).into()));
    all.push(tensor(ACCURACY, accuracy.map(|share| share as f32).into_iter().collect()));
    all.push(tensor(HELD_OUT, vec![held_out as f32]));
    tensors::encode(&all)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole numbers that were written as such")]
fn read<B: Trains>(backend: &B, image: ImageShape, path: &Path) -> Result<(TrainedClassifier<B>, Identity)> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, "read", error))?;
    let mut set = TensorSet::new(tensors::decode(path, &bytes)?, path);
    let no_classifier = |found: &str| {
        let error = Error::bad_data(path, "a classifier that `eval` or `train --metrics` has kept", found);
        error.with_hint("pass --classifier with a new name, to have it trained and kept there")
    };
    let Some(&[classes]) = set.shape(LOGITS) else { return Err(no_classifier("another safetensors file")) };
    let held_out = set.take(HELD_OUT, &[1])?[0] as usize;
    let accuracy = match set.shape(ACCURACY) {
        Some([0]) => set.take(ACCURACY, &[0]).map(|_| None),
        _ => set.take(ACCURACY, &[1]).map(|share| Some(f64::from(share[0]))),
    }?;
    let of = set.take(IMAGE, &[3])?;
    let of = ImageShape { h: of[0] as usize, w: of[1] as usize, c: of[2] as usize };
    if of != image {
        let shape = |ImageShape { h, w, c }| format!("{h}×{w}×{c}");
        let error = Error::bad_data(path, format!("a classifier of images of {}", shape(image)), shape(of));
        return Err(error.with_hint("pass the one that belongs to these images, or omit --classifier"));
    }
    if !(2..=usize::from(u16::MAX)).contains(&classes) {
        return Err(no_classifier(&format!("one of {classes} classes")));
    }
    let mut trained = TrainedClassifier::new(backend, image, classes)?;
    trained.fill(&mut set)?;
    set.finish()?;
    Ok((trained, Identity { hash: hash(&bytes), accuracy, held_out, path: Some(path.to_path_buf()) }))
}
