//! Fatbins: samples that nvcc 13.0.88 wrote (`--compress-mode=size` for zstd, `speed` for LZ4), and such as are made here.

use ptx_machine::fatbin::{FatbinError, HEADER, Image, Kind, choose, images, length, ptx_images};
use ptx_machine::text::parse;

use crate::front::sample;

const LZ4: u64 = 0x2000;
const ZSTD: u64 = 0x8000;

/// A fatbin of entries: kind, architecture, flags, contents, size when decompressed.
fn fatbin(entries: &[(u16, u32, u64, &[u8], u64)]) -> Vec<u8> {
    let mut contents = Vec::new();
    for &(kind, architecture, flags, bytes, size) in entries {
        let mut header = [0u8; 64];
        header[0..2].copy_from_slice(&kind.to_le_bytes());
        header[4..8].copy_from_slice(&64u32.to_le_bytes());
        header[8..16].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        header[16..20].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        header[28..32].copy_from_slice(&architecture.to_le_bytes());
        header[40..48].copy_from_slice(&flags.to_le_bytes());
        header[56..64].copy_from_slice(&size.to_le_bytes());
        contents.extend_from_slice(&header);
        contents.extend_from_slice(bytes);
    }
    let mut all = 0xBA55_ED50u32.to_le_bytes().to_vec();
    all.extend_from_slice(&1u16.to_le_bytes());
    all.extend_from_slice(&16u16.to_le_bytes());
    all.extend_from_slice(&(contents.len() as u64).to_le_bytes());
    all.extend(contents);
    all
}

/// The one image of an LZ4 block.
fn lz4(block: &[u8], size: u64) -> Result<Vec<u8>, FatbinError> {
    images(&fatbin(&[(2, 80, LZ4, block, size)])).map(|mut images| images.remove(0).bytes)
}

/// The two samples were packed by two algorithms from the same text.
#[test]
fn samples_of_nvcc_are_unpacked() {
    let zstd = images(&sample("reduce.zstd.fatbin")).expect("nvcc's fatbin");
    let lz4 = images(&sample("reduce.lz4.fatbin")).expect("nvcc's fatbin");
    assert_eq!(zstd, lz4);
    let said: Vec<_> = zstd.iter().map(|image| (image.kind, image.architecture, image.suffix)).collect();
    assert_eq!(said, [(Kind::Ptx, 80, None), (Kind::Ptx, 90, Some('a'))]);
    for image in zstd {
        let text = String::from_utf8(image.bytes).expect("PTX is ASCII");
        let module = parse(&text).expect("nvcc's PTX");
        assert_eq!(module.kernels.len(), 2);
    }
}

#[test]
fn the_length_comes_from_the_header() {
    let mut bytes = sample("reduce.lz4.fatbin");
    assert_eq!(length(&bytes[..HEADER]), Some(bytes.len()));
    assert_eq!(length(b".version 9.0\n.target"), None);
    assert_eq!(length(&bytes[..8]), None);
    // What lies behind the fatbin in the program is not read.
    bytes.extend_from_slice(b"other things");
    assert_eq!(images(&bytes).map(|images| images.len()), Ok(2));
    assert_eq!(images(&bytes[..100]), Err(FatbinError::CutOff("its contents")));
}

#[test]
fn text_alone_is_an_image() {
    let text = b"// made by hand\n\n.version 9.0\n.target sm_90a\n.address_size 64\n\0rubbish";
    let images = images(text).expect("PTX");
    assert_eq!((images[0].kind, images[0].architecture, images[0].suffix), (Kind::Ptx, 90, Some('a')));
    assert!(images[0].bytes.ends_with(b"64\n"));
    for bytes in [&b"\x7fELF"[..], b"", b"hello", b"\xff\xfe"] {
        assert_eq!(crate::front::fatbins::images(bytes), Err(FatbinError::Unknown));
    }
}

#[test]
fn entries_that_are_not_packed_are_read() {
    let all = images(&fatbin(&[
        (1, 80, 0, b".version 8.0\n.target sm_80\n\0\0", 0),
        (2, 90, 0x10_0000, b"code", 0),
        (7, 1, 0, b"", 0),
    ]));
    let said: Vec<_> =
        all.expect("a fatbin").into_iter().map(|image| (image.kind, image.suffix, image.bytes.len())).collect();
    assert_eq!(said, [(Kind::Ptx, None, 27), (Kind::Elf, Some('a'), 4), (Kind::Other(7), None, 0)]);
}

