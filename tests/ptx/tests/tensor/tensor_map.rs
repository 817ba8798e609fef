//! Tensor maps: what the driver's documentation demands, and boxes against naive loops over a tensor.

use proptest::prelude::*;

use crate::tensor::swizzle::{BYTES_32, BYTES_64, BYTES_128, by_table};
use ptx_machine::tensor::swizzle::Swizzle;
use ptx_machine::tensor::tensor_map::*;

/// A valid map of a matrix of 100 × 60 elements of f32, in boxes of 32 × 8.
fn matrix() -> TensorMap {
    TensorMap {
        data_type: DataType::F32,
        rank: 2,
        global_address: 0x7000_0000_1000,
        global_dims: [100, 60, 1, 1, 1],
        global_strides: [512, 0, 0, 0],
        element_strides: [1; 5],
        interleave: Interleave::None,
        swizzle: Swizzle::Bytes128,
        l2_promotion: 2,
        fill: Fill::Zero,
        access: Access::Tiled { box_dims: [32, 8, 1, 1, 1] },
    }
}

/// A valid map of 3 images of 9 × 7 pixels with 32 channels of f16, for a filter of 3 × 3 with padding 1.
fn images() -> TensorMap {
    TensorMap {
        data_type: DataType::F16,
        rank: 4,
        global_dims: [32, 9, 7, 3, 1],
        global_strides: [64, 64 * 9, 64 * 9 * 7, 0],
        swizzle: Swizzle::Bytes64,
        access: Access::Im2col { lower: [-1, -1, 0], upper: [-1, -1, 0], channels: 32, pixels: 48 },
        ..matrix()
    }
}

#[test]
fn a_map_is_read_back_and_other_bytes_are_none() {
    let odd = TensorMap {
        rank: 5,
        global_dims: [1 << 32, 2, 3, 4, 5],
        global_strides: [(1 << 40) - 16, 1 << 20, 16, 32],
        element_strides: [1, 8, 2, 3, 4],
        fill: Fill::Nan,
        swizzle: Swizzle::None,
        l2_promotion: 3,
        access: Access::Tiled { box_dims: [256, 255, 7, 1, 9] },
        ..matrix()
    };
    let deep = TensorMap {
        rank: 3,
        global_dims: [32, 1 << 17, 3, 1, 1],
        global_strides: [64, 64 << 17, 0, 0],
        access: Access::Im2col { lower: [-32768, 0, 0], upper: [32767, 0, 0], channels: 32, pixels: 1024 },
        ..images()
    };
    for map in [matrix(), images(), odd, deep] {
        let bytes = map.encode().unwrap();
        assert_eq!(TensorMap::decode(&bytes), Some(map));
        for (i, bit) in [(0, 1), (20, 4), (70, 128), (127, 1)] {
            let mut other = bytes;
            other[i] ^= bit;
            assert_eq!(TensorMap::decode(&other), None, "byte {i}");
        }
    }
    assert_eq!(TensorMap::decode(&[0; 128]), None);
}

