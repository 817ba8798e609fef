//! `wgmma` run as PTX on tiles that tensor copies bring with a swizzle of 128 bytes, as fast kernels do it; against naive products.

use crate::common::hopper::wait;
use crate::common::{all_checks, download, machine, orders, run, shape, upload};
use crate::tensor::Random;
use crate::tensor::wgmma::{Rows, encode, naive, rows};
use ptx_machine::machine::{Machine, Options};
use ptx_machine::memory::Kind;
use ptx_machine::tensor::swizzle::Swizzle;
use ptx_machine::tensor::tensor_map::{Access, DataType, Fill, Interleave, TensorMap};
use ptx_machine::text::ast::Type;

/// Bytes of a row of both operands, which are those of k: four products of 32 bytes each.
const ROW: u32 = 128;
const STEPS: u32 = 4;

/// A product D (64 `groups` × n) = A B, each group of four warps with 64 rows of its own.
struct Case {
    /// The type of A and B as `wgmma` and as tensor maps name it, and of D.
    ty: (&'static str, Type, DataType),
    d: &'static str,
    n: u32,
    groups: u32,
    a_in_registers: bool,
    /// B lies in memory with n along its rows, 64 in each.
    n_major: bool,
}

impl Case {
    fn elements(&self) -> u32 {
        ROW / self.ty.1.bytes()
    }

    fn k(&self) -> u32 {
        self.elements() / STEPS
    }

    fn registers(&self) -> u32 {
        self.n / 2
    }

    /// Loads of A's fragments: register r of a thread has row lane / 4 + 8 (r % 2) of its warp's 16, and of the 32 bytes of k those from
    /// 4 (lane % 4) + 16 (r / 2) on (figures of "Matrix fragments for wgmma.mma_async").
    fn fragments(&self) -> String {
        let mut text =
            "and.b32 %r21, %r5, 31;\nshr.u32 %r22, %r5, 5;\nshr.u32 %r23, %r21, 2;\nmad.lo.u32 %r23, %r22, 16, %r23;\n\
                        and.b32 %r24, %r21, 3;\nshl.b32 %r24, %r24, 2;\nmad.lo.u32 %r23, %r23, 128, %r24;\n\
                        cvt.u64.u32 %rd5, %r23;\nadd.s64 %rd5, %rd5, %rd2;\n"
                .to_string();
        for (step, r) in (0..STEPS).flat_map(|step| (0..4).map(move |r| (step, r))) {
            let at = r % 2 * 8 * ROW + step * 32 + r / 2 * 16;
            text += &format!("ld.global.b32 %a{}, [%rd5+{at}];\n", 4 * step + r);
        }
        text
    }

    /// The product itself: descriptors of a swizzle of 128 bytes, by "Matrix Descriptor Format".
    fn products(&self) -> String {
        let list = |name: &str, first: u32, count: u32| {
            (first..first + count).map(|at| format!("%{name}{at}")).collect::<Vec<_>>().join(", ")
        };
        let (ty, d) = (self.ty.0, list("d", 0, self.registers()));
        let shape = format!("m64n{}k{}", self.n, self.k());
        // The signs of A and B, then whether each is transposed, as far as the types have them.
        let mut flags = String::from(if self.d == "s32" { "" } else { ", 1, 1" });
        if matches!(ty, "f16" | "bf16") {
            flags += if self.a_in_registers { "" } else { ", 0" };
            flags += if self.n_major { ", 1" } else { ", 0" };
        }
        let mut text = String::from("wgmma.fence.sync.aligned;\n");
        for step in 0..STEPS {
            // 32 bytes further along the rows, or 16 rows further.
            let b = if self.n_major { 16 * ROW * step } else { 32 * step } >> 4;
            let a = if self.a_in_registers { format!("{{{}}}", list("a", 4 * step, 4)) } else { "%rd11".into() };
            text += &format!(
                "add.s64 %rd11, %rd7, {};\nadd.s64 %rd12, %rd8, {b};\n\
                 wgmma.mma_async.sync.aligned.{shape}.{}.{ty}.{ty} {{{d}}}, {a}, %rd12, {}{flags};\n",
                2 * step,
                self.d,
                u32::from(step > 0)
            );
        }
        text + "wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n"
    }