/// Blocks written by hand after the LZ4 block format's description.
#[test]
fn lz4_blocks_are_unpacked() {
    assert_eq!(lz4(b"\x50hello", 5), Ok(b"hello".to_vec()));
    // "ab", then 6 bytes from 2 before, then "!".
    assert_eq!(lz4(b"\x22ab\x02\x00\x10!", 9), Ok(b"abababab!".to_vec()));
    // 15 + 5 literals; a copy of 4 + 15 + 255 + 1 bytes from 1 before.
    let mut block = b"\xff\x05".to_vec();
    block.extend_from_slice(&[b'x'; 20]);
    block.extend_from_slice(&[1, 0, 255, 1, 0x10, b'y']);
    let mut expected = vec![b'x'; 20 + 275];
    expected.push(b'y');
    assert_eq!(lz4(&block, 296), Ok(expected));
}

#[test]
fn what_cannot_be_unpacked_is_an_error() {
    let broken: [(&[u8], u64); 7] = [
        (b"\x50hell", 5),
        (b"\x50hello", 6),
        (b"\x50hello", 4),
        (b"\x22ab\x03\x00\x10!", 9),
        (b"\x22ab\x00\x00\x10!", 9),
        (b"\x22ab\x02", 9),
        (b"\xf0\xff", 9),
    ];
    for (block, size) in broken {
        let error = lz4(block, size).expect_err("a broken block").to_string();
        assert!(error.starts_with("an image for architecture 80 cannot be decompressed: "), "{error}");
    }
    assert!(matches!(images(&fatbin(&[(1, 80, ZSTD, b"no zstd", 7)])), Err(FatbinError::Decompress { .. })));
    assert!(matches!(images(&fatbin(&[(1, 80, ZSTD, b"", u64::MAX)])), Err(FatbinError::Size(_))));
    // An entry's header that is shorter than its fields.
    let mut short = fatbin(&[(1, 80, 0, b"", 0)]);
    short[20] = 8;
    assert!(matches!(images(&short), Err(FatbinError::Size(_))));
}

/// Machine code is passed over, packed or not, and what stands behind it is found.
#[test]
fn machine_code_is_not_unpacked_where_ptx_is_wanted() {
    let text = b".version 8.0\n.target sm_80\n";
    let bytes = fatbin(&[(2, 80, ZSTD, b"no zstd", 1000), (1, 80, 0, text, 0), (2, 90, 0, b"code", 0)]);
    assert!(matches!(images(&bytes), Err(FatbinError::Decompress { .. })));
    let found = ptx_images(&bytes).expect("PTX");
    let found: Vec<_> = found.iter().map(|image| (image.kind, image.architecture, image.bytes.as_slice())).collect();
    assert_eq!(found, [(Kind::Ptx, 80, &text[..])]);
}

/// The PTX that a device runs: "Application compatibility" of NVIDIA's Blackwell guide, and §11.1.2 for the suffixes.
#[test]
fn the_newest_ptx_that_runs_is_chosen() {
    let image = |kind, architecture, suffix| Image { kind, architecture, suffix, bytes: Vec::new() };
    let images = [
        image(Kind::Elf, 90, None),
        image(Kind::Ptx, 75, None),
        image(Kind::Ptx, 80, None),
        image(Kind::Ptx, 90, None),
        image(Kind::Ptx, 90, Some('a')),
        image(Kind::Ptx, 100, Some('f')),
    ];
    let chosen = |capability| choose(&images, capability).map(|image| (image.architecture, image.suffix));
    assert_eq!(chosen((7, 0)), None);
    assert_eq!(chosen((7, 5)), Some((75, None)));
    assert_eq!(chosen((8, 9)), Some((80, None)));
    assert_eq!(chosen((9, 0)), Some((90, Some('a'))));
    assert_eq!(chosen((10, 0)), Some((100, Some('f'))));
    assert_eq!(chosen((10, 3)), Some((100, Some('f'))));
    assert_eq!(chosen((12, 0)), Some((90, None)));
    assert_eq!(choose(&images[..1], (9, 0)), None);
}
