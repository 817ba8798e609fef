//! Fatbins: what nvcc embeds into a program, and what `cuModuleLoadData` is given.
//!
//! A fatbin is a header and, one behind the other, entries for architectures: PTX (kind 1) or machine code (kind 2), each with a
//! header that says how long it and its contents are, and how these are compressed. NVIDIA does not document the format; this is
//! what its tools write (nvcc 13.0: zstd; before 12.8: LZ4).

use std::io::Read;

/// The first bytes of a fatbin.
const MAGIC: u32 = 0xBA55_ED50;
/// The shortest header of an entry: up to and with the decompressed size.
const ENTRY_HEADER: usize = 64;
/// The kind of an entry that has PTX.
const PTX: u16 = 1;
/// Flags of an entry.
const COMPRESSED_LZ4: u64 = 0x2000;
const COMPRESSED_ZSTD: u64 = 0x8000;
/// Machine code for exactly one architecture, such as sm_90a. (For PTX, its `.target` says so.)
const ARCHITECTURE_SPECIFIC: u64 = 0x10_0000;
/// A larger image is a mistake in a size.
const LARGEST_IMAGE: u64 = 1 << 30;
/// Room that is set aside before a byte is decompressed: a hostile size takes no memory.
const FIRST_ROOM: u64 = 1 << 20;

/// The kind of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// PTX text.
    Ptx,
    /// Machine code.
    Elf,
    /// Something else, by the number that its entry has.
    Other(u16),
}

/// An image for one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its kind.
    pub kind: Kind,
    /// Its architecture: 90 for sm_90a.
    pub architecture: u32,
    /// `a` (this architecture alone) or `f` (its family), where it is known.
    pub suffix: Option<char>,
    /// Its bytes, decompressed; PTX without the NUL at its end.
    pub bytes: Vec<u8>,
}

/// Why bytes are no fatbin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FatbinError {
    /// They begin with neither a fatbin's magic number nor PTX.
    #[error("neither a fatbin (which begins with {MAGIC:#010X}) nor PTX (which begins with `.version`)")]
    Unknown,
    /// They end too early.
    #[error("the fatbin ends within {0}")]
    CutOff(&'static str),
    /// A size is not possible.
    #[error("the fatbin says that {0}")]
    Size(String),
    /// An image cannot be decompressed.
    #[error("an image for architecture {architecture} cannot be decompressed: {reason}")]
    Decompress {
        /// The image's architecture.
        architecture: u32,
        /// The fault.
        reason: String,
    },
    /// PTX is ASCII.
    #[error("the PTX is no text: {0}")]
    NoText(String),
}

fn number<const N: usize>(bytes: &[u8], at: usize, what: &'static str) -> Result<[u8; N], FatbinError> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(FatbinError::CutOff(what))
}

fn u16_at(bytes: &[u8], at: usize, what: &'static str) -> Result<u16, FatbinError> {
    number(bytes, at, what).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize, what: &'static str) -> Result<u32, FatbinError> {
    number(bytes, at, what).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize, what: &'static str) -> Result<u64, FatbinError> {
    number(bytes, at, what).map(u64::from_le_bytes)
}

/// The length of a fatbin, by its first [`HEADER`] bytes, for an image that is only a pointer. `None`: it is no fatbin.
///
/// PTX has no header: it ends in NUL.
pub fn length(header: &[u8]) -> Option<usize> {
    const WHAT: &str = "its header";
    if u32_at(header, 0, WHAT) != Ok(MAGIC) {
        return None;
    }
    let header_size = u64::from(u16_at(header, 6, WHAT).ok()?);
    let length = u64_at(header, 8, WHAT).ok()?.checked_add(header_size)?;
    if header_size < HEADER as u64 { None } else { usize::try_from(length).ok() }
}

/// Bytes of a fatbin's header, which [`length`] needs.
pub const HEADER: usize = 16;

/// All images of a fatbin, or the one that PTX text is.
pub fn images(bytes: &[u8]) -> Result<Vec<Image>, FatbinError> {
    images_where(bytes, |_| true)
}

