//! Properties of a data set's images, counted while they are read: transparency, orientation, and whether there is anything in
//! them to learn.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use rayon::prelude::*;

use super::decoded::Notes;
use crate::image::ImageShape;
use crate::units::plural;

/// The share of all pixels from which one colour alone is pointed out.
const NEARLY_ALL: f64 = 0.999;
/// The share of all images from which copies and images of one colour are pointed out.
const MANY: f64 = 0.01;
/// A file of 16 bits whose values span less than this, 1/16 of what they could, keeps at most 16 levels of grey in 8 bits. Cameras of
/// 12 bits that write their values as they are stay below it.
const NARROW: u16 = 1 << 12;

/// Properties of the files and of the pixels. Files of IDX and CIFAR-10 have none of the properties of picture files.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// Images that were looked at.
    pub images: usize,
    /// Images through which the background shows.
    pub transparent: usize,
    /// Background of the transparent ones: red, green, blue.
    pub background: [u8; 3],
    /// Images that were turned or mirrored, as their EXIF orientation says.
    pub rotated: usize,
    /// Images of 16 bits a channel, which are reduced to 8.
    pub sixteen_bit: usize,
    /// Those among them that span less than 1/16 of their range.
    pub narrow_sixteen_bit: usize,
    /// The lowest and the highest value of those.
    pub narrow_range: Option<(u16, u16)>,
    /// Animations, of which one image is taken.
    pub animated: usize,
    /// Images of four inks, converted without a profile.
    pub cmyk: usize,
    /// Images with a colour profile, which is not applied.
    pub profile: usize,
    /// Images in which all pixels are equal.
    pub constant: usize,
    /// Images that are exact copies of others: as many could go without a loss.
    pub duplicates: usize,
    /// The value that most pixels have in each channel (red, green, blue; a grey image counts in all three).
    pub most_common: [u8; 3],
    /// The share of the pixels that have it, from 0 to 1; the least of the three channels.
    pub most_common_share: f64,
}

// The share is a quotient of counts and never NaN.
impl Eq for Seen {}

impl Seen {
    /// Warnings about the data set as a whole, from its pixels.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let Seen { images, constant, duplicates, .. } = *self;
        if images == 0 {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        if images > 1 && duplicates == images - 1 {
            warnings.push(format!("all {images} images are the same"));
        }
        if self.most_common_share >= NEARLY_ALL {
            let share = self.most_common_share * 100.0;
            // 99.99996 % is not all.
            let share = if share < 100.0 { share.min(99.9999) } else { share };
            let digits = if share < 100.0 { 2 + usize::from(share > 99.99) * 2 } else { 0 };
            warnings.push(format!("{share:.digits$} % of all pixels are {}", colour(self.most_common)));
        } else if constant == images {
            warnings.push("every image is of one colour".into());
        }
        warnings
    }

    /// Changes and losses, each with its count.
    pub(crate) fn notes(&self) -> Vec<String> {
        let images = self.images;
        let of_all = |count: usize| format!("{count} of {}", plural(images, "image"));
        let mut notes = Vec::new();
        if self.transparent > 0 {
            let on = colour(self.background);
            let other = if self.background == [255; 3] { "black" } else { "white" };
            let images = of_all(self.transparent);
            notes.push(format!("{images} with transparency, laid on {on} (--set data.background={other} for another)"));
        }
        if self.rotated > 0 {
            notes.push(format!("{} rotated according to their EXIF orientation", of_all(self.rotated)));
        }
        if let (Some((low, high)), 1..) = (self.narrow_range, self.narrow_sixteen_bit) {
            let images = of_all(self.narrow_sixteen_bit);
            notes.push(format!(
                "{images} with 16 bits but less than 1/16 of their range (values from {low} to {high} of 65535), of which 8 bits \
                 keep little: stretch the values first"
            ));
        }
        if self.sixteen_bit > self.narrow_sixteen_bit {
            notes.push(format!("{} with 16 bits, reduced to 8", of_all(self.sixteen_bit - self.narrow_sixteen_bit)));
        }
        if self.animated > 0 {
            notes.push(format!("{} from an animation", of_all(self.animated)));
        }
        if self.cmyk > 0 {
            notes.push(format!("{} of four inks (CMYK), converted without a profile", of_all(self.cmyk)));
        }
        if self.profile > 0 {
            notes.push(format!("{} with a colour profile, not applied", of_all(self.profile)));
        }
        let many = |count: usize| count > 0 && count as f64 >= MANY * images as f64;
        if many(self.constant) {
            notes.push(format!("{} of one colour", of_all(self.constant)));
        }
        if many(self.duplicates) {
            notes.push(format!("{} exact copies of others", of_all(self.duplicates)));
        }
        notes
    }
}

