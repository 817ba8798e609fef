//! Inception-v3 with weights that the user brings: how they are read, and what the net says of images.

use std::collections::BTreeMap;
use std::path::Path;

use super::classifier::Trains;
use super::resize::Resizer;
use crate::config::Resize;
use crate::device::Storage;
use crate::device::parallel::{ParallelSliceMut, Parts};
use crate::error::{Error, Result};
use crate::image::ImageShape;
use crate::nn::inception::{CLASSES, FEATURES, Inception, Layer, Plan};
use crate::nn::table::permute;
use crate::run::Tensor;

/// The number that batch normalisation adds to a variance.
const EPSILON: f64 = 1e-3;
/// The source of such a file.
const SOURCE: &str = "the weights are those of pytorch-fid and torch-fidelity, `pt_inception-2015-12-05`; docs/metrics.md says how to \
                      have them in a file that is read here";

/// Inception's output for images.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Perceived {
    /// Features `[N, 2048]`.
    pub features: Vec<f32>,
    /// Logits without bias `[N, 1008]`.
    pub logits: Vec<f32>,
}

/// The net on a device, for images of one shape.
pub struct Extractor<B: Trains> {
    backend: B,
    net: Inception<B>,
    resizer: Resizer,
    image: ImageShape,
    side: usize,
}

impl<B: Trains> Extractor<B> {
    /// The net with these weights, for squares of this side and batches of this size; `path` is the weights' file, for messages.
    ///
    /// # Errors
    /// [`Error::BadData`] where a tensor is missing, of another shape, or one of another net; if memory is used up.
    pub fn new(
        backend: &B,
        path: &Path,
        tensors: Vec<Tensor>,
        image: ImageShape,
        resize: Resize,
        (side, batch): (usize, usize),
    ) -> Result<Self> {
        let mut file = File::new(path, tensors)?;
        let net = Inception::new(backend, Plan::new(side), batch, |layer| file.layer(layer))?;
        file.finish()?;
        Ok(Extractor { backend: backend.clone(), net, resizer: Resizer::new(resize, image, side), image, side })
    }

    /// Its output for images, pixels `[N, H, W, C]`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn look_at(&mut self, pixels: &[u8]) -> Result<Perceived> {
        let (mut all, len, batch) = (Perceived::default(), self.image.len(), self.net.batch());
        for part in pixels.chunks(batch * len) {
            let (count, square) = (part.len() / len, self.side * self.side * 3);
            let mut images = vec![B::Storage::of_real(0.0); count * square];
            images.par_chunks_mut(square).enumerate().for_each(|(i, target)| {
                let mut resized = Vec::with_capacity(square);
                self.resizer.append(&part[i * len..][..len], &mut resized);
                target.iter_mut().zip(resized).for_each(|(to, from)| *to = Storage::of_real(from));
            });
            let target = self.backend.slice_mut(self.net.images(), 0..count * square);
            self.backend.upload(&images, target)?;
            let [features, logits] = self.net.forward()?;
            all.features.extend(&features[..count * FEATURES]);
            all.logits.extend(&logits[..count * CLASSES]);
        }
        Ok(all)
    }
}

/// The tensors of a file, taken out one by one.
struct File<'a> {
    path: &'a Path,
    tensors: BTreeMap<String, Tensor>,
}

impl<'a> File<'a> {
    /// # Errors
    /// [`Error::BadData`] where they are torchvision's.
    fn new(path: &'a Path, tensors: Vec<Tensor>) -> Result<Self> {
        let tensors: BTreeMap<_, _> = tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
        let classes = tensors.get("fc.weight").and_then(|tensor| tensor.shape.first());
        if classes == Some(&1000) || tensors.keys().any(|name| name.starts_with("AuxLogits.")) {
            let expected = format!("the Inception-v3 of FID, with {CLASSES} classes");
            let error = Error::bad_data(path, expected, "torchvision's, another net with other weights");
            return Err(error.with_hint(SOURCE));
        }
        Ok(File { path, tensors })
    }

    /// The tensor of this name and shape.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let found = match self.tensors.remove(name) {
            Some(tensor) if tensor.shape == shape => return Ok(tensor.values),
            Some(tensor) => format!("shape {:?}", tensor.shape),
            None => "none of that name".into(),
        };
        Err(Error::bad_data(self.path, format!("a tensor `{name}` of shape {shape:?}"), found).with_hint(SOURCE))
    }

    /// Weight `[K, R, S, C]` and bias of a layer. Of a convolution batch normalisation is folded into both: with a = γ / √(σ² + ε) they
    /// are a · w and β − a · μ.
    fn layer(&mut self, layer: &Layer) -> Result<(Vec<f32>, Vec<f32>)> {
        let (name, [k, r, s, c]) = (&layer.name, layer.shape);
        if layer.is_linear() {
            self.take(&format!("{name}.bias"), &[k])?;
            return Ok((self.take(&format!("{name}.weight"), &[k, c])?, Vec::new()));
        }
        let weight = self.take(&format!("{name}.conv.weight"), &[k, c, r, s])?;
        let mut of_norm = |part: &str| self.take(&format!("{name}.bn.{part}"), &[k]);
        let [gamma, beta, mean, variance] =
            [of_norm("weight")?, of_norm("bias")?, of_norm("running_mean")?, of_norm("running_var")?];
        if let Some(wrong) = variance.iter().find(|variance| **variance < 0.0) {
            let expected = format!("variances in `{name}.bn.running_var`");
            return Err(Error::bad_data(self.path, expected, format!("{wrong}")).with_hint(SOURCE));
        }
        let factor = |k: usize| f64::from(gamma[k]) / (f64::from(variance[k]) + EPSILON).sqrt();
        let mut weight = permute(&weight, &[k, c, r, s], &[0, 2, 3, 1]);
        for (k, filter) in weight.chunks_exact_mut(r * s * c).enumerate() {
            let factor = factor(k);
            filter.iter_mut().for_each(|w| *w = single(f64::from(*w) * factor));
        }
        let bias = (0..k).map(|k| single(f64::from(beta[k]) - f64::from(mean[k]) * factor(k))).collect();
        Ok((weight, bias))
    }

    /// Says which tensor nobody asked for.
    fn finish(self) -> Result<()> {
        match self.tensors.keys().next() {
            None => Ok(()),
            Some(name) => {
                let error =
                    Error::bad_data(self.path, "only tensors of the Inception-v3 of FID", format!("`{name}` too"));
                Err(error.with_hint(SOURCE))
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation)]
fn single(value: f64) -> f32 {
    value as f32
}