/// The images of PTX alone. Machine code, which is most of a fatbin, is not decompressed.
pub fn ptx_images(bytes: &[u8]) -> Result<Vec<Image>, FatbinError> {
    images_where(bytes, |kind| kind == PTX)
}

/// The images of the kinds that are wanted.
fn images_where(bytes: &[u8], wanted: fn(u16) -> bool) -> Result<Vec<Image>, FatbinError> {
    let Some(length) = length(bytes) else { return text_image(bytes).map(|image| vec![image]) };
    let Some(bytes) = bytes.get(..length) else { return Err(FatbinError::CutOff("its contents")) };
    let mut at = usize::from(u16_at(bytes, 6, "its header")?);
    let mut images = Vec::new();
    while at < bytes.len() {
        let entry = &bytes[at..];
        let (image, length) = entry_image(entry, wanted)?;
        images.extend(image);
        at += length;
    }
    Ok(images)
}

/// PTX that stands alone.
fn text_image(bytes: &[u8]) -> Result<Image, FatbinError> {
    let image = ptx_image(bytes.to_vec(), None)?;
    let text = String::from_utf8_lossy(&image.bytes);
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("//"));
    match first {
        Some(line) if line.starts_with(".version") => Ok(image),
        _ => Err(FatbinError::Unknown),
    }
}

/// An image of PTX: up to its NUL, with the architecture that its `.target` names.
fn ptx_image(mut bytes: Vec<u8>, architecture: Option<u32>) -> Result<Image, FatbinError> {
    if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
        bytes.truncate(end);
    }
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        // What stands alone may be anything.
        Err(_) if architecture.is_none() => return Err(FatbinError::Unknown),
        Err(error) => return Err(FatbinError::NoText(error.to_string())),
    };
    let (target, suffix) = text.lines().find_map(target).unwrap_or((architecture.unwrap_or(0), None));
    Ok(Image { kind: Kind::Ptx, architecture: architecture.unwrap_or(target), suffix, bytes })
}

/// The architecture of a line `.target sm_90a`.
fn target(line: &str) -> Option<(u32, Option<char>)> {
    let name = line.trim().strip_prefix(".target")?.trim().strip_prefix("sm_")?;
    let name = name.split(|c: char| !c.is_ascii_alphanumeric()).next()?;
    let digits = name.trim_end_matches(|c: char| !c.is_ascii_digit());
    Some((digits.parse().ok()?, name[digits.len()..].chars().next()))
}

/// The image of an entry, if its kind is wanted, and the entry's length.
fn entry_image(entry: &[u8], wanted: fn(u16) -> bool) -> Result<(Option<Image>, usize), FatbinError> {
    const WHAT: &str = "an entry's header";
    let kind = u16_at(entry, 0, WHAT)?;
    let header = u32_at(entry, 4, WHAT)? as usize;
    let size = u64_at(entry, 8, WHAT)?;
    let compressed = u64::from(u32_at(entry, 16, WHAT)?);
    let architecture = u32_at(entry, 28, WHAT)?;
    let flags = u64_at(entry, 40, WHAT)?;
    let decompressed = u64_at(entry, 56, WHAT)?;
    if header < ENTRY_HEADER {
        return Err(FatbinError::Size(format!("an entry's header has {header} bytes, fewer than {ENTRY_HEADER}")));
    }
    let end = usize::try_from(size).ok().and_then(|size| size.checked_add(header));
    let contents = end.and_then(|end| entry.get(header..end)).ok_or(FatbinError::CutOff("an entry's contents"))?;
    if !wanted(kind) {
        return Ok((None, header + contents.len()));
    }
    let bytes = if flags & (COMPRESSED_LZ4 | COMPRESSED_ZSTD) == 0 {
        contents.to_vec()
    } else {
        let failed = |reason: String| FatbinError::Decompress { architecture, reason };
        if decompressed > LARGEST_IMAGE {
            return Err(FatbinError::Size(format!("an image has {decompressed} bytes, more than {LARGEST_IMAGE}")));
        }
        let packed = usize::try_from(compressed).ok().and_then(|length| contents.get(..length));
        let packed = packed.ok_or(FatbinError::CutOff("an entry's compressed contents"))?;
        let bytes = if flags & COMPRESSED_ZSTD != 0 { zstd(packed, decompressed) } else { lz4(packed, decompressed) };
        bytes.map_err(failed)?
    };
    let image = match kind {
        PTX => ptx_image(bytes, Some(architecture))?,
        _ => Image {
            kind: if kind == 2 { Kind::Elf } else { Kind::Other(kind) },
            architecture,
            suffix: (flags & ARCHITECTURE_SPECIFIC != 0).then_some('a'),
            bytes,
        },
    };
    Ok((Some(image), header + contents.len()))
}