/// `black`, `white`, or the values.
fn colour([red, green, blue]: [u8; 3]) -> String {
    match [red, green, blue] {
        [0, 0, 0] => "black".into(),
        [255, 255, 255] => "white".into(),
        _ if red == green && green == blue => format!("grey {red}"),
        _ => format!("#{red:02x}{green:02x}{blue:02x}"),
    }
}

/// Counts over images, in any order: all are sums.
pub(crate) struct Tally {
    seen: Seen,
    histograms: [[u64; 256]; 3],
    hashes: Vec<u128>,
}

impl Tally {
    pub(crate) fn new(background: [u8; 3]) -> Self {
        let seen = Seen { background, ..Seen::default() };
        Tally { seen, histograms: [[0; 256]; 3], hashes: Vec::new() }
    }

    /// One image, as it was decoded.
    pub(crate) fn add(&mut self, shape: ImageShape, pixels: &[u8], notes: &Notes) {
        let seen = &mut self.seen;
        seen.images += 1;
        seen.transparent += usize::from(notes.transparent);
        seen.rotated += usize::from(notes.orientation != 1);
        seen.animated += usize::from(notes.animated);
        seen.cmyk += usize::from(notes.cmyk);
        seen.profile += usize::from(notes.profile);
        if let Some((low, high)) = notes.sixteen_bit {
            seen.sixteen_bit += 1;
            if high.saturating_sub(low) < NARROW {
                seen.narrow_sixteen_bit += 1;
                seen.narrow_range = Some(wider(seen.narrow_range, (low, high)));
            }
        }
        // Each pixel is equal to the one before it; a single pixel has none.
        let flat = |rest: &[u8]| !rest.is_empty() && rest == &pixels[..rest.len()];
        seen.constant += usize::from(pixels.get(shape.c..).is_some_and(flat));
        self.count_values(shape.c, pixels);
        self.hashes.push(hash(shape, pixels));
    }

    fn count_values(&mut self, channels: usize, pixels: &[u8]) {
        let [red, green, blue] = &mut self.histograms;
        if channels == 3 {
            for pixel in pixels.chunks_exact(3) {
                red[usize::from(pixel[0])] += 1;
                green[usize::from(pixel[1])] += 1;
                blue[usize::from(pixel[2])] += 1;
            }
            return;
        }
        let mut grey = [0; 256];
        pixels.iter().for_each(|&value| grey[usize::from(value)] += 1);
        for histogram in [red, green, blue] {
            histogram.iter_mut().zip(grey).for_each(|(sum, count)| *sum += count);
        }
    }

    pub(crate) fn merge(mut self, other: Tally) -> Tally {
        let (a, b) = (&mut self.seen, other.seen);
        a.images += b.images;
        a.transparent += b.transparent;
        a.rotated += b.rotated;
        a.sixteen_bit += b.sixteen_bit;
        a.narrow_sixteen_bit += b.narrow_sixteen_bit;
        a.narrow_range = b.narrow_range.map(|range| wider(a.narrow_range, range)).or(a.narrow_range);
        a.animated += b.animated;
        a.cmyk += b.cmyk;
        a.profile += b.profile;
        a.constant += b.constant;
        let pairs = self.histograms.as_flattened_mut().iter_mut().zip(other.histograms.as_flattened());
        pairs.for_each(|(a, b)| *a += b);
        self.hashes.extend(other.hashes);
        self
    }

    pub(crate) fn finish(self) -> Seen {
        let Tally { mut seen, histograms, hashes } = self;
        let distinct: HashSet<u128> = hashes.into_iter().collect();
        seen.duplicates = seen.images - distinct.len();
        // The first of those that are equally common.
        let highest = |histogram: &[u64; 256]| (0..=255u8).rev().max_by_key(|&value| histogram[usize::from(value)]);
        seen.most_common = histograms.each_ref().map(|histogram| highest(histogram).unwrap_or_default());
        let shares = histograms.iter().zip(seen.most_common).map(|(histogram, value)| {
            histogram[usize::from(value)] as f64 / histogram.iter().sum::<u64>().max(1) as f64
        });
        seen.most_common_share = shares.fold(1.0, f64::min);
        seen
    }
}

