//! Data sets, read once into resident 8-bit images.
//!
//! | file | what it reads |
//! |---|---|
//! | [`glyphs`] | nothing: draws the embedded digits |
//! | `idx` | MNIST's format, plain or gzipped |
//! | `cifar` | CIFAR-10's binary format: files, folders, the archive |
//! | `folder`, `picture` | folders of PNG and JPEG |
//! | `decoded`, `png_picture`, `jpeg`, `jpeg_markers`, `exif` | decoding one picture, and how it stands |
//! | `format`, `regular` | naming what is no such picture; opening no pipes |
//! | `find`, `select`, `split`, `own` | which of these a path is, and which of its files are trained on |
//! | `foreign` | data sets in formats that are not read, by name |
//! | `source`, `gzip` | opening and unzipping a file |
//! | `images`, `labels`, `load` | images in memory, their classes; loading, whatever the format |
//! | `convert` | number of channels, resizing |
//! | `nearest` | the images nearest to given ones, pixel by pixel |
//! | `report`, `tally` | what was left out or changed, and what the images look like |
//! | `check` | every bad file of a data set |
//! | `downloads` | what can be downloaded |
//! | `fetch` | downloads it (feature `download`) |

mod check;
mod cifar;
mod convert;
pub(crate) mod decoded;
mod downloads;
mod exif;
#[cfg(feature = "download")]
mod fetch;
mod find;
mod folder;
mod foreign;
mod format;
pub mod glyphs;
mod gzip;
mod idx;
mod images;
mod jpeg;
mod jpeg_markers;
mod labels;
mod load;
mod nearest;
mod own;
pub(crate) mod picture;
mod png_picture;
mod regular;
mod report;
mod select;
mod source;
mod split;
mod strokes;
mod tally;

pub use check::{BadFile, CheckReport, check};
pub use decoded::MAX_SIDE;
pub use downloads::{DATASETS, Dataset, RemoteFile, dataset};
#[cfg(feature = "download")]
pub use fetch::{fetch, fetch_files};
pub use images::{Extent, Images, LoadOptions};
pub use labels::Labels;
pub use load::{extent, load};
pub use nearest::{Neighbour, Search, nearest};
pub use report::{LeftOut, Reason, Report};
pub use tally::Seen;