    /// Where n runs along the rows, each box has 64 of it.
    fn boxes(&self) -> u32 {
        if self.n_major { self.n / 64 } else { 1 }
    }

    fn text(&self) -> String {
        let rows = 64 * self.groups;
        let (a_bytes, b_bytes) = (if self.a_in_registers { 0 } else { rows * ROW }, self.n * ROW);
        let copy = |to: &str, offset: u32, map: &str, x: u32| {
            format!(
                "add.u32 %r9, {to}, {offset};\ncp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes \
                 [%r9], [{map}, {{{x}, 0}}], [%r30];\n"
            )
        };
        let mut copies: String = (0..self.boxes()).map(|at| copy("%r21", at * 64 * ROW, "%rd4", 64 * at)).collect();
        if !self.a_in_registers {
            copies += &copy("%r20", 0, "%rd3", 0);
        }
        // Leading and stride offsets over 16, and the swizzle; the leading one counts for rows along n alone.
        let leading = u64::from(if self.n_major { 64 * ROW } else { 16 } >> 4);
        let fields = |leading: u64| leading << 16 | u64::from((8 * ROW) >> 4) << 32 | 1 << 62;
        let stores: String =
            (0..self.registers()).map(|at| format!("st.global.b32 [%rd10+{}], %d{at};\n", 4 * at)).collect();
        let d = if self.d == "s32" { "b32" } else { "f32" };
        format!(
            ".version 8.8\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 k_out, .param .u64 k_a, \
             .param .align 64 .b8 k_map_a[128], .param .align 64 .b8 k_map_b[128])\n{{\n.reg .pred %p<10>;\n.reg .b32 %r<40>;\n\
             .reg .b64 %rd<20>;\n.reg .{d} %d<128>;\n.reg .b32 %a<16>;\n.shared .align 1024 .b8 a[{}];\n\
             .shared .align 1024 .b8 b[{b_bytes}];\n.shared .align 8 .b8 bar[8];\nld.param.u64 %rd1, [k_out];\n\
             ld.param.u64 %rd2, [k_a];\nmov.b64 %rd5, k_map_a;\ncvta.param.u64 %rd3, %rd5;\nmov.b64 %rd5, k_map_b;\n\
             cvta.param.u64 %rd4, %rd5;\nmov.u32 %r5, %tid.x;\nmov.u32 %r20, a;\nmov.u32 %r21, b;\nmov.u32 %r30, bar;\n\
             shr.u32 %r6, %r5, 7;\nmad.lo.u32 %r7, %r6, {}, %r20;\ncvt.u64.u32 %rd7, %r7;\nshr.u64 %rd7, %rd7, 4;\n\
             or.b64 %rd7, %rd7, {};\ncvt.u64.u32 %rd8, %r21;\nshr.u64 %rd8, %rd8, 4;\nor.b64 %rd8, %rd8, {};\n\
             setp.eq.u32 %p1, %r5, 0;\n@%p1 mbarrier.init.shared::cta.b64 [%r30], 1;\nfence.mbarrier_init.release.cluster;\n\
             bar.sync 0;\n@!%p1 bra WAIT;\nmbarrier.arrive.expect_tx.shared::cta.b64 %rd9, [%r30], {};\n{copies}WAIT:\n{}{}{}\
             mul.wide.u32 %rd10, %r5, {};\nadd.s64 %rd10, %rd10, %rd1;\n{stores}ret;\n}}\n",
            a_bytes.max(16),
            64 * ROW,
            fields(1),
            fields(leading),
            a_bytes + b_bytes,
            wait("W", 0),
            if self.a_in_registers { self.fragments() } else { String::new() },
            self.products(),
            4 * self.registers()
        )
    }

