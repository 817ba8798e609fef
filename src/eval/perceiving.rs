//! Inception on its device with the real images' side of FID: opened once, asked again and again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::classifier::Trains;
use super::inception::{Extractor, Perceived};
use super::moments::Moments;
use super::observed::{Gathered, Observed};
use super::{statistics, store};
use crate::config::Resize;
use crate::data::Images;
use crate::error::{Result, readable_path};
use crate::exchange::Weights;
use crate::nn::inception::SIDE;
use crate::run::checkpoint::sha256;
use crate::run::messages::say;
use crate::units::grouped;

/// The options of FID and the Inception score.
#[derive(Debug, Clone, PartialEq)]
pub struct InceptionOptions {
    /// The file of the weights.
    pub weights: PathBuf,
    /// The method to resize images to the net's size.
    pub resize: Resize,
    /// A file of the real images' moments, instead of those of the data set.
    pub statistics: Option<PathBuf>,
}

/// The identity of the net and the moments: figures with the same identity can be compared.
#[derive(Debug, Clone, PartialEq)]
pub struct InceptionIdentity {
    /// The first 12 hexadecimal digits of the SHA-256 of the weights' file.
    pub weights: String,
    /// The method to resize images to the net's size.
    pub resize: Resize,
    /// Those of the file of moments; `None` for the data set's own.
    pub statistics: Option<String>,
    /// The file of moments; `None` where they could not be kept, or nobody asks for them.
    pub path: Option<PathBuf>,
}

impl InceptionIdentity {
    /// All that decides whether figures can be compared, in a word: `6726825d0af5 clean data`.
    pub fn word(&self) -> String {
        format!("{} {} {}", self.weights, self.resize.word(), self.statistics.as_deref().unwrap_or("data"))
    }
}

/// Something that perceives images: the net on its device.
trait Perceives: Send {
    fn look_at(&mut self, pixels: &[u8]) -> Result<Perceived>;
}
impl<B: Trains> Perceives for Extractor<B> {
    fn look_at(&mut self, pixels: &[u8]) -> Result<Perceived> {
        Extractor::look_at(self, pixels)
    }
}

/// The net, and what it is known by.
pub struct Perceiving {
    net: Box<dyn Perceives>,
    /// Its identity.
    pub identity: InceptionIdentity,
}

/// Images that are looked at before the next ones are asked for.
pub(super) const AT_ONCE: usize = 1024;

/// The sizes that the net is used at, and the folder where moments are kept.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Side of the images, 299 but in tests.
    pub side: usize,
    /// Images of a batch: every pass has as many, since the order of a product's sums may depend on its size.
    pub batch: usize,
    /// `None` where there is no such folder.
    pub cache: Option<PathBuf>,
}

impl Setting {
    /// Inception's own, and the user's cache folder.
    pub fn usual() -> Setting {
        Setting { side: SIDE, batch: 16, cache: store::cache_folder("inception") }
    }
}

impl Perceiving {
    /// Opens the net, and has the moments of the real images from a file, from the cache, or from the images of these numbers; without
    /// numbers nobody asks for moments.
    ///
    /// # Errors
    /// [`BadData`](crate::Error::BadData) where a file is none of these.
    pub fn open<B: Trains>(
        backend: &B,
        images: &Images,
        reals: Option<&[usize]>,
        options: &InceptionOptions,
        setting: &Setting,
    ) -> Result<(Perceiving, Option<Observed>)> {
        let given = options.statistics.as_deref().map(statistics::read).transpose()?;
        let weights = Weights::read(&options.weights)?;
        let hash = weights.sha256.clone();
        let (shape, size) = (images.shape(), (setting.side, setting.batch));
        let net = Extractor::new(backend, &options.weights, weights.tensors, shape, options.resize, size)?;
        let identity = InceptionIdentity {
            weights: hash[..12].to_string(),
            resize: options.resize,
            statistics: given.as_ref().map(|(_, hash)| hash.clone()),
            path: options.statistics.clone(),
        };
        let mut perceiving = Perceiving { net: Box::new(net), identity };
        let moments = match (given, reals) {
            (Some((moments, _)), _) => Some(moments),
            (None, Some(reals)) => Some(perceiving.of_images(images, reals, &hash, setting)?),
            (None, None) => None,
        };
        Ok((perceiving, moments.map(|moments| Observed { moments, scores: Vec::new() })))
    }

    /// The moments of images of the data set, which are kept for the next time.
    fn of_images(&mut self, images: &Images, reals: &[usize], weights: &str, setting: &Setting) -> Result<Moments> {
        let (shape, resize) = (images.shape(), self.identity.resize.word());
        let pixels = sha256(&images.pixels);
        let all = format!(
            "{}x{}x{}; {pixels}; {} of {}; {weights}; {resize} to {}",
            shape.h,
            shape.w,
            shape.c,
            reals.len(),
            images.count,
            setting.side
        );
        let path = setting.cache.as_deref().map(|folder| statistics::cached(folder, &all));
        if let Some(path) = path.as_deref().filter(|path| path.exists()) {
            match statistics::read(path) {
                Ok((moments, _)) => {
                    self.identity.path = Some(path.to_path_buf());
                    return Ok(moments);
                }
                Err(error) => say(&format!("warning: the statistics of the real images are made again: {error}")),
            }
        }
        let target = path.as_deref().map_or_else(|| "memory".to_string(), readable_path);
        say(&format!("looking at the real images with Inception-v3, once: their statistics are kept in {target}"));
        let mut gathered = Gathered::new(reals.len());
        let mut pace = Pace::new("real images", reals.len());
        for part in reals.chunks(AT_ONCE) {
            let pixels: Vec<u8> =
                part.iter().flat_map(|&at| &images.pixels[at * shape.len()..][..shape.len()]).copied().collect();
            self.look_at(&pixels, &mut gathered)?;
            pace.step(part.len());
        }
        let Observed { moments, .. } = gathered.finish();
        match path.map(|path| keep(path, &moments)) {
            Some(Err(error)) => say(&format!("warning: the statistics of the real images are not kept: {error}")),
            kept => self.identity.path = kept.transpose()?,
        }
        Ok(moments)
    }

    /// Looks at the next images, pixels `[N, H, W, C]`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn look_at(&mut self, pixels: &[u8], gathered: &mut Gathered) -> Result<()> {
        gathered.add(&self.net.look_at(pixels)?);
        Ok(())
    }
}

/// Keeps moments in a file of the cache.
fn keep(path: PathBuf, moments: &Moments) -> Result<PathBuf> {
    store::make_folder(&path)?;
    statistics::write(&path, moments)?;
    Ok(path)
}

/// Says once a minute how far it is: on a processor Inception takes its time.
pub(super) struct Pace {
    what: &'static str,
    count: usize,
    done: usize,
    start: Instant,
    said: Instant,
}

impl Pace {
    pub(super) fn new(what: &'static str, count: usize) -> Pace {
        Pace { what, count, done: 0, start: Instant::now(), said: Instant::now() }
    }

    pub(super) fn step(&mut self, images: usize) {
        self.done += images;
        if self.said.elapsed() >= Duration::from_secs(60) && self.done < self.count {
            self.said = Instant::now();
            let speed = self.done as f64 / self.start.elapsed().as_secs_f64();
            let Pace { what, count, done, .. } = self;
            let [done, count] = [*done as u64, *count as u64].map(grouped);
            say(&format!("Inception-v3: {done} of {count} {what}, {speed:.1} images/s"));
        }
    }
}
