//! Decoding a JPEG file.
//!
//! The pixels are those of libjpeg's accurate integer transform and its smooth ("fancy") upsampling, as Pillow and browsers
//! have them: crate `mozjpeg` is that library, and of the decoders at hand the only one that is right on every file of
//! `tests/oracle/jpeg_matrix.py`. Its errors unwind, so a program that aborts on a panic would end at a damaged file.

use std::cell::Cell;
use std::panic::{catch_unwind, resume_unwind};
use std::path::Path;

use mozjpeg::{ColorSpace, Decompress};
use mozjpeg_sys::{jpeg_common_struct, jpeg_error_mgr, msg_parm_union};

use super::decoded::{Codec, Notes, Picture, guard};
use super::exif;
use super::jpeg_markers::{self, Fault, Header, Walk};
use crate::error::{Error, Result};
use crate::image::ImageShape;

/// The most scans that are decoded. Files have up to a few dozen; thousands of empty ones over a large picture would keep the
/// decoder busy for minutes.
const MOST_SCANS: usize = 500;

/// The shape after turning, from the beginning of a file of `length` bytes.
pub(crate) fn shape(path: &Path, length: u64, bytes: &[u8]) -> Result<ImageShape> {
    let header = jpeg_markers::header(bytes).map_err(|fault| bad(path, fault))?;
    let shape = stored_shape(path, length, &header)?;
    Ok(exif::turned(shape, header.orientation))
}

/// The shape as it is stored, if it is one that is read.
fn stored_shape(path: &Path, length: u64, header: &Header) -> Result<ImageShape> {
    let &Header { coding, precision, height, width, components, .. } = header;
    let other = match (coding, components) {
        (0xc0..=0xc2, 1 | 3 | 4) if precision == 8 => None,
        (0xc3 | 0xcb | 0xf7, _) => Some("a lossless one".to_string()),
        (0xc5..=0xc7 | 0xcd..=0xcf, _) => Some("a hierarchical one".to_string()),
        (0xc9 | 0xca, _) => Some("one with arithmetic coding".to_string()),
        (_, 1 | 3 | 4) => Some(format!("one of {precision} bits a sample")),
        _ => Some(format!("one of {components} components")),
    };
    if let Some(found) = other {
        let expected = "a JPEG of the common kind (baseline or progressive, 8 bits, grey, colour or CMYK)";
        return Err(
            Error::bad_data(path, expected, found).with_hint("save it again as a PNG with the program that made it")
        );
    }
    guard(path, Codec::Jpeg, length, (height, width), u64::from(precision) * components as u64)?;
    Ok(ImageShape { h: height, w: width, c: if components == 1 { 1 } else { 3 } })
}

/// Decodes a whole file and turns it as viewers show it.
pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<Picture> {
    let walked = jpeg_markers::walk(bytes);
    // What is said of a file should be the same with and without its pixels, so the header comes first.
    let header = jpeg_markers::header(bytes).map_err(|fault| bad(path, fault))?;
    let shape = stored_shape(path, bytes.len() as u64, &header)?;
    let walk = walked.map_err(|fault| bad(path, fault))?;
    if walk.scans > MOST_SCANS {
        return Err(Error::bad_data(path, format!("a JPEG of at most {MOST_SCANS} scans"), walk.scans.to_string()));
    }
    let decoded = decode_checked(&bytes[..walk.end], &walk).map_err(|fault| bad(path, fault))?;
    let pixels = if header.components == 4 { without_ink(&decoded) } else { decoded };
    if pixels.len() != shape.h * shape.w * shape.c {
        return Err(Error::Internal(format!("{}: {} bytes decoded for {shape:?}", path.display(), pixels.len())));
    }
    let notes = Notes {
        orientation: header.orientation,
        cmyk: header.components == 4,
        profile: header.profile,
        ..Notes::default()
    };
    let pixels = exif::turn(shape, pixels, header.orientation);
    Ok(Picture { shape: exif::turned(shape, header.orientation), pixels, notes })
}

fn bad(path: &Path, fault: Fault) -> Error {
    match fault {
        Fault::Cut => {
            let expected = "a whole JPEG image, with an end mark (ff d9) after the image's data";
            Error::bad_data(path, expected, "a file that ends too early")
                .with_hint("the file was cut off: download it again")
        }
        Fault::Damaged(what) => Error::bad_data(path, "a whole JPEG image", format!("a damaged one ({what})")),
    }
}