/// Each requirement, broken alone, with a word of the sentence that it is refused with.
#[test]
fn each_requirement_of_the_driver_is_checked() {
    let broken: Vec<(&str, TensorMap)> = vec![
        ("tensorRank", TensorMap { rank: 0, ..matrix() }),
        ("tensorRank", TensorMap { rank: 6, ..matrix() }),
        ("tensorRank", TensorMap { interleave: Interleave::Bytes16, ..matrix() }),
        ("multiple of 16", TensorMap { global_address: 0x1008, ..matrix() }),
        ("globalDim[1]", TensorMap { global_dims: [100, 0, 1, 1, 1], ..matrix() }),
        ("globalDim[0]", TensorMap { global_dims: [(1 << 32) + 1, 60, 1, 1, 1], ..matrix() }),
        ("globalStrides[0] is 24", TensorMap { global_strides: [24, 0, 0, 0], ..matrix() }),
        ("less than 2^40", TensorMap { global_strides: [1 << 40, 0, 0, 0], ..matrix() }),
        ("at least globalDim[0]", TensorMap { global_strides: [96, 0, 0, 0], ..matrix() }),
        ("elementStrides[1] is 9", TensorMap { element_strides: [1, 9, 1, 1, 1], ..matrix() }),
        ("elementStrides[0] is 0", TensorMap { element_strides: [0, 1, 1, 1, 1], ..matrix() }),
        ("boxDim[1] is 257", TensorMap { access: Access::Tiled { box_dims: [32, 257, 1, 1, 1] }, ..matrix() }),
        ("boxDim[0] is 0", TensorMap { access: Access::Tiled { box_dims: [0, 8, 1, 1, 1] }, ..matrix() }),
        ("multiple of 16 bytes", TensorMap { access: Access::Tiled { box_dims: [31, 8, 1, 1, 1] }, ..matrix() }),
        ("swizzle of 128", TensorMap { access: Access::Tiled { box_dims: [36, 8, 1, 1, 1] }, ..matrix() }),
        ("swizzle of 64", TensorMap { swizzle: Swizzle::Bytes64, ..matrix() }),
        ("l2Promotion", TensorMap { l2_promotion: 4, ..matrix() }),
        ("oobFill", TensorMap { data_type: DataType::S32, fill: Fill::Nan, ..matrix() }),
        ("swizzle must be", TensorMap { interleave: Interleave::Bytes32, ..images() }),
        ("multiple of 32", TensorMap { interleave: Interleave::Bytes32, global_address: 0x1010, ..images() }),
        ("tensorRank", TensorMap { rank: 2, global_dims: [32, 9, 1, 1, 1], ..images() }),
    ];
    for (word, map) in broken {
        let message = map.validate().unwrap_err().to_string();
        assert!(message.contains(word), "{word}: {message}");
        assert!(map.encode().is_err());
    }
    let image = |lower, upper, channels, pixels| {
        let access = Access::Im2col { lower, upper, channels, pixels };
        TensorMap { access, ..images() }.validate().map_err(|error| error.to_string())
    };
    assert_eq!(image([-128, 0, 0], [127, 0, 0], 32, 1024), Ok(()));
    for (word, result) in [
        ("pixelBoxLowerCorner[0]", image([-129, 0, 0], [0; 3], 32, 48)),
        ("pixelBoxUpperCorner[1]", image([0; 3], [0, 128, 0], 32, 48)),
        ("must not be empty", image([4, 0, 0], [-5, 0, 0], 32, 48)),
        ("channelsPerPixel", image([0; 3], [0; 3], 0, 48)),
        ("pixelsPerColumn", image([0; 3], [0; 3], 32, 1025)),
        ("swizzle of 64", image([0; 3], [0; 3], 40, 48)),
    ] {
        assert!(result.clone().unwrap_err().contains(word), "{word}: {result:?}");
    }
}

#[test]
fn the_drivers_numbers_are_those_of_its_header() {
    assert_eq!(DataType::from_driver(7), Some(DataType::F32));
    assert_eq!(DataType::from_driver(9), Some(DataType::Bf16));
    assert_eq!(DataType::from_driver(12), Some(DataType::Tf32Ftz));
    assert_eq!(DataType::from_driver(13), None);
    assert_eq!(DataType::F16.to_driver(), 6);
    assert_eq!(
        [0, 3, 4, 5, 6].map(swizzle_from_driver)[1..3],
        [Some(Swizzle::Bytes128), Some(Swizzle::Bytes128Atom32)]
    );
    assert_eq!(swizzle_from_driver(5), None);
    assert_eq!(swizzle_from_driver(7), None);
    assert_eq!(Interleave::from_driver(3), None);
    assert_eq!(Fill::from_driver(1), Some(Fill::Nan));
    assert!(f32::from_le_bytes(DataType::F32.nan().try_into().unwrap()).is_nan());
}

/// Each byte of shared memory that runs cover: where in global memory it comes from, or `None` for a filled one.
fn bytes(runs: &[Run]) -> Vec<(u32, Option<u64>)> {
    let mut bytes: Vec<_> = runs
        .iter()
        .flat_map(|run| (0..run.bytes).map(|i| (run.shared + i, run.global.map(|global| global + u64::from(i)))))
        .collect();
    bytes.sort_unstable();
    bytes
}

