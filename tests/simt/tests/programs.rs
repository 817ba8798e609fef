//! Kernels as they are written for real run in every mode without a finding, and compute what they should.

use simt::{CopyMode, Emulator, Options, Order, Program, Sources};

fn emulators() -> Vec<Emulator> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernels/programs.cu");
    let program = Program::compile(&Sources { files: vec![file.into()], ..Sources::default() }).expect("it compiles");
    let mut emulators = Vec::new();
    for detection in [false, true] {
        for order in [Order::Ascending, Order::Descending, Order::Random(7), Order::Random(8)] {
            for copies in [CopyMode::Early, CopyMode::Late] {
                let options = Options { threads: order, blocks: order, copies, detection, ..Options::default() };
                emulators.push(Emulator::new(&program, options).expect("an emulator"));
            }
        }
    }
    emulators
}

fn launch(
    emulator: &Emulator,
    kernel: &str,
    grid: [u32; 3],
    block: [u32; 3],
    dynamic_shared: usize,
    arguments: &[&[u8]],
) {
    let result = emulator.launch(kernel, grid, block, dynamic_shared, arguments);
    result.unwrap_or_else(|report| panic!("{:?}\n{report}", emulator.options()));
}

fn put(emulator: &Emulator, bytes: &[u8]) -> u64 {
    let address = emulator.alloc(bytes.len()).expect("room");
    emulator.upload(bytes, address).expect("it fits");
    address
}

fn get(emulator: &Emulator, address: u64, bytes: usize) -> Vec<u8> {
    let mut to = vec![0; bytes];
    emulator.download(address, &mut to).expect("it fits");
    to
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

fn floats_of(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|chunk| f32::from_ne_bytes(chunk.try_into().expect("four"))).collect()
}

/// Small integers, which every format holds and whose sums are exact.
fn draw(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| (((i + seed) * 7919 + i * i * 31) % 17) as f32 - 8.0).collect()
}

#[test]
fn a_pipelined_matrix_product() {
    let bf16 = |values: &[f32]| -> Vec<u8> {
        values.iter().flat_map(|value| ((value.to_bits() >> 16) as u16).to_ne_bytes()).collect()
    };
    for emulator in emulators() {
        for (m, n, k) in [(32, 32, 16), (45, 70, 72), (1, 1, 8)] {
            let (a, b) = (draw(m * k, 1), draw(n * k, 2));
            let (at_a, at_b) = (put(&emulator, &bf16(&a)), put(&emulator, &bf16(&b)));
            let at_c = emulator.alloc(4 * m * n).expect("room");
            let sizes = [m, n, k].map(|size| (size as i32).to_ne_bytes());
            let arguments: [&[u8]; 6] =
                [&at_a.to_ne_bytes(), &at_b.to_ne_bytes(), &at_c.to_ne_bytes(), &sizes[0], &sizes[1], &sizes[2]];
            let grid = [n.div_ceil(32) as u32, m.div_ceil(32) as u32, 1];
            launch(&emulator, "product_bf16", grid, [128, 1, 1], 0, &arguments);
            let expected: Vec<f32> =
                (0..m * n).map(|i| (0..k).map(|j| a[i / n * k + j] * b[i % n * k + j]).sum()).collect();
            assert_eq!(floats_of(&get(&emulator, at_c, 4 * m * n)), expected);
        }
    }
}

#[test]
fn softmax_of_rows() {
    let (rows, width) = (3, 77);
    let values = draw(rows * width, 3);
    let mut first: Option<Vec<u8>> = None;
    for emulator in emulators() {
        let (input, out) = (put(&emulator, &bytes_of(&values)), emulator.alloc(4 * rows * width).expect("room"));
        let arguments: [&[u8]; 3] = [&input.to_ne_bytes(), &out.to_ne_bytes(), &(width as i32).to_ne_bytes()];
        launch(&emulator, "softmax", [rows as u32, 1, 1], [96, 1, 1], 0, &arguments);
        let found = get(&emulator, out, 4 * rows * width);
        for (row, found) in values.chunks(width).zip(floats_of(&found).chunks(width)) {
            let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            for (&x, &found) in row.iter().zip(found) {
                assert!((f64::from(x).exp() / sum - f64::from(found)).abs() < 1e-6);
            }
        }
        assert!(*first.get_or_insert_with(|| found.clone()) == found, "the order of threads changes nothing");
    }
}

#[test]
fn transpositions_of_every_size() {
    let (height, width) = (45usize, 70usize);
    for emulator in emulators() {
        for size in [1, 2, 4, 8] {
            let bytes: Vec<u8> = (0..height * width * size).map(|i| (i * 31 % 251) as u8).collect();
            let (input, out) = (put(&emulator, &bytes), emulator.alloc(bytes.len()).expect("room"));
            let sides = [height, width].map(|side| (side as i32).to_ne_bytes());
            let arguments: [&[u8]; 4] = [&input.to_ne_bytes(), &out.to_ne_bytes(), &sides[0], &sides[1]];
            launch(&emulator, &format!("transpose_{size}"), [3, 2, 1], [32, 8, 1], 0, &arguments);
            let expected: Vec<u8> = (0..width * height)
                .flat_map(|i| {
                    let at = (i % height * width + i / height) * size;
                    bytes[at..at + size].to_vec()
                })
                .collect();
            assert!(get(&emulator, out, bytes.len()) == expected, "elements of {size} bytes");
        }
    }
}

#[test]
fn a_histogram_by_atomics() {
    let values: Vec<u8> = (0..5000u32).map(|i| (i * i % 253) as u8).collect();
    let mut expected = [0u32; 256];
    values.iter().for_each(|&value| expected[usize::from(value)] += 1);
    for emulator in emulators() {
        let (input, counts) = (put(&emulator, &values), put(&emulator, &[0; 1024]));
        let arguments: [&[u8]; 3] = [&input.to_ne_bytes(), &counts.to_ne_bytes(), &5000i32.to_ne_bytes()];
        launch(&emulator, "histogram", [7, 1, 1], [160, 1, 1], 1024, &arguments);
        let found = get(&emulator, counts, 1024);
        assert!(found.chunks_exact(4).map(|chunk| u32::from_ne_bytes(chunk.try_into().expect("four"))).eq(expected));
    }
}

#[test]
fn a_scan_and_local_arrays() {
    let values: Vec<u8> = (0..256i32).flat_map(|i| (i % 13).to_ne_bytes()).collect();
    let mut sum = 0;
    let expected: Vec<u8> = (0..256i32)
        .flat_map(|i| {
            sum += i % 13;
            sum.to_ne_bytes()
        })
        .collect();
    let unsorted = draw(8 * 32, 4);
    let weighted: Vec<f32> = unsorted
        .chunks(8)
        .map(|chunk| {
            let mut sorted = chunk.to_vec();
            sorted.sort_by(f32::total_cmp);
            sorted.iter().zip(1..).map(|(value, weight)| value * weight as f32).sum()
        })
        .collect();
    for emulator in emulators() {
        let (input, out) = (put(&emulator, &values), emulator.alloc(1024).expect("room"));
        launch(&emulator, "scan", [1, 1, 1], [256, 1, 1], 0, &[&input.to_ne_bytes(), &out.to_ne_bytes()]);
        assert!(get(&emulator, out, 1024) == expected);
        let input = put(&emulator, &bytes_of(&unsorted));
        launch(&emulator, "sorted_sum", [1, 1, 1], [32, 1, 1], 0, &[&input.to_ne_bytes(), &out.to_ne_bytes()]);
        assert_eq!(floats_of(&get(&emulator, out, 128)), weighted);
    }
}
