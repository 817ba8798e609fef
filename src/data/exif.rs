//! The orientation that a camera wrote into a picture's EXIF block, and turning pixels by it.

use crate::image::ImageShape;

/// The orientation of an EXIF block that says nothing, or is damaged.
pub(crate) const UPRIGHT: u8 = 1;

/// The orientation, 1..=8, in a block that starts with a TIFF header (EXIF 2.3, section 4.6.2): the first directory's
/// entry 0x0112. What can't be read counts as upright, because viewers show such a picture too.
pub(crate) fn orientation(tiff: &[u8]) -> u8 {
    find(tiff).filter(|value| (1..=8).contains(value)).map_or(UPRIGHT, |value| value as u8)
}

fn find(tiff: &[u8]) -> Option<u32> {
    const ORIENTATION: u32 = 0x0112;
    let little = match tiff.get(..4)? {
        [b'I', b'I', 42, 0] => true,
        [b'M', b'M', 0, 42] => false,
        _ => return None,
    };
    let number = |at: usize, length: usize| -> Option<u32> {
        let bytes = tiff.get(at..at.checked_add(length)?)?;
        let join = |value: u32, &byte: &u8| value << 8 | u32::from(byte);
        Some(if little { bytes.iter().rev().fold(0, join) } else { bytes.iter().fold(0, join) })
    };
    let directory = number(4, 4)? as usize;
    let entries = number(directory, 2)? as usize;
    for entry in 0..entries {
        // Tag, type, count and value; a value of up to four bytes stands in the entry itself, at its start.
        let at = directory.checked_add(2 + 12 * entry)?;
        if number(at, 2)? == ORIENTATION {
            let length = match number(at + 2, 2)? {
                1 => 1,
                3 => 2,
                4 => 4,
                _ => return None,
            };
            return number(at + 8, length);
        }
    }
    None
}

/// The shape that a picture has once it is turned.
pub(crate) fn turned(shape: ImageShape, orientation: u8) -> ImageShape {
    match orientation {
        5..=8 => ImageShape { h: shape.w, w: shape.h, ..shape },
        _ => shape,
    }
}

/// Turns and mirrors pixels, `[height, width, channels]`, so that the picture stands as viewers show it.
pub(crate) fn turn(shape: ImageShape, pixels: Vec<u8>, orientation: u8) -> Vec<u8> {
    if !(2..=8).contains(&orientation) {
        return pixels;
    }
    let ImageShape { h: height, w: width, c: channels } = shape;
    let to = turned(shape, orientation);
    let mut out = Vec::with_capacity(pixels.len());
    for y in 0..to.h {
        for x in 0..to.w {
            // Row and column in the file of what is seen at (y, x).
            let (row, column) = match orientation {
                2 => (y, width - 1 - x),
                3 => (height - 1 - y, width - 1 - x),
                4 => (height - 1 - y, x),
                5 => (x, y),
                6 => (height - 1 - x, y),
                7 => (height - 1 - x, width - 1 - y),
                _ => (x, width - 1 - y),
            };
            let at = (row * width + column) * channels;
            out.extend_from_slice(&pixels[at..at + channels]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One directory with these entries: tag, type, value's four bytes.
    fn block(little: bool, entries: &[(u16, u16, [u8; 4])]) -> Vec<u8> {
        let two = |value: u16| if little { value.to_le_bytes() } else { value.to_be_bytes() };
        let four = |value: u32| if little { value.to_le_bytes() } else { value.to_be_bytes() };
        let mut bytes = if little { b"II*\0".to_vec() } else { b"MM\0*".to_vec() };
        bytes.extend(four(8));
        bytes.extend(two(entries.len() as u16));
        for (tag, kind, value) in entries {
            bytes.extend([two(*tag), two(*kind)].concat());
            bytes.extend([four(1), *value].concat());
        }
        bytes
    }

    #[test]
    fn both_byte_orders_and_all_widths_of_numbers() {
        for orientation in 1..=8 {
            for (kind, width) in [(1, 1), (3, 2), (4, 4)] {
                let mut big = [0; 4];
                big[width - 1] = orientation;
                let other = (0x010f, 2, [9; 4]);
                assert_eq!(
                    super::orientation(&block(true, &[other, (0x0112, kind, [orientation, 0, 0, 0])])),
                    orientation
                );
                assert_eq!(super::orientation(&block(false, &[other, (0x0112, kind, big)])), orientation);
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_upright() {
        let six = [0, 6, 0, 0];
        assert_eq!(orientation(&block(false, &[(0x0112, 3, six)])), 6);
        for damaged in [
            block(false, &[(0x0112, 2, six)]),
            block(false, &[(0x0112, 3, [0, 9, 0, 0])]),
            block(false, &[(0x0112, 3, [0; 4])]),
            block(false, &[]),
            block(true, &[(0x0112, 3, six)]),
            [b"MM\0*".as_slice(), &[0xff; 4]].concat(),
        ] {
            assert_eq!(orientation(&damaged), UPRIGHT, "{damaged:?}");
        }
    }

    /// The eight ways of EXIF 2.32, table 6, for two rows of three pixels, of one channel and of two.
    #[test]
    fn a_picture_is_turned_in_all_eight_ways() {
        let shape = ImageShape { h: 2, w: 3, c: 1 };
        for (way, turned_shape, expected) in [
            (1, (2, 3), [0, 1, 2, 3, 4, 5]),
            (2, (2, 3), [2, 1, 0, 5, 4, 3]),
            (3, (2, 3), [5, 4, 3, 2, 1, 0]),
            (4, (2, 3), [3, 4, 5, 0, 1, 2]),
            (5, (3, 2), [0, 3, 1, 4, 2, 5]),
            (6, (3, 2), [3, 0, 4, 1, 5, 2]),
            (7, (3, 2), [5, 2, 4, 1, 3, 0]),
            (8, (3, 2), [2, 5, 1, 4, 0, 3]),
        ] {
            assert_eq!(turn(shape, vec![0, 1, 2, 3, 4, 5], way), expected, "{way}");
            let pairs = |pixels: [u8; 6]| pixels.iter().flat_map(|&pixel| [pixel, pixel + 100]).collect::<Vec<u8>>();
            let two = ImageShape { c: 2, ..shape };
            assert_eq!(turn(two, pairs([0, 1, 2, 3, 4, 5]), way), pairs(expected), "{way}, two channels");
            let (h, w) = turned_shape;
            assert_eq!(turned(two, way), ImageShape { h, w, c: 2 }, "{way}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn random_blocks_never_panic(start in 0usize..3, rest in prop::collection::vec(any::<u8>(), 0..80)) {
            let bytes = [[b"II*\0".as_slice(), b"MM\0*", b""][start], &rest].concat();
            prop_assert!((1..=8).contains(&orientation(&bytes)));
        }

        #[test]
        fn damaged_blocks_never_panic(little: bool, at in 0usize..60, value: u8, length in 0usize..60) {
            let mut bytes = block(little, &[(0x0100, 4, [1, 2, 3, 4]), (0x0112, 3, [6, 0, 0, 0]), (0x0132, 2, [9; 4])]);
            let at = at % bytes.len();
            bytes[at] = value;
            bytes.truncate(length);
            prop_assert!((1..=8).contains(&orientation(&bytes)));
        }
    }
}
