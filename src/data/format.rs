//! The format of a file, by its first bytes, whatever its name says.

use std::path::Path;

use super::decoded::Codec;
use super::source::hex;
use crate::error::Error;

/// Number of bytes that are inspected at a file's start.
pub(crate) const START: usize = 512;

/// A kind of file that is not read.
pub(crate) struct Kind {
    /// With its article.
    pub(crate) name: &'static str,
    pub(crate) content: Content,
}

/// The kind of a file's content, which decides what to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// A picture in pixels: in a folder of images it is one that was meant, whatever its name.
    Picture,
    /// Something that can be made a picture, but is known by too little, or is no picture by itself.
    Convertible,
    /// Several files.
    Archive,
    /// One file, packed.
    Compressed,
    /// Numbers that may be many images.
    Arrays,
    /// Frames.
    Video,
    /// A page that a server sends instead of a file.
    Failure,
    /// A pointer that Git LFS keeps instead of a file.
    Pointer,
}

impl Content {
    /// The handling of such a file among pictures.
    fn advice(self) -> &'static str {
        match self {
            Content::Picture | Content::Convertible => CONVERT,
            Content::Archive | Content::Compressed => "unpack it, and move it out of the folder",
            Content::Arrays => "save the images as PNG files",
            Content::Video => "save its frames as PNG files, or move it out of the folder",
            Content::Failure => AGAIN,
            Content::Pointer => "get the file that it stands for with `git lfs pull`",
        }
    }
}

const CONVERT: &str = "convert the file to PNG, or move it out of the folder";
const AGAIN: &str = "the download went wrong: fetch the file again";

/// Returns true if a file starts like a picture, of a format that is read or not.
pub(crate) fn is_picture(start: &[u8]) -> bool {
    Codec::of(start).is_some() || kind_of(start).is_some_and(|kind| kind.content == Content::Picture)
}

/// The error for a file that is neither PNG nor JPEG.
pub(crate) fn not_read(path: &Path, start: &[u8]) -> Error {
    let start = &start[..start.len().min(START)];
    let (found, advice) = match kind_of(start) {
        Some(kind) => (kind.name.to_string(), kind.content.advice()),
        None if start.is_empty() => ("an empty file".to_string(), "fetch it again, or move it out of the folder"),
        None if start.iter().all(|&byte| byte == 0) => ("a file of zeros".to_string(), AGAIN),
        None => (format!("the bytes {} at offset 0", hex(&start[..start.len().min(8)])), CONVERT),
    };
    Error::bad_data(path, "a PNG or JPEG image", found).with_hint(advice)
}