/// Decodes, and makes sure that no pixel was made up for data that is not there.
///
/// libjpeg warns alike of superfluous bytes, which do no harm and are frequent, and of missing ones, for which it puts grey.
/// They are told apart by decoding once more with other bytes behind each stretch of data: missing ones are then taken from
/// there, and the pixels change.
fn decode_checked(bytes: &[u8], walk: &Walk) -> std::result::Result<Vec<u8>, Fault> {
    const DAMAGED: Fault = Fault::Damaged("its coded data does not fit its size");
    let (pixels, warnings) = decompress(bytes).ok_or(DAMAGED)?;
    if warnings == 0 {
        return Ok(pixels);
    }
    for filling in [[0x55; 64], [0xaa; 64]] {
        let mut longer = Vec::with_capacity(bytes.len() + 64 * walk.stretches.len());
        let mut from = 0;
        for &end in &walk.stretches {
            longer.extend_from_slice(&bytes[from..end]);
            longer.extend_from_slice(&filling);
            from = end;
        }
        longer.extend_from_slice(&bytes[from..]);
        if decompress(&longer).is_none_or(|(other, _)| other != pixels) {
            return Err(DAMAGED);
        }
    }
    Ok(pixels)
}

thread_local! {
    /// Number of the decoder's warnings about the current file.
    static WARNINGS: Cell<usize> = const { Cell::new(0) };
}

/// Grey, red-green-blue or inverted CMYK, and how many warnings there were; nothing where the decoder gave up.
fn decompress(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    WARNINGS.set(0);
    let decoded = catch_unwind(|| -> std::io::Result<Vec<u8>> {
        let decoder = Decompress::builder().with_err(error_manager()).from_mem(bytes)?;
        let colors = match decoder.color_space() {
            ColorSpace::JCS_GRAYSCALE => ColorSpace::JCS_GRAYSCALE,
            ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK => ColorSpace::JCS_CMYK,
            _ => ColorSpace::JCS_RGB,
        };
        let mut started = decoder.to_colorspace(colors)?;
        let pixels = started.read_scanlines()?;
        started.finish()?;
        Ok(pixels)
    });
    decoded.ok()?.ok().map(|pixels| (pixels, WARNINGS.get()))
}

/// The decoder's error callback. It prints nothing: this program writes its own messages.
fn error_manager() -> jpeg_error_mgr {
    extern "C-unwind" fn give_up(_: &mut jpeg_common_struct) {
        // Not a panic: nothing is printed, and `decompress` catches it.
        resume_unwind(Box::new(()))
    }
    extern "C-unwind" fn note(_: &mut jpeg_common_struct, level: std::ffi::c_int) {
        if level < 0 {
            WARNINGS.set(WARNINGS.get() + 1);
        }
    }
    extern "C-unwind" fn nothing(_: &mut jpeg_common_struct) {}
    extern "C-unwind" fn no_text(_: &mut jpeg_common_struct, _: &[u8; 80]) {}
    jpeg_error_mgr {
        error_exit: Some(give_up),
        emit_message: Some(note),
        output_message: Some(nothing),
        format_message: Some(no_text),
        reset_error_mgr: Some(nothing),
        msg_code: 0,
        msg_parm: msg_parm_union::default(),
        trace_level: 0,
        num_warnings: 0,
        jpeg_message_table: std::ptr::null(),
        last_jpeg_message: 0,
        addon_message_table: std::ptr::null(),
        first_addon_message: 0,
        last_addon_message: 0,
    }
}