fn wider(range: Option<(u16, u16)>, (low, high): (u16, u16)) -> (u16, u16) {
    range.map_or((low, high), |(lowest, highest)| (lowest.min(low), highest.max(high)))
}

/// 128 bits, so that two images that differ are never taken for one; nobody chooses them to collide.
fn hash(shape: ImageShape, pixels: &[u8]) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, shape.h, shape.w, shape.c).hash(&mut hasher);
        hasher.write(pixels);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

/// Counts over a whole data set of one shape; `pixels` are those of all images, one behind the other.
pub(crate) fn of_images(shape: ImageShape, pixels: &[u8]) -> Seen {
    let size = shape.len().max(1);
    let add = |mut tally: Tally, image: &[u8]| {
        tally.add(shape, image, &Notes::default());
        tally
    };
    let start = || Tally::new([0; 3]);
    pixels.par_chunks_exact(size).with_min_len(64).fold(start, add).reduce(start, Tally::merge).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Images;

    fn seen_in(images: &Images) -> Seen {
        of_images(images.shape(), &images.pixels)
    }

    fn images(channels: usize, pixels: &[u8]) -> Images {
        let count = pixels.len() / (2 * channels);
        Images { count, height: 1, width: 2, channels, pixels: pixels.to_vec(), ..Images::default() }
    }

    #[test]
    fn one_value_copies_and_flat_images_are_counted() {
        let seen = seen_in(&images(1, &[0, 0, 0, 9, 0, 0, 7, 7]));
        assert_eq!((seen.images, seen.constant, seen.duplicates), (4, 3, 1));
        assert_eq!((seen.most_common, seen.most_common_share), ([0; 3], 5.0 / 8.0));
        // A colour counts as one value although its channels differ.
        let seen = seen_in(&images(3, &[255, 0, 9].repeat(2000)));
        assert_eq!((seen.most_common, seen.most_common_share, seen.constant), ([255, 0, 9], 1.0, 1000));
        assert_eq!(seen.warnings(), ["all 1000 images are the same", "100 % of all pixels are #ff0009"]);
        let seen = seen_in(&images(1, &[1, 1, 2, 2, 3, 3]));
        assert_eq!(seen.warnings(), ["every image is of one colour"]);
        assert!(seen_in(&images(1, &[1, 2, 2, 2, 3, 3])).warnings().is_empty());
    }

    #[test]
    fn nearly_all_is_pointed_out_and_is_not_called_all() {
        let mut pixels = vec![255; 4_000_000];
        pixels[77] = 3;
        let seen = seen_in(&images(1, &pixels));
        assert_eq!(seen.warnings(), ["99.9999 % of all pixels are white"]);
        pixels[..4000].fill(3);
        assert_eq!(seen_in(&images(1, &pixels)).warnings(), ["99.90 % of all pixels are white"]);
        pixels[..4001].fill(3);
        assert!(seen_in(&images(1, &pixels)).warnings().is_empty());
    }

    #[test]
    fn sums_do_not_depend_on_the_order() {
        let shape = ImageShape { h: 1, w: 2, c: 1 };
        let notes = |low, high| Notes {
            orientation: 6,
            transparent: true,
            sixteen_bit: Some((low, high)),
            animated: true,
            cmyk: true,
            profile: true,
        };
        let all = [([0, 1], notes(5, 4100)), ([0, 1], notes(300, 400)), ([2, 2], notes(0, 60_000))];
        let one = |(pixels, notes): &([u8; 2], Notes)| {
            let mut tally = Tally::new([255; 3]);
            tally.add(shape, pixels, notes);
            tally
        };
        let forwards = all.iter().map(one).reduce(Tally::merge).unwrap().finish();
        let backwards = all.iter().rev().map(one).reduce(Tally::merge).unwrap().finish();
        assert_eq!(forwards, backwards);
        assert_eq!((forwards.rotated, forwards.sixteen_bit, forwards.narrow_sixteen_bit), (3, 3, 2));
        assert_eq!([forwards.transparent, forwards.animated, forwards.cmyk, forwards.profile], [3; 4]);
        assert_eq!((forwards.narrow_range, forwards.duplicates, forwards.constant), (Some((5, 4100)), 1, 1));
        assert_eq!(forwards.background, [255; 3]);
    }
}
