//! Tensor cores, asynchronous copies and their barriers.

use super::Lowering;
use super::memory::any_bits;
use crate::exec::copies::{Commit, CopyOp, CpAsync, WaitAll, WaitGroup};
use crate::exec::matrix::{Ldmatrix, Mma, Product, Stmatrix, TRANSPOSED};
use crate::exec::memory::any;
use crate::tensor::mma;
use crate::text::ast::{Address, Op, Operand, Predicate, Space, Type};

impl Lowering<'_> {
    pub(super) fn asynchronous(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::CpAsync { dst, src, bytes, source_bytes, ignore } => {
                self.cp_async((dst, src), *bytes, *source_bytes, *ignore)
            }
            Op::CpAsyncCommit => {
                self.emit(self.pair::<Commit>(), 0, &[]);
                Ok(())
            }
            Op::CpAsyncWait { groups } => {
                let run = if groups.is_some() { self.pair::<WaitGroup>() } else { self.pair::<WaitAll>() };
                let mut decoded = self.blank(run);
                decoded.n = groups.unwrap_or_default();
                self.push(decoded);
                Ok(())
            }
            Op::Ldmatrix { trans, d, address } => {
                let mut decoded = self.blank(self.pair::<Ldmatrix>());
                for (at, &register) in d.iter().enumerate().take(4) {
                    decoded.r[at] = self.register(register, 32)?;
                }
                self.matrix(decoded, d.len(), *trans, address, 0)
            }
            Op::Stmatrix { trans, a, address } => {
                let mut decoded = self.blank(self.pair::<Stmatrix>());
                for (at, &operand) in a.iter().enumerate().take(4) {
                    decoded.r[at] = self.source(operand, 32)?;
                }
                self.matrix(decoded, a.len(), *trans, address, any::WRITES)
            }
            Op::Mma { .. } => self.mma(op),
            _ => Err(format!("{op:?} is not known")),
        }
    }

    fn matrix(
        &mut self,
        mut decoded: crate::exec::Decoded,
        count: usize,
        trans: bool,
        address: &Address,
        flags: u32,
    ) -> Result<(), String> {
        if !matches!(count, 1 | 2 | 4) {
            return Err(format!("{count} matrices of ldmatrix or stmatrix; there can be 1, 2 or 4"));
        }
        let (a, bits, offset) = self.address_in(Space::Shared, address)?;
        (decoded.a, decoded.imm, decoded.n) = (a, offset, count as u32);
        decoded.bytes = any_bits(Space::Shared, Type::B128, 32, bits) | if trans { TRANSPOSED } else { 0 };
        self.access(decoded, flags | any::ROWS);
        Ok(())
    }

    fn cp_async(
        &mut self,
        (dst, src): (&Address, &Address),
        bytes: u32,
        source_bytes: Option<Operand>,
        ignore: Option<Predicate>,
    ) -> Result<(), String> {
        let mut decoded = self.blank(self.pair::<CpAsync>());
        let (a, bits, target) = self.address_in(Space::Shared, dst)?;
        let (b, _, source) = self.address_in(Space::Global, src)?;
        (decoded.a, decoded.b) = (a, b);
        if let Some(count) = source_bytes {
            decoded.c = self.source(count, 32)?;
        }
        let ignore = match ignore {
            Some(predicate) => {
                let (word, negated) = self.predicate(predicate)?;
                decoded.r[1] = word;
                Some(negated)
            }
            None => None,
        };
        decoded.imm = self.program.copies.len() as u64;
        self.program.copies.push(CopyOp {
            bytes,
            wide: bits == 64,
            offsets: [target, source],
            partial: source_bytes.is_some(),
            ignore,
        });
        self.push(decoded);
        Ok(())
    }

    fn mma(&mut self, op: &Op) -> Result<(), String> {
        let Op::Mma { shape, d_ty, a_ty, b_ty, c_ty, d, a, b, c } = op else { return Err("no mma".into()) };
        let (kind, bits) = if *d_ty == Type::F64 && mma::is_f64_shape(*shape) {
            (None, 64)
        } else {
            let kind = mma::Kind::new(*shape, *d_ty, *a_ty, *b_ty, *c_ty, false).map_err(|error| error.to_string())?;
            (Some(kind), 32)
        };
        let counts = match &kind {
            Some(kind) => [kind.a_registers(), kind.b_registers(), kind.d_registers(), kind.d_registers()],
            None => {
                let (m, k) = (shape.m as usize, shape.k as usize);
                [m * k / 32, 8 * k / 32, m * 8 / 32, m * 8 / 32]
            }
        };
        if [a.len(), b.len(), c.len(), d.len()] != counts {
            return Err(format!("mma with {} {} {} {} registers, not {counts:?}", a.len(), b.len(), c.len(), d.len()));
        }
        let mut sources = |operands: &[Operand]| -> Result<Vec<u32>, String> {
            operands.iter().map(|&operand| self.source(operand, bits)).collect()
        };
        let (a, b, c) = (sources(a)?, sources(b)?, sources(c)?);
        let d = d.iter().map(|&register| self.register(register, bits)).collect::<Result<Vec<u32>, String>>()?;
        let mut decoded = self.blank(self.pair::<Mma>());
        decoded.imm = self.program.products.len() as u64;
        self.program.products.push(Product { kind, d, a, b, c });
        self.push(decoded);
        Ok(())
    }
}