fn place(map: &TensorMap, address: u32) -> u32 {
    match map.swizzle {
        Swizzle::Bytes32 => by_table(&BYTES_32, address),
        Swizzle::Bytes64 => by_table(&BYTES_64, address),
        Swizzle::Bytes128 => by_table(&BYTES_128, address),
        _ => address,
    }
}

/// Element (i0, …, i4) of the box, written as five loops over the whole box with the elements that the steps pass over left out.
fn naive_box(map: &TensorMap, start: [i32; 5], shared: u32) -> Vec<(u32, Option<u64>)> {
    let Access::Tiled { box_dims } = map.access else { panic!("not tiled") };
    let size = map.data_type.bytes();
    let steps = |i: usize| if i == 0 { 1 } else { map.element_strides[i] as usize };
    let along = |i: usize| (0..box_dims[i] as i64).step_by(steps(i));
    let mut bytes = Vec::new();
    let mut element = 0;
    for e in along(4) {
        for d in along(3) {
            for c in along(2) {
                for b in along(1) {
                    for a in along(0) {
                        let at = [a, b, c, d, e];
                        let position: Vec<i64> = (0..5).map(|i| i64::from(start[i]) + at[i]).collect();
                        let inside = (0..5).all(|i| position[i] >= 0 && position[i] < map.global_dims[i] as i64);
                        let outer: i64 = (1..5).map(|i| position[i] * map.global_strides[i - 1] as i64).sum();
                        let address = map.global_address as i64 + position[0] * i64::from(size) + outer;
                        for byte in 0..size {
                            let place = place(map, shared + element * size + byte);
                            bytes.push((place, inside.then_some(address as u64 + u64::from(byte))));
                        }
                        element += 1;
                    }
                }
            }
        }
    }
    bytes.sort_unstable();
    bytes
}

proptest! {
    #[test]
    fn boxes_are_those_of_naive_loops(
        rank in 1usize..6,
        sizes in prop::array::uniform5(1u32..7),
        dims in prop::array::uniform5(1u64..12),
        steps in prop::array::uniform5(1u32..4),
        start in prop::array::uniform5(-6i32..14),
        swizzle in prop::sample::select(vec![Swizzle::None, Swizzle::Bytes32, Swizzle::Bytes64, Swizzle::Bytes128]),
        data_type in prop::sample::select(vec![DataType::U8, DataType::F16, DataType::F32, DataType::F64]),
        shared in 0u32..16,
    ) {
        let inner = if swizzle == Swizzle::None { 16 * (1 + sizes[0] % 3) } else { swizzle.span() };
        let mut map = TensorMap { rank, data_type, swizzle, global_dims: dims, element_strides: steps, ..matrix() };
        let mut box_dims = sizes;
        box_dims[0] = inner / data_type.bytes();
        map.global_dims[0] += u64::from(box_dims[0]) / 2;
        map.global_strides = [192, 192 * 16, 192 * 256, 192 * 4096];
        let mut origin = start;
        for i in rank..5 {
            (box_dims[i], map.global_dims[i], origin[i]) = (1, 1, 0);
        }
        map.access = Access::Tiled { box_dims };
        prop_assert_eq!(map.validate(), Ok(()));
        let mut runs = Vec::new();
        map.tiled(&origin[..rank], 128 * shared, |run| runs.push(run)).unwrap();
        let covered = bytes(&runs);
        prop_assert_eq!(covered.len() as u32, map.copy_bytes());
        prop_assert_eq!(covered, naive_box(&map, origin, 128 * shared));
    }
}

