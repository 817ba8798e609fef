//! How long an image is that a program gives by its beginning alone.

use crate::code::{Code, Result};

/// The fatbin's header (the layout of `fatBinaryHeader` as fatbinary tools document it): magic number, version, bytes of the
/// header, bytes of what follows.
const FATBIN_MAGIC: u32 = 0xBA55_ED50;
/// The wrapper that nvcc puts around a fatbin in host code (`fatBinaryCtl`): its magic number; the fatbin's address is at 8.
const WRAPPER_MAGIC: u32 = 0x4662_43B1;
const ELF_MAGIC: [u8; 4] = *b"\x7fELF";

/// The whole image, where `first(n)` gives its first `n` bytes and is asked for no more than are known to be there: a fatbin says
/// its length, and anything else that begins like text is PTX, which ends with a zero. 200 for a cubin, which this machine can't
/// run.
pub(crate) fn whole<'a>(first: impl Fn(usize) -> &'a [u8]) -> Result<&'a [u8]> {
    let Some(magic) = first(4).first_chunk::<4>() else { return Err(Code::INVALID_IMAGE) };
    match u32::from_le_bytes(*magic) {
        FATBIN_MAGIC => {
            let header = first(16);
            let head = u16::from_le_bytes([header[6], header[7]]);
            let rest = u64::from_le_bytes(std::array::from_fn(|index| header[8 + index]));
            let bytes = rest.checked_add(head.into()).filter(|bytes| *bytes < 1 << 40).ok_or(Code::INVALID_IMAGE)?;
            Ok(first(bytes as usize))
        }
        WRAPPER_MAGIC => Err(Code::INVALID_IMAGE),
        _ if *magic == ELF_MAGIC => Err(Code::INVALID_IMAGE),
        _ => {
            let mut bytes = 0;
            while first(bytes + 1)[bytes] != 0 {
                bytes += 1;
            }
            Ok(first(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(image: &[u8]) -> Result<&[u8]> {
        whole(|bytes| &image[..bytes])
    }

    #[test]
    fn a_fatbin_says_its_length() {
        let mut image = FATBIN_MAGIC.to_le_bytes().to_vec();
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
    }

    #[test]
    fn a_cubin_is_refused() {
        assert_eq!(read(b"\x7fELF and more"), Err(Code::INVALID_IMAGE));
    }
}
