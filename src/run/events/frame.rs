//! TFRecord, the framing of TensorFlow's record files: the length of a content in 8 bytes, its checksum, the content, its checksum, all
//! little-endian. A checksum is a masked CRC-32C (`tensorflow/core/lib/io/record_writer.h`, `hash/crc32c.h`).

/// The reversed polynomial of CRC-32C (Castagnoli et al. 1993).
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// CRC-32C of these bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)])
}

/// Masked, so that the checksum of bytes that hold their own checksum is not a constant.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A content in its frame.
pub(super) fn framed(content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u64).to_le_bytes();
    [&length[..], &masked(&length).to_le_bytes(), content, &masked(content).to_le_bytes()].concat()
}

/// The contents of the frames of a file, up to the first that is damaged or cut short.
pub(super) fn contents(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some((content, rest)) = first(bytes) {
        found.push(content);
        bytes = rest;
    }
    found
}

fn first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*checksum) != masked(length) {
        return None;
    }
    let (content, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    (u32::from_le_bytes(*checksum) == masked(content)).then_some((content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of the CRC catalogue, and the vectors of RFC 3720, appendix B.4.
    #[test]
    fn known_checksums() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        for (bytes, expected) in [
            (&b"123456789"[..], 0xe306_9283),
            (&[0; 32], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&ascending, 0x46dd_794e),
            (&descending, 0x113f_db5c),
            (b"", 0),
        ] {
            assert_eq!(crc32c(bytes), expected, "{bytes:?}");
        }
    }

    /// The output of TensorBoard 2.21's `RecordWriter` for nine digits.
    #[test]
    fn a_frame_is_that_of_tensorboard() {
        let expected = b"\x09\0\0\0\0\0\0\0\x37\xf9\x71\x39123456789\xe5\xb0\x8a\xc7";
        assert_eq!(framed(b"123456789"), expected);
    }

    #[test]
    fn frames_are_read_back_up_to_the_first_bad_one() {
        let contents_of = [&b"one"[..], b"", &[7; 1000]];
        let whole: Vec<u8> = contents_of.iter().flat_map(|content| framed(content)).collect();
        assert_eq!(contents(&whole), contents_of);
        for length in 0..whole.len() {
            let found = contents(&whole[..length]);
            assert!(found.len() < 3 && found == contents_of[..found.len()], "{length}");
        }
        for byte in [0, 9, 13, 16, 40, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[byte] ^= 1;
            assert!(contents(&damaged).len() < 3, "byte {byte}");
        }
        assert!(contents(&[0xff; 100]).is_empty());
    }
}