/// The kind that a file's first bytes give away.
pub(crate) fn kind_of(start: &[u8]) -> Option<Kind> {
    let other = |name, content| Some(Kind { name, content });
    let picture = |name| other(name, Content::Picture);
    match start {
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => picture("a GIF"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => picture("a WebP image"),
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => picture("a TIFF image (or a camera's raw one)"),
        [b'I', b'I', 0xbc, 1, ..] => picture("a JPEG XR image"),
        [0, 0, 0, 12, b'J', b'X', b'L', b' ', 13, 10, 0x87, 10, ..] => picture("a JPEG XL image"),
        // Two bytes alone prove little.
        [0xff, 0x0a, ..] => other("a JPEG XL image", Content::Convertible),
        [0, 0, 0, 12, b'j', b'P', b' ', b' ', 13, 10, 0x87, 10, ..] | [0xff, 0x4f, 0xff, 0x51, ..] => {
            picture("a JPEG 2000 image")
        }
        [_, _, _, _, b'f', b't', b'y', b'p', brands @ ..] => in_boxes(brands),
        [b'8', b'B', b'P', b'S', ..] => other("a Photoshop file (PSD)", Content::Convertible),
        [b'B', b'M', ..] if is_bitmap(start) => picture("a BMP image"),
        [b'B', b'M', ..] => other("a BMP image", Content::Convertible),
        [b'q', b'o', b'i', b'f', ..] => picture("a QOI image"),
        [0, 0, 1, 0, _, 0, ..] => other("an icon (ICO)", Content::Convertible),
        [0x76, 0x2f, 0x31, 1, ..] => other("an OpenEXR image", Content::Convertible),
        [0x8a, b'M', b'N', b'G', ..] | [0x8b, b'J', b'N', b'G', ..] => {
            other("an MNG or JNG image", Content::Convertible)
        }
        [b'P', b'1'..=b'7', b'\n' | b' ' | b'\r' | b'\t', ..] => other("a PBM, PGM or PPM image", Content::Convertible),
        [b'%', b'P', b'D', b'F', ..] => other("a PDF", Content::Convertible),
        [b'P', b'K', 3 | 5 | 7, _, ..] => other("a zip archive", Content::Archive),
        [0x1f, 0x8b, ..] => other("a gzip file", Content::Compressed),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => other("a bzip2 file", Content::Compressed),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => other("an xz file", Content::Compressed),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => other("a zstd file", Content::Compressed),
        [b'7', b'z', 0xbc, 0xaf, ..] => other("a 7z archive", Content::Archive),
        [b'R', b'a', b'r', b'!', ..] => other("a RAR archive", Content::Archive),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => other("a NumPy array", Content::Arrays),
        [0x89, b'H', b'D', b'F', ..] => other("an HDF5 file", Content::Arrays),
        [b'P', b'A', b'R', b'1', ..] => other("a Parquet table", Content::Arrays),
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => other("an Arrow table", Content::Arrays),
        [0x80, 2..=5, ..] => other("a Python pickle", Content::Arrays),
        _ if start.starts_with(b"MATLAB 5.0 MAT-file") => other("a MATLAB file", Content::Arrays),
        // Behind a header of 16 bytes.
        _ if start.get(16..20) == Some(&[0xde, 0xc0, 0xef, 0xbe]) => other("an LMDB database", Content::Arrays),
        [0x1a, 0x45, 0xdf, 0xa3, ..] => other("a video (Matroska or WebM)", Content::Video),
        _ if start.get(257..262) == Some(b"ustar") => other("a tar archive", Content::Archive),
        _ if start.get(128..132) == Some(b"DICM") => other("a DICOM image", Content::Convertible),
        _ => text(start),
    }
}

/// HEIC, AVIF and videos are boxes of ISO's media format; the brands say which.
fn in_boxes(brands: &[u8]) -> Option<Kind> {
    let has = |known: &[&[u8; 4]]| brands.chunks_exact(4).take(16).any(|brand| known.iter().any(|&name| brand == name));
    let (name, content) = if has(&[b"avif", b"avis"]) {
        ("an AVIF image", Content::Picture)
    } else if has(&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"]) {
        ("a HEIC image", Content::Picture)
    } else if has(&[b"crx "]) {
        ("a camera's raw image (CR3)", Content::Picture)
    } else {
        ("a video (MP4 or MOV)", Content::Video)
    };
    Some(Kind { name, content })
}

/// Beyond two letters: the reserved zeros, and a length of the second header that exists.
fn is_bitmap(start: &[u8]) -> bool {
    start.get(6..10) == Some(&[0; 4])
        && matches!(start.get(14..18), Some([12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0]))
}

/// Text: what a server, a repository or a drawing program writes into a file of a picture's name.
fn text(start: &[u8]) -> Option<Kind> {
    let plain = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start().to_ascii_lowercase();
    let contains = |word: &[u8]| plain.windows(word.len()).any(|window| window == word);
    let (name, content) = if plain.starts_with(b"<svg") || (plain.starts_with(b"<") && contains(b"<svg")) {
        ("an SVG drawing", Content::Convertible)
    } else if plain.starts_with(b"<!doctype html") || (plain.starts_with(b"<") && contains(b"<html")) {
        ("a web page (HTML)", Content::Failure)
    } else if plain.starts_with(b"<?xml") || plain.starts_with(b"<error>") {
        ("an XML text", Content::Failure)
    } else if plain.starts_with(b"{\"") || plain.starts_with(b"{\n") {
        ("a JSON text", Content::Failure)
    } else if plain.starts_with(b"version https://git-lfs") {
        ("a pointer of Git LFS", Content::Pointer)
    } else {
        return None;
    };
    Some(Kind { name, content })
}

/// Ends of names that claim to be an image. Those that are not PNG or JPEG are listed too: leaving them out without a
/// word would train on less than the user thinks.
const EXTENSIONS: [&str; 12] =
    ["png", "jpg", "jpeg", "jpe", "jfif", "gif", "bmp", "webp", "tif", "tiff", "avif", "heic"];

/// Returns true if a file's name claims that it is an image.
pub(crate) fn claims(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_no_picture_by_two_letters() {
        assert!(!is_picture(b"BMW, Audi, VW and others were counted"));
        assert!(!is_picture(b"\xff\x0a\x01\x02"));
        assert!(!is_picture(b"IIx"));
        assert!(is_picture(b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0"));
    }

    #[test]
    fn brands_decide_between_boxes() {
        let found = |bytes: &[u8]| kind_of(bytes).map(|kind| kind.name);
        assert_eq!(found(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf"), Some("an AVIF image"));
        assert_eq!(found(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic"), Some("a HEIC image"));
        assert_eq!(found(b"\0\0\0\x18ftypisom\0\0\0\0mp42isom"), Some("a video (MP4 or MOV)"));
        assert_eq!(found(b"\0\0\0\x18ftypqt  "), Some("a video (MP4 or MOV)"));
    }
}
