//! `cp.async.bulk.tensor` run as PTX: where each byte lies, by the tables of the swizzles and by loops over the elements.

use crate::common::hopper::wait;
use crate::common::{all_checks, machine, module_text, orders, run, shape};
use crate::tensor::swizzle::{BYTES_32, BYTES_64, BYTES_128, by_table};
use ptx_machine::machine::{Machine, Options};
use ptx_machine::memory::Kind;
use ptx_machine::tensor::swizzle::Swizzle;
use ptx_machine::tensor::tensor_map::{Access, DataType, Fill, Interleave, TensorMap};

/// A kernel of a buffer and a tensor map: `%rd1` is the buffer, `%rd5` the map, `%r5` the thread, `%r20` the tile, which begins `lead`
/// bytes behind a multiple of 1024, and `%r30` the mbarrier.
fn text(lead: u32, bytes: u32, body: &str) -> String {
    module_text(
        ".param .u64 k_param_0, .param .align 64 .b8 k_param_1[128]",
        &format!(
            ".shared .align 1024 .b8 tile[{}];\n.shared .align 8 .b8 bar[8];\nld.param.u64 %rd1, [k_param_0];\nmov.b64 %rd4, k_param_1;\n\
             cvta.param.u64 %rd5, %rd4;\nmov.u32 %r5, %tid.x;\nmov.u32 %r20, tile;\nadd.u32 %r20, %r20, {lead};\nmov.u32 %r30, bar;\n\
             setp.eq.u32 %p1, %r5, 0;\n@%p1 mbarrier.init.shared::cta.b64 [%r30], 1;\nbar.sync 0;\n{body}\nret;",
            lead + bytes
        ),
    )
}

/// Words `%r8` of the tile, one after the other by all 32 threads; `%r10` is the place of a word, and `%rd6` its place in the buffer.
fn each_word(bytes: u32, body: &str) -> String {
    format!(
        "mov.u32 %r8, %r5;\nEACH:\nshl.b32 %r9, %r8, 2;\nadd.u32 %r10, %r20, %r9;\nmul.wide.u32 %rd6, %r8, 4;\n\
         add.s64 %rd6, %rd6, %rd1;\n{body}\nadd.u32 %r8, %r8, 32;\nsetp.lt.u32 %p2, %r8, {};\n@%p2 bra EACH;\n",
        bytes / 4
    )
}

/// Thread 0 asks for the copy, all wait for it, and the tile goes to the buffer as it lies.
fn load(lead: u32, bytes: u32, copy: &str) -> String {
    let dump = each_word(bytes, "ld.shared.u32 %r11, [%r10];\nst.global.u32 [%rd6], %r11;");
    let body = format!(
        "@!%p1 bra WAIT;\nmbarrier.arrive.expect_tx.shared::cta.b64 %rd9, [%r30], {bytes};\n{copy}\nWAIT:\n{}{dump}",
        wait("W", 0)
    );
    text(lead, bytes, &body)
}

