//! Products of matrices and what brings their parts into registers (§9.7.15, §9.7.16).

use super::ParseError;
use super::ast::{Op, Operand, Register, Shape, Space, Type, WgmmaA};
use super::lexer::Token;
use super::parser::Parser;
use Type::*;

/// The product of `mma.sync`: types of A and B, and shapes.
struct Product {
    /// Types of A and of B.
    inputs: &'static [Type],
    /// Whether A and B may have different ones of them.
    mixed: bool,
    /// Types of C and D, which are the same.
    outputs: &'static [Type],
    shapes: &'static [(u32, u32, u32)],
}

#[rustfmt::skip]
static PRODUCTS: [Product; 6] = [
    Product { inputs: &[F16], mixed: false, outputs: &[F16, F32], shapes: &[(16, 8, 8), (16, 8, 16)] },
    Product { inputs: &[Bf16], mixed: false, outputs: &[F32], shapes: &[(16, 8, 8), (16, 8, 16)] },
    Product { inputs: &[Tf32], mixed: false, outputs: &[F32], shapes: &[(16, 8, 4), (16, 8, 8)] },
    Product { inputs: &[F64], mixed: false, outputs: &[F64], shapes: &[(8, 8, 4), (16, 8, 4), (16, 8, 8), (16, 8, 16)] },
    Product { inputs: &[S8, U8], mixed: true, outputs: &[S32], shapes: &[(8, 8, 16), (16, 8, 16), (16, 8, 32)] },
    Product { inputs: &[E4m3, E5m2], mixed: true, outputs: &[F16, F32], shapes: &[(16, 8, 16), (16, 8, 32)] },
];

const INPUTS: &[Type] = &[F16, Bf16, Tf32, F64, S8, U8, E4m3, E5m2];
const OUTPUTS: &[Type] = &[F16, F32, F64, S32];

/// Whether a type may be A's or B's, given the other.
fn product(a: Type, b: Type) -> Option<&'static Product> {
    PRODUCTS
        .iter()
        .find(|product| product.inputs.contains(&a) && product.inputs.contains(&b) && (product.mixed || a == b))
}

/// The type of a register that holds elements of a matrix, and how many it holds.
fn fragment(ty: Type) -> (Type, u32) {
    match ty {
        F16 | Bf16 => (B32, 2),
        S8 | U8 | E4m3 | E5m2 => (B32, 4),
        Tf32 => (B32, 1),
        other => (other, 1),
    }
}

/// `m16n8k16`.
fn shape(name: &str) -> Option<Shape> {
    let (m, rest) = name.strip_prefix('m')?.split_once('n')?;
    let (n, k) = rest.split_once('k')?;
    let number = |text: &str| text.parse().ok().filter(|number| *number <= 256);
    Some(Shape { m: number(m)?, n: number(n)?, k: number(k)? })
}

