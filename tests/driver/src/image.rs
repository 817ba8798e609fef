//! The length of an image of which a program gives only the beginning.

use ptx_machine::fatbin;

use crate::code::{Code, Result};

/// The beginning of a cubin, which `cuModuleLoadData` may also be given, and which this machine can't run.
const ELF: [u8; 4] = *b"\x7fELF";
/// Beyond this a length is none.
const LARGEST: usize = 1 << 40;

/// The whole image, where `first(n)` gives its first `n` bytes and is asked for no more than are known to be there: a fatbin says
/// its length, and anything else is PTX, which ends with a zero. 200 for a cubin, and for what is neither.
pub(crate) fn whole<'a>(first: impl Fn(usize) -> &'a [u8]) -> Result<&'a [u8]> {
    let mut bytes = 0;
    // A fatbin's magic number has no zero in it, so that no more is read of a shorter text.
    while bytes < 4 {
        if first(bytes + 1)[bytes] == 0 {
            return Ok(first(bytes));
        }
        bytes += 1;
    }
    let magic = first(4);
    if magic == ELF {
        return Err(Code::INVALID_IMAGE);
    }
    if is_fatbin(magic) {
        let length = fatbin::length(first(fatbin::HEADER)).filter(|length| *length < LARGEST);
        return Ok(first(length.ok_or(Code::INVALID_IMAGE)?));
    }
    if !magic.iter().all(|byte| byte.is_ascii()) {
        return Err(Code::INVALID_IMAGE);
    }
    while first(bytes + 1)[bytes] != 0 {
        bytes += 1;
    }
    Ok(first(bytes))
}

/// Whether the first bytes are a fatbin's magic number, 0xBA55ED50, the lowest byte first.
fn is_fatbin(magic: &[u8]) -> bool {
    magic == [0x50, 0xED, 0x55, 0xBA]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(image: &[u8]) -> Result<&[u8]> {
        whole(|bytes| &image[..bytes])
    }

    #[test]
    fn a_fatbin_says_its_length() {
        let mut image = 0xBA55_ED50u32.to_le_bytes().to_vec();
        image.extend([1, 0, 16, 0]);
        image.extend(5u64.to_le_bytes());
        image.extend([9; 8]);
        assert_eq!(read(&image), Ok(&image[..21]));
        image[15] = 0xFF;
        assert_eq!(read(&image), Err(Code::INVALID_IMAGE));
    }

    #[test]
    fn ptx_ends_with_a_zero() {
        assert_eq!(read(b".version 8.0\0 and more"), Ok(&b".version 8.0"[..]));
        assert_eq!(read(b".v\0 and more"), Ok(&b".v"[..]));
        assert_eq!(read(b"\0"), Ok(&b""[..]));
    }

    #[test]
    fn what_is_neither_is_refused() {
        assert_eq!(read(b"\x7fELF and more"), Err(Code::INVALID_IMAGE));
        assert_eq!(read(b"\xFFabc and more"), Err(Code::INVALID_IMAGE));
    }
}