/// A byte of the tensor by its place: no two neighbours of any row, column or plane are alike.
fn content(at: u64) -> u8 {
    (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

/// A tensor of bytes in a machine's memory.
fn tensor(machine: &Machine, bytes: u64) -> u64 {
    let address = machine.memory.allocate(bytes, Kind::Device).expect("memory");
    machine.memory.write(address, &(0..bytes).map(content).collect::<Vec<u8>>()).expect("the allocation");
    address
}

fn read(machine: &Machine, address: u64, bytes: u64) -> Vec<u8> {
    let mut found = vec![0; bytes as usize];
    machine.memory.read(address, &mut found).expect("the allocation");
    found
}

/// Runs a kernel in all orders with all checks. The map is of a tensor of `bytes` bytes, and the buffer as large as the tile. What the
/// buffer and the tensor hold afterwards goes to `check`.
fn in_all_orders(text: &str, map: &TensorMap, bytes: u64, buffer: u64, check: impl Fn(Vec<u8>, Vec<u8>)) {
    for options in orders() {
        let machine = machine(Options { checks: all_checks().checks, ..options.clone() });
        let (to, from) = (tensor(&machine, buffer), tensor(&machine, bytes));
        let map = TensorMap { global_address: from, ..*map }.encode().expect("a valid map");
        let mut launch = shape(1, 32, &[to]);
        launch.parameters.resize(64, 0);
        launch.parameters.extend(map);
        let outcome = run(&machine, text, &launch).unwrap_or_else(|fault| panic!("{options:?} {fault:?}\n{text}"));
        assert!(outcome.findings.is_empty(), "{options:?} {:#?}", outcome.findings);
        check(read(&machine, to, buffer), read(&machine, from, bytes));
    }
}

/// The place of a byte that without a swizzle lay at `at`.
fn place(swizzle: Swizzle, at: u32) -> u32 {
    match swizzle {
        Swizzle::Bytes32 => by_table(&BYTES_32, at),
        Swizzle::Bytes64 => by_table(&BYTES_64, at),
        Swizzle::Bytes128 => by_table(&BYTES_128, at),
        _ => at,
    }
}

/// A matrix or a stack of matrices, and a box of it.
struct Tile {
    data_type: DataType,
    swizzle: Swizzle,
    /// Elements in x, y and z; z is 1 for a matrix.
    dims: [u32; 3],
    /// Bytes of a row and of a plane.
    pitch: [u32; 2],
    sides: [u32; 3],
    start: [i32; 3],
    lead: u32,
}

impl Tile {
    fn rank(&self) -> usize {
        if self.dims[2] > 1 { 3 } else { 2 }
    }

    fn map(&self) -> TensorMap {
        let [x, y, z] = self.dims.map(u64::from);
        let [row, plane] = self.pitch.map(u64::from);
        TensorMap {
            data_type: self.data_type,
            rank: self.rank(),
            global_address: 0,
            global_dims: [x, y, z, 1, 1],
            global_strides: [row, if self.rank() == 3 { plane } else { 0 }, 0, 0],
            element_strides: [1; 5],
            interleave: Interleave::None,
            swizzle: self.swizzle,
            l2_promotion: 0,
            fill: Fill::Zero,
            access: Access::Tiled { box_dims: [self.sides[0], self.sides[1], self.sides[2], 1, 1] },
        }
    }

    fn bytes(&self) -> u32 {
        self.sides.iter().product::<u32>() * self.data_type.bytes()
    }

    fn tensor_bytes(&self) -> u64 {
        u64::from(self.pitch[1]) * u64::from(self.dims[2])
    }

    fn coordinates(&self) -> (String, String) {
        let names = ["%r12", "%r13", "%r14"];
        let set = (0..3).map(|at| format!("mov.s32 {}, {};\n", names[at], self.start[at])).collect();
        (set, names[..self.rank()].join(", "))
    }

    /// Each byte of the box: its place in the tile, and in the tensor where it has one.
    fn each_byte(&self) -> Vec<(u32, Option<u64>)> {
        let size = self.data_type.bytes();
        let mut all = Vec::new();
        let mut element = 0;
        for (z, y) in (0..self.sides[2] as i32).flat_map(|z| (0..self.sides[1] as i32).map(move |y| (z, y))) {
            for x in 0..self.sides[0] as i32 {
                let at = [self.start[0] + x, self.start[1] + y, self.start[2] + z];
                let inside = (0..3).all(|axis| at[axis] >= 0 && at[axis] < self.dims[axis] as i32);
                for byte in 0..size {
                    let near = place(self.swizzle, self.lead + element * size + byte) - self.lead;
                    let [x, y, z] = at.map(|at| at as u32);
                    let far = || u64::from(z * self.pitch[1] + y * self.pitch[0] + x * size + byte);
                    all.push((near, inside.then(far)));
                }
                element += 1;
            }
        }
        all
    }
}

/// Boxes with every swizzle, over all sides of the tensor, in tiles that begin at the pattern's first line and at others.
fn tiles() -> Vec<Tile> {
    let tile = |data_type, swizzle, dims, pitch, sides, start, lead| Tile {
        data_type,
        swizzle,
        dims,
        pitch,
        sides,
        start,
        lead,
    };
    vec![
        tile(DataType::F16, Swizzle::Bytes128, [90, 40, 1], [192, 7680], [64, 20, 1], [8, 5, 0], 0),
        tile(DataType::Bf16, Swizzle::Bytes128, [90, 40, 1], [192, 7680], [64, 11, 1], [60, 33, 0], 1024),
        tile(DataType::F64, Swizzle::Bytes128, [20, 9, 3], [160, 1600], [16, 5, 2], [-3, -2, 2], 2048),
        tile(DataType::F32, Swizzle::Bytes64, [30, 21, 1], [128, 2688], [16, 13, 1], [-5, 4, 0], 0),
        tile(DataType::U16, Swizzle::Bytes64, [50, 6, 4], [112, 672], [32, 6, 3], [10, -1, -1], 512),
        tile(DataType::U8, Swizzle::Bytes32, [70, 30, 1], [80, 2400], [32, 24, 1], [39, -7, 0], 0),
        tile(DataType::S32, Swizzle::Bytes32, [16, 8, 1], [64, 512], [8, 7, 1], [4, 1, 0], 256),
        tile(DataType::F32, Swizzle::None, [30, 21, 1], [128, 2688], [12, 9, 1], [-5, 14, 0], 128),
        // Tiles that begin in the middle of the pattern.
        tile(DataType::F16, Swizzle::Bytes128, [90, 40, 1], [192, 7680], [64, 9, 1], [1, 1, 0], 384),
        tile(DataType::F32, Swizzle::Bytes64, [30, 21, 1], [128, 2688], [16, 10, 1], [3, 4, 0], 896),
        tile(DataType::U8, Swizzle::Bytes32, [70, 30, 1], [80, 2400], [32, 8, 1], [9, 7, 0], 128),
    ]
}

#[test]
fn boxes_lie_in_shared_memory_as_the_tables_have_them() {
    for tile in tiles() {
        let (set, names) = tile.coordinates();
        let copy = format!(
            "{set}cp.async.bulk.tensor.{}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r20], [%rd5, {{{names}}}], [%r30];",
            tile.rank()
        );
        let mut expected = vec![0; tile.bytes() as usize];
        for (near, far) in tile.each_byte() {
            expected[near as usize] = far.map_or(0, content);
        }
        let text = load(tile.lead, tile.bytes(), &copy);
        in_all_orders(&text, &tile.map(), tile.tensor_bytes(), tile.bytes().into(), |found, _| {
            assert!(found == expected, "{:?} {:?} at {}", tile.data_type, tile.swizzle, tile.lead);
        });
    }
}

/// A store is the load's inverse: what lies outside of the tensor is left out, and what lies beside the box stays.
#[test]
fn boxes_are_stored_from_where_the_tables_have_them() {
    for tile in tiles() {
        let (set, names) = tile.coordinates();
        let fill =
            each_word(tile.bytes(), "ld.global.u32 %r11, [%rd6];\nnot.b32 %r11, %r11;\nst.shared.u32 [%r10], %r11;");
        let body = format!(
            "{fill}fence.proxy.async.shared::cta;\nbar.sync 0;\n@!%p1 bra END;\n{set}\
             cp.async.bulk.tensor.{}d.global.shared::cta.tile.bulk_group [%rd5, {{{names}}}], [%r20];\n\
             cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;\nEND:",
            tile.rank()
        );
        let mut expected: Vec<u8> = (0..tile.tensor_bytes()).map(content).collect();
        for (near, far) in tile.each_byte() {
            if let Some(far) = far {
                expected[far as usize] = !content(near.into());
            }
        }
        let text = text(tile.lead, tile.bytes(), &body);
        in_all_orders(&text, &tile.map(), tile.tensor_bytes(), tile.bytes().into(), |_, found| {
            assert!(found == expected, "{:?} {:?} at {}", tile.data_type, tile.swizzle, tile.lead);
        });
    }
}

/// im2col for a filter of 3 × 3 with padding 1: each pixel of the column is the input that one tap of the filter meets for one output
/// pixel, and output pixels follow each other by rows, and from one image to the next. Padding is zero.
#[test]
fn a_column_of_pixels_is_what_a_convolution_meets() {
    const CHANNELS: u32 = 16;
    const PIXELS: u32 = 40;
    let (width, height, images) = (9i32, 7i32, 3i32);
    let pixel = 2 * CHANNELS;
    for (step, swizzle, first, tap) in [
        (1, Swizzle::Bytes32, (1, 0, 0), (0, 0)),
        (1, Swizzle::Bytes32, (2, 4, 6), (2, 1)),
        (2, Swizzle::Bytes32, (0, 2, 3), (1, 2)),
        (2, Swizzle::None, (1, 1, 0), (2, 0)),
    ] {
        let map = TensorMap {
            data_type: DataType::F16,
            rank: 4,
            global_address: 0,
            global_dims: [CHANNELS.into(), 9, 7, 3, 1],
            global_strides: [pixel.into(), u64::from(pixel) * 9, u64::from(pixel) * 63, 0],
            element_strides: [1, step as u32, step as u32, 1, 1],
            interleave: Interleave::None,
            swizzle,
            l2_promotion: 0,
            fill: Fill::Zero,
            access: Access::Im2col { lower: [-1, -1, 0], upper: [-1, -1, 0], channels: CHANNELS, pixels: PIXELS },
        };
        let outputs = |size: i32| (size + 2 - 3) / step + 1;
        let (n, y, x) = first;
        let (s, r) = tap;
        let copy = format!(
            "mov.s32 %r12, {};\nmov.s32 %r13, {};\nmov.u16 %h1, {s};\nmov.u16 %h2, {r};\n\
             cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%r20], [%rd5, {{0, %r12, %r13, {n}}}], \
             [%r30], {{%h1, %h2}};",
            x * step - 1,
            y * step - 1
        );
        let mut expected = vec![0; (PIXELS * pixel) as usize];
        let number = x + outputs(width) * (y + outputs(height) * n);
        for at in 0..PIXELS {
            let number = number + at as i32;
            let (x, y) = (number % outputs(width), number / outputs(width) % outputs(height));
            let n = number / (outputs(width) * outputs(height));
            let (x, y) = (x * step - 1 + s, y * step - 1 + r);
            let inside = (0..width).contains(&x) && (0..height).contains(&y) && n < images;
            for byte in 0..pixel {
                let far = || content(u64::from(pixel) * (x + width * (y + height * n)) as u64 + u64::from(byte));
                expected[place(swizzle, at * pixel + byte) as usize] = if inside { far() } else { 0 };
            }
        }
        let bytes = PIXELS * pixel;
        let tensor = u64::from(pixel) * (width * height * images) as u64;
        in_all_orders(&load(0, bytes, &copy), &map, tensor, bytes.into(), |found, _| {
            assert!(found == expected, "step {step} {swizzle:?} {first:?} {tap:?}");
        });
    }
}