impl Parser<'_> {
    pub(super) fn tensor(&mut self) -> Result<Op, ParseError> {
        match self.opcode {
            "ldmatrix" => self.load_matrix(),
            "stmatrix" => self.store_matrix(),
            "mma" => self.multiply(),
            _ => self.warpgroup(),
        }
    }

    /// `.sync.aligned.m8n8.x4{.trans}.shared.b16`: the number of matrices, and `.trans`. CUTLASS writes the number first.
    fn matrices(&mut self) -> Result<(usize, bool), ParseError> {
        self.need_all(&["sync", "aligned"])?;
        const NUMBERS: [(&str, usize); 3] = [("x1", 1), ("x2", 2), ("x4", 4)];
        let first = self.one_of(&NUMBERS);
        let trans = first.is_some() && self.modifier("trans");
        self.need_all(&["m8n8"])?;
        let number = match first {
            Some(number) => number,
            None => self.need(&NUMBERS)?,
        };
        let trans = trans || self.modifier("trans");
        self.shared()?;
        self.need_all(&["b16"])?;
        self.done()?;
        Ok((number, trans))
    }

    fn load_matrix(&mut self) -> Result<Op, ParseError> {
        let (number, trans) = self.matrices()?;
        let d = self.registers_of(number, B32)?;
        self.comma()?;
        Ok(Op::Ldmatrix { trans, d, address: self.address(Space::Shared)? })
    }

    fn store_matrix(&mut self) -> Result<Op, ParseError> {
        let (number, trans) = self.matrices()?;
        let address = self.address(Space::Shared)?;
        self.comma()?;
        Ok(Op::Stmatrix { trans, a: self.sources_of(number, B32)?, address })
    }

    /// Registers in braces.
    fn registers_of(&mut self, count: usize, ty: Type) -> Result<Vec<Register>, ParseError> {
        self.vector(count, |parser| parser.register(ty))
    }

    fn sources_of(&mut self, count: usize, ty: Type) -> Result<Vec<Operand>, ParseError> {
        self.vector(count, |parser| parser.source(ty))
    }

    fn shape(&mut self) -> Result<Shape, ParseError> {
        let shape = self.next_modifier().and_then(shape);
        self.understood += usize::from(shape.is_some());
        shape.ok_or_else(|| self.bad_modifier("a shape such as `.m16n8k16`"))
    }

    /// `mma.sync.aligned.shape.row.col.d.a.b.c d, a, b, c` (§9.7.15.5).
    fn multiply(&mut self) -> Result<Op, ParseError> {
        self.need_all(&["sync", "aligned"])?;
        let shape = self.shape()?;
        self.need_all(&["row", "col"])?;
        let d_ty = self.ty(OUTPUTS)?;
        let a_ty = self.ty(INPUTS)?;
        let b_ty = self.ty(INPUTS)?;
        let c_ty = self.ty(OUTPUTS)?;
        self.done()?;
        let known = product(a_ty, b_ty).is_some_and(|product| {
            product.outputs.contains(&d_ty) && product.shapes.contains(&(shape.m, shape.n, shape.k))
        });
        if !known || d_ty != c_ty {
            return Err(self.refused("a shape with types that this machine knows"));
        }
        let count = |elements: u32, per_register: u32| (elements / 32 / per_register) as usize;
        let ((a_reg, a_in), (b_reg, b_in), (c_reg, c_in)) = (fragment(a_ty), fragment(b_ty), fragment(c_ty));
        let c_count = count(shape.m * shape.n, c_in);
        let d = self.registers_of(c_count, c_reg)?;
        self.comma()?;
        let a = self.sources_of(count(shape.m * shape.k, a_in), a_reg)?;
        self.comma()?;
        let b = self.sources_of(count(shape.k * shape.n, b_in), b_reg)?;
        self.comma()?;
        let c = self.sources_of(c_count, c_reg)?;
        Ok(Op::Mma { shape, d_ty, a_ty, b_ty, c_ty, d, a, b, c })
    }

    fn warpgroup(&mut self) -> Result<Op, ParseError> {
        let kind = self.need(&[("fence", 0), ("commit_group", 1), ("wait_group", 2), ("mma_async", 3)])?;
        self.need_all(&["sync", "aligned"])?;
        if kind == 3 {
            return self.warpgroup_multiply();
        }
        self.done()?;
        Ok(match kind {
            0 => Op::WgmmaFence,
            1 => Op::WgmmaCommit,
            _ => Op::WgmmaWait { groups: self.number("a number of groups")? },
        })
    }

    /// `wgmma.mma_async.sync.aligned.shape.d.a.b` (§9.7.16.5.2).
    fn warpgroup_multiply(&mut self) -> Result<Op, ParseError> {
        let shape = self.shape()?;
        let d_ty = self.ty(&[F16, F32, S32])?;
        let a_ty = self.ty(&[F16, Bf16, Tf32, E4m3, E5m2, S8, U8])?;
        let b_ty = self.ty(&[F16, Bf16, Tf32, E4m3, E5m2, S8, U8])?;
        self.done()?;
        self.check_warpgroup(shape, d_ty, a_ty, b_ty)?;
        let (register, per_register) = fragment(d_ty);
        let d = self.registers_of((shape.n / 2 / per_register) as usize, register)?;
        self.comma()?;
        let a = if self.reader.peek() == Token::Mark('{') {
            WgmmaA::Registers(self.registers_of(4, B32)?)
        } else {
            WgmmaA::Descriptor(self.source(B64)?)
        };
        let b = self.next_source(B64)?;
        self.comma()?;
        let scale_d = self.predicate()?;
        // Integers are neither negated nor transposed; only 16-bit matrices in shared memory are transposed.
        let (mut negate_a, mut negate_b, mut trans_a, mut trans_b) = (false, false, false, false);
        if d_ty != S32 {
            negate_a = self.choice(1, -1)?;
            negate_b = self.choice(1, -1)?;
        }
        if matches!(a_ty, F16 | Bf16) {
            if matches!(a, WgmmaA::Descriptor(_)) {
                trans_a = self.choice(0, 1)?;
            }
            trans_b = self.choice(0, 1)?;
        }
        Ok(Op::Wgmma { shape, d_ty, a_ty, b_ty, d, a, b, scale_d, negate_a, negate_b, trans_a, trans_b })
    }

    /// Another operand, which is one of two numbers: whether it is the second.
    fn choice(&mut self, no: i64, yes: i64) -> Result<bool, ParseError> {
        self.comma()?;
        let expected = format!("{no} or {yes}");
        let value = self.reader.integer(&expected)?;
        if value != no && value != yes {
            return Err(self.reader.error(format!("{value} in `{}`", self.mnemonic()), expected));
        }
        Ok(value == yes)
    }

    fn check_warpgroup(&self, shape: Shape, d: Type, a: Type, b: Type) -> Result<(), ParseError> {
        let integers = matches!(a, S8 | U8);
        let known = product(a, b).is_some_and(|product| product.outputs.contains(&d));
        let k = match a {
            F16 | Bf16 => 16,
            Tf32 => 8,
            _ => 32,
        };
        // Integers have n = 8, 24 and the multiples of 16.
        let step = if integers && shape.n > 24 { 16 } else { 8 };
        let n = shape.n > 0 && shape.n <= 256 && shape.n.is_multiple_of(step);
        if known && shape.m == 64 && shape.k == k && n {
            return Ok(());
        }
        Err(self.refused("a shape with types that this machine knows"))
    }
}
