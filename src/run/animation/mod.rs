//! Pictures that move, as GIF, APNG or MP4.

mod apng;
mod caption;
mod frames;
mod gif;
mod video;

use std::path::Path;

use super::atomic;
use crate::error::Result;
pub use caption::captioned;
pub use frames::Animation;
pub use video::require_ffmpeg;

/// The most frames of a moving picture.
pub const MOST_FRAMES: usize = 10_000;

/// A kind of file that holds a moving picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// 256 colours in all frames together; grey pictures as they are.
    Gif,
    /// A PNG with several frames; every pixel as it is.
    Apng,
    /// Made by ffmpeg, where that is installed.
    Mp4,
}

impl Format {
    /// The endings of names that have a format.
    pub const ENDINGS: &str = ".gif, .apng or .mp4";

    /// The format that a file's name asks for, if it is one of these.
    pub fn of(path: &Path) -> Option<Format> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "gif" => Some(Format::Gif),
            "apng" => Some(Format::Apng),
            "mp4" => Some(Format::Mp4),
            _ => None,
        }
    }
}

/// Writes a moving picture. The file appears whole or not at all.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) where it can't be written; [`Error::Usage`](crate::Error::Usage) and
/// [`Error::Failed`](crate::Error::Failed) where ffmpeg is missing or fails; [`Error::Internal`](crate::Error::Internal) where the sizes
/// make no picture.
pub fn write(animation: &Animation, path: &Path, format: Format) -> Result<()> {
    animation.require_whole()?;
    match format {
        Format::Gif => atomic::write_file(path, &gif::encode(animation)?),
        Format::Apng => atomic::write_file(path, &apng::encode(animation)?),
        Format::Mp4 => video::write(animation, path),
    }
}

#[cfg(test)]
mod tests;
