//! A set of images as the metrics see it.

use super::moments::{BLOCK, Moments, Running};
use super::observed::Observed;
use crate::image::ImageShape;
use crate::nn::classifier::FEATURES;

/// Images of a data set or of a generator: what the classifier says of them, and the pixels of some.
#[derive(Debug, Clone, PartialEq)]
pub struct Set {
    /// The size of an image.
    pub image: ImageShape,
    /// Features of each image, `[N, dims]`; empty where no metric needs them.
    pub features: Vec<f32>,
    /// Numbers of an image's features.
    pub dims: usize,
    /// The class that the classifier sees in each image, `[N]`; empty likewise.
    pub classes: Vec<u16>,
    /// The class that each image is of, by its label or by what its generator was asked for, `[N]`; empty where that is not known.
    pub asked: Vec<u16>,
    /// The names of the classes.
    pub names: Vec<String>,
    /// Pixels `[M, H, W, C]` of some of the images; empty where no metric needs them.
    pub pixels: Vec<u8>,
    /// Inception's output for all of them; `None` where no metric needs it.
    pub inception: Option<Observed>,
}

impl Set {
    /// No images of this size yet.
    pub fn new(image: ImageShape) -> Set {
        Set {
            image,
            features: Vec::new(),
            dims: FEATURES,
            classes: Vec::new(),
            asked: Vec::new(),
            names: Vec::new(),
            pixels: Vec::new(),
            inception: None,
        }
    }

    /// Images whose features are known.
    pub fn len(&self) -> usize {
        self.features.len() / self.dims
    }

    /// Whether no image's features are known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Images whose pixels are known.
    pub fn pictures(&self) -> usize {
        self.pixels.len() / self.image.len().max(1)
    }

    /// The features of chosen images, in double precision, `[chosen, dims]`.
    pub fn chosen(&self, images: &[u32]) -> Vec<f64> {
        let features = images.iter().flat_map(|&image| &self.features[image as usize * self.dims..][..self.dims]);
        features.map(|&value| f64::from(value)).collect()
    }

    /// Mean and covariance of the features of chosen images, of which there are two or more.
    pub fn moments(&self, images: &[u32]) -> Moments {
        let mut running = Running::new(self.dims);
        images.chunks(BLOCK).for_each(|block| running.add(&self.chosen(block)));
        running.moments()
    }
}