    /// A matrix in a machine's memory, and its map.
    fn operand(&self, machine: &Machine, matrix: &Rows) -> (u64, [u8; 128]) {
        let bytes: Vec<u8> = matrix.iter().flatten().flat_map(|&value| encode(self.ty.1, value)).collect();
        let address = machine.memory.allocate(bytes.len() as u64, Kind::Device).expect("memory");
        machine.memory.write(address, &bytes).expect("the allocation");
        let (x, y) = (matrix[0].len() as u32, matrix.len() as u32);
        let map = TensorMap {
            data_type: self.ty.2,
            rank: 2,
            global_address: address,
            global_dims: [x.into(), y.into(), 1, 1, 1],
            global_strides: [u64::from(x * self.ty.1.bytes()), 0, 0, 0],
            element_strides: [1; 5],
            interleave: Interleave::None,
            swizzle: Swizzle::Bytes128,
            l2_promotion: 0,
            fill: Fill::Zero,
            access: Access::Tiled { box_dims: [self.elements(), y, 1, 1, 1] },
        };
        (address, map.encode().expect("a valid map"))
    }

    fn check(&self) {
        let (rows_of_a, k) = (64 * self.groups, self.elements() as usize);
        let mut random = Random(u64::from(self.n));
        let (a, b) = (rows(rows_of_a as usize, k, &mut random), rows(self.n as usize, k, &mut random));
        let expected = naive(&a, &b, 1.0);
        let along_n: Rows = (0..k).map(|k| b.iter().map(|column| column[k]).collect()).collect();
        let text = self.text();
        let count = (rows_of_a * self.n) as usize;
        // Each order of warps and copies; blocks are one.
        for options in orders().into_iter().filter(|options| options.threads == 1) {
            let machine = machine(Options { checks: all_checks().checks, ..options.clone() });
            let out = upload(&machine, &vec![0; count]);
            let (a, map_a) = self.operand(&machine, &a);
            let (_, map_b) = self.operand(&machine, if self.n_major { &along_n } else { &b });
            let mut launch = shape(1, 128 * self.groups, &[out, a]);
            launch.parameters.resize(64, 0);
            launch.parameters.extend(map_a.into_iter().chain(map_b));
            let outcome = run(&machine, &text, &launch).unwrap_or_else(|fault| panic!("{options:?} {fault:?}\n{text}"));
            assert!(outcome.findings.is_empty(), "{options:?} {:#?}", outcome.findings);
            for (at, bits) in download(&machine, out, count).into_iter().enumerate() {
                // The figure of D: register i of a thread has row lane / 4 + 8 (i / 2 % 2) and column 8 (i / 4) + 2 (lane % 4) + i % 2.
                let (thread, i) = (at / self.registers() as usize, at % self.registers() as usize);
                let row = thread / 32 * 16 + thread % 32 / 4 + 8 * (i / 2 % 2);
                let column = 8 * (i / 4) + 2 * (thread % 4) + i % 2;
                let found = if self.d == "s32" { f64::from(bits as i32) } else { f64::from(f32::from_bits(bits)) };
                assert_eq!(found, expected[row][column], "{options:?} {text}: ({row}, {column})");
            }
        }
    }
}

const BF16: (&str, Type, DataType) = ("bf16", Type::Bf16, DataType::Bf16);
const F16: (&str, Type, DataType) = ("f16", Type::F16, DataType::F16);

#[test]
fn both_operands_in_swizzled_shared_memory() {
    let case = |ty, d, n, groups| Case { ty, d, n, groups, a_in_registers: false, n_major: false };
    case(BF16, "f32", 256, 1).check();
    case(F16, "f32", 136, 2).check();
    case(("tf32", Type::Tf32, DataType::F32), "f32", 96, 1).check();
    case(("s8", Type::S8, DataType::U8), "s32", 64, 2).check();
}

#[test]
fn a_first_operand_in_registers() {
    let case = |ty, d, n, groups| Case { ty, d, n, groups, a_in_registers: true, n_major: false };
    case(BF16, "f32", 192, 1).check();
    case(("s8", Type::S8, DataType::U8), "s32", 32, 2).check();
}

/// B with n along its rows, in two boxes of 64: the leading offset tells how far apart they are.
#[test]
fn a_second_operand_with_n_along_its_rows() {
    Case { ty: F16, d: "f32", n: 128, groups: 1, a_in_registers: false, n_major: true }.check();
    Case { ty: BF16, d: "f32", n: 64, groups: 2, a_in_registers: true, n_major: true }.check();
}