/// One box worked out by hand: column -4 and row 59 of the matrix, 32 × 8 elements, so that four columns and seven rows lie outside.
#[test]
fn a_box_over_the_corner_of_a_matrix() {
    let mut runs = Vec::new();
    matrix().tiled(&[-4, 59], 1024, |run| runs.push(run)).unwrap();
    // Row 59: the first 16 bytes are filled, then seven chunks of data; line 8 of shared memory has the pattern's line 0.
    assert_eq!(runs[0], Run { shared: 1024, global: None, bytes: 16 });
    let row = 0x7000_0000_1000 + 59 * 512;
    assert_eq!(runs[1], Run { shared: 1040, global: Some(row), bytes: 16 });
    assert_eq!(runs[7], Run { shared: 1024 + 112, global: Some(row + 96), bytes: 16 });
    // Rows 60 to 66 are not there; chunk 0 of the second row lies at place 1.
    assert_eq!(runs[8], Run { shared: 1024 + 128 + 16, global: None, bytes: 16 });
    assert!(runs[8..].iter().all(|run| run.global.is_none()));
    assert_eq!(runs.len(), 64);
}

/// im2col as a convolution: pixel i of the column is output pixel (n, y, x) of a filter of 3 × 3 with padding 1 and step `step`, counted
/// from the first; the tap (s, r) of the filter is the offset.
#[test]
fn pixels_are_those_of_a_convolution() {
    for step in [1, 2] {
        let map = TensorMap { element_strides: [1, step, step, 1, 1], ..images() };
        let (width, height) = (9i64, 7i64);
        let outputs = |size: i64| (size + 2 - 3) / i64::from(step) + 1;
        for (s, r) in [(0, 0), (2, 1), (1, 2)] {
            let mut runs = Vec::new();
            map.im2col(&[0, -1, -1, 1], &[s, r], 0, |run| runs.push(run)).unwrap();
            let mut expected = Vec::new();
            for pixel in 0..48 {
                let (x, y) = (pixel % outputs(width), pixel / outputs(width) % outputs(height));
                let n = 1 + pixel / (outputs(width) * outputs(height));
                let (x, y) = (x * i64::from(step) - 1 + i64::from(s), y * i64::from(step) - 1 + i64::from(r));
                let inside = (0..width).contains(&x) && (0..height).contains(&y) && n < 3;
                let address = 0x7000_0000_1000 + 64 * (x + width * (y + height * n));
                for byte in 0..64 {
                    let shared = by_table(&BYTES_64, pixel as u32 * 64 + byte);
                    expected.push((shared, inside.then_some(address as u64 + u64::from(byte))));
                }
            }
            expected.sort_unstable();
            assert_eq!(bytes(&runs), expected, "step {step}, tap ({s}, {r})");
        }
    }
    assert_eq!(images().copy_bytes(), 48 * 64);
}

#[test]
fn copies_that_are_not_known_or_wrong_are_refused_by_name() {
    let none = |_: Run| {};
    let error = |result: Result<(), TensorCopyError>| result.unwrap_err().to_string();
    assert!(error(matrix().tiled(&[0, 0], 64, none)).contains("multiple of 128"));
    assert!(error(matrix().tiled(&[0], 0, none)).contains("1 coordinates"));
    assert!(error(images().tiled(&[0; 4], 0, none)).contains("tiled"));
    assert!(error(matrix().im2col(&[0, 0], &[], 0, none)).contains("im2col"));
    let interleaved = TensorMap { interleave: Interleave::Bytes16, ..images() };
    assert!(error(interleaved.im2col(&[0; 4], &[0; 2], 0, none)).contains("interleave"));
    let tf32 = TensorMap { data_type: DataType::Tf32, ..matrix() };
    assert!(error(tf32.tiled(&[0, 0], 0, none)).contains("Tf32"));
    let narrow = TensorMap { access: Access::Tiled { box_dims: [16, 8, 1, 1, 1] }, ..matrix() };
    assert!(error(narrow.tiled(&[0, 0], 0, none)).contains("rows of 64 bytes"));
    assert!(error(images().im2col(&[0, 8, 0, 0], &[0, 0], 0, none)).contains("-1 to 7"));
    assert!(error(images().im2col(&[0, 0, 0, 0], &[0, 256], 0, none)).contains("offset 256"));
    assert!(error(images().im2col(&[0, 0, 0, 0], &[0], 0, none)).contains("3 coordinates"));
}