fn zstd(packed: &[u8], size: u64) -> Result<Vec<u8>, String> {
    let decoder = ruzstd::decoding::StreamingDecoder::new(packed).map_err(|error| error.to_string())?;
    let mut bytes = Vec::with_capacity(size.min(FIRST_ROOM) as usize);
    decoder.take(size + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    as_long_as_said(bytes, size)
}

fn as_long_as_said(bytes: Vec<u8>, size: u64) -> Result<Vec<u8>, String> {
    if bytes.len() as u64 == size {
        return Ok(bytes);
    }
    Err(format!("it has {} bytes or more where its entry says {size}", bytes.len()))
}

/// One LZ4 block: sequences of literals and a copy from what is already there.
///
/// A sequence begins with a byte whose halves are the numbers of literals and of copied bytes less 4; 15 is continued in bytes
/// until one is not 255. Behind the literals stands the distance of the copy in two bytes. The last sequence has literals alone.
fn lz4(packed: &[u8], size: u64) -> Result<Vec<u8>, String> {
    const CUT_OFF: &str = "its LZ4 block is cut off";
    let mut input = packed;
    let mut bytes: Vec<u8> = Vec::with_capacity(size.min(FIRST_ROOM) as usize);
    while let Some((&token, rest)) = input.split_first() {
        input = rest;
        let literals = lz4_length(token >> 4, &mut input).ok_or(CUT_OFF)?;
        let (literals, rest) = input.split_at_checked(literals).ok_or(CUT_OFF)?;
        bytes.extend_from_slice(literals);
        if rest.is_empty() {
            break;
        }
        let (distance, rest) = rest.split_first_chunk().ok_or(CUT_OFF)?;
        input = rest;
        let distance = usize::from(u16::from_le_bytes(*distance));
        let count = lz4_length(token & 15, &mut input).ok_or(CUT_OFF)? + 4;
        if distance == 0 || distance > bytes.len() {
            return Err(format!("an LZ4 copy from {distance} bytes before byte {}", bytes.len()));
        }
        if (bytes.len() + count) as u64 > size {
            return Err(format!("it has more than the {size} bytes that its entry says"));
        }
        let start = bytes.len() - distance;
        // The copy may read what it writes.
        for i in start..start + count {
            bytes.push(bytes[i]);
        }
    }
    as_long_as_said(bytes, size)
}

/// A length whose first half byte is already read.
fn lz4_length(half: u8, input: &mut &[u8]) -> Option<usize> {
    let mut length = usize::from(half);
    if half < 15 {
        return Some(length);
    }
    loop {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        length += usize::from(byte);
        if byte < 255 {
            return Some(length);
        }
    }
}

/// The newest PTX that a device of this compute capability, (9, 0) for instance, runs.
///
/// PTX for an architecture runs on it and on newer ones; with the suffix `a` on it alone; with `f` on those of its major version.
pub fn choose(images: &[Image], capability: (u32, u32)) -> Option<&Image> {
    let device = capability.0 * 10 + capability.1;
    let runs = |image: &&Image| {
        image.kind == Kind::Ptx
            && match image.suffix {
                Some('a') => image.architecture == device,
                Some('f') => image.architecture <= device && image.architecture / 10 == device / 10,
                _ => image.architecture <= device,
            }
    };
    // Of two for the same architecture the more special one.
    images.iter().filter(runs).max_by_key(|image| (image.architecture, image.suffix.is_some()))
}