/// Red, green and blue of inks that are stored inverted, as Adobe's programs do and everybody has followed: ink · key / 255,
/// rounded. No profile is applied.
fn without_ink(pixels: &[u8]) -> Vec<u8> {
    let mixed = |ink: u8, key: u8| ((u32::from(ink) * u32::from(key) + 127) / 255) as u8;
    pixels
        .chunks_exact(4)
        .flat_map(|ink| [mixed(ink[0], ink[3]), mixed(ink[1], ink[3]), mixed(ink[2], ink[3])])
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use safetensors::SafeTensors;

    use super::*;

    fn matrix() -> Vec<u8> {
        let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/jpeg_matrix.safetensors");
        let path = std::env::var_os("VGAN_JPEG_MATRIX").unwrap_or(fixture.into());
        std::fs::read(path).expect("the matrix")
    }

    /// Files of every kind, with libjpeg-turbo's pixels or what the error must say: those of tests/fixtures, or of the file
    /// that `VGAN_JPEG_MATRIX` names.
    #[test]
    fn jpeg_matrix() {
        let bytes = matrix();
        let matrix = SafeTensors::deserialize(&bytes).expect("safetensors");
        let (mut outcomes, mut wrong) = (BTreeMap::<&str, usize>::new(), Vec::new());
        for name in matrix.names() {
            let Some(name) = name.strip_suffix(".jpg") else { continue };
            let tensor = |ending| matrix.tensor(&format!("{name}.{ending}"));
            let decoded = decode(Path::new(name), tensor("jpg").expect("a file").data());
            let outcome = match (decoded, tensor("pixels"), tensor("refused")) {
                (Ok(found), Ok(expected), _) => {
                    let ImageShape { h: height, w: width, c: channels } = found.shape;
                    let same = expected.shape() == [height, width, channels] && expected.data() == found.pixels;
                    if same { "right" } else { "wrong" }
                }
                (Err(error), _, Ok(words)) => {
                    let words = String::from_utf8_lossy(words.data());
                    if error.exit_code() == 3 && error.to_string().contains(&*words) {
                        "refused as it should"
                    } else {
                        "another error"
                    }
                }
                (Err(_), _, _) => "refused though valid",
                (Ok(_), _, _) => "taken though bad",
            };
            *outcomes.entry(outcome).or_default() += 1;
            if !matches!(outcome, "right" | "refused as it should") {
                wrong.push(format!("{outcome}: {name}"));
            }
        }
        eprintln!("{outcomes:?}");
        assert!(wrong.is_empty(), "{outcomes:?}\n{}", wrong.join("\n"));
        assert!(outcomes["right"] > 100 && outcomes["refused as it should"] > 20, "{outcomes:?}");
    }

    /// Junk that libjpeg only warns of is read past; data that is missing is not made up.
    #[test]
    fn superfluous_bytes_are_told_from_missing_ones() {
        let bytes = matrix();
        let matrix = SafeTensors::deserialize(&bytes).expect("safetensors");
        for name in ["plain/no-jfif", "apart/no-jfif", "progressive/no-jfif", "grey/no-jfif"] {
            let file = matrix.tensor(&format!("{name}.jpg")).expect("a file").data();
            let pixels = matrix.tensor(&format!("{name}.pixels")).expect("pixels").data();
            let walk = jpeg_markers::walk(file).expect("a whole file");
            for &end in &walk.stretches {
                let junk = [&file[..end], &[1, 2, 3], &file[end..]].concat();
                assert!(decode(Path::new(name), &junk).expect(name).pixels == pixels, "{name}: junk at {end}");
            }
            let hole = [&file[..walk.stretches[0] - 4], &file[walk.stretches[0]..]].concat();
            let error = decode(Path::new(name), &hole).err().expect("a hole is found");
            assert!(error.to_string().contains("damaged one (its coded data does not fit"), "{name}: {error}");
        }
    }

    #[test]
    fn thousands_of_scans_are_not_decoded() {
        let bytes = matrix();
        let matrix = SafeTensors::deserialize(&bytes).expect("safetensors");
        let file = matrix.tensor("progressive/no-jfif.jpg").expect("a file").data();
        let end = file.len() - 2;
        let scan = file.windows(2).rposition(|pair| pair == [0xff, 0xda]).expect("a scan");
        let many = [&file[..end], &file[scan..end].repeat(MOST_SCANS), &file[end..]].concat();
        let error = decode(Path::new("x"), &many).err().expect("too many");
        assert!(error.to_string().contains("at most 500 scans"), "{error}");
    }

    /// Files of the matrix with bytes changed, taken out, put in and mixed: an error of the user's data or a picture, soon. A
    /// longer run: `VGAN_JPEG_MUTATIONS=1000000 cargo test --release --lib damaged_jpegs`.
    #[test]
    fn damaged_jpegs_never_panic() {
        let bytes = matrix();
        let matrix = SafeTensors::deserialize(&bytes).expect("safetensors");
        let files: Vec<&[u8]> = matrix
            .tensors()
            .into_iter()
            .filter(|(name, _)| name.ends_with(".jpg"))
            .map(|(_, view)| view.data())
            .collect();
        let count = std::env::var("VGAN_JPEG_MUTATIONS").map_or(3000, |count| count.parse().expect("a number"));
        let mut state = 1u64;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below.max(1)
        };
        let (mut read, mut refused, mut slowest) = (0, 0, std::time::Duration::ZERO);
        for _ in 0..count {
            let mut file = files[draw(files.len())].to_vec();
            for _ in 0..1 + draw(4) {
                let at = draw(file.len());
                match draw(5) {
                    0 if at < file.len() => file[at] = draw(256) as u8,
                    1 if at < file.len() => file[at] ^= 1 << draw(8),
                    2 => drop(file.drain(at..(at + draw(20)).min(file.len()))),
                    3 => drop(file.splice(at..at, [0xff, 0xc0 + draw(64) as u8, draw(256) as u8])),
                    _ => {
                        let other = files[draw(files.len())];
                        let from = draw(other.len());
                        let to = (from + draw(60)).min(other.len());
                        drop(file.splice(at..at, other[from..to].iter().copied()));
                    }
                }
            }
            let start = std::time::Instant::now();
            let path = Path::new("x");
            match decode(path, &file) {
                Ok(picture) => {
                    read += 1;
                    assert_eq!(shape(path, file.len() as u64, &file).expect("a shape"), picture.shape);
                }
                Err(error) => {
                    refused += 1;
                    assert_eq!(error.exit_code(), 3, "{error}: {file:02x?}");
                }
            }
            slowest = slowest.max(start.elapsed());
        }
        eprintln!("{read} read, {refused} refused, the slowest in {slowest:?}");
        assert!(read > count / 20 && refused > count / 20, "{read} read, {refused} refused");
    }
}
