//! Operations of the lanes of a warp together, and atomics.

use super::Lowering;
use super::memory::any_bits;
use crate::exec::Decoded;
use crate::exec::anywhere::any;
use crate::exec::atomic::{Atom, AtomicOp};
use crate::exec::checks::access::CheckAccess;
use crate::exec::collective::{ActiveMask, Collective, Exchange, Exchanged, Together};
use crate::exec::control::Fence;
use crate::exec::counts::CountAccess;
use crate::machine::Checks;
use crate::text::ast::{Atomic, Op, Operand, Ordering, Reduction, Scope, Space, Type, Vote};

impl Lowering<'_> {
    fn together(&mut self, operation: Collective, r: [u32; 3], sources: [u32; 3]) {
        let mut decoded = self.blank(self.pair::<Together>());
        decoded.r[..3].copy_from_slice(&r);
        [decoded.a, decoded.b, decoded.c] = sources;
        decoded.imm = self.program.collectives.len() as u64;
        self.program.collectives.push(operation);
        self.push(decoded);
    }

    pub(super) fn warp_sync(&mut self, mask: Operand) -> Result<(), String> {
        let mask = self.source(mask, 32)?;
        self.together(Collective::Sync, [0, 0, mask], [0; 3]);
        Ok(())
    }

    pub(super) fn lanes(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Shfl { mode, d, p, a, b, c, mask } => {
                let sources = [self.source(*a, 32)?, self.source(*b, 32)?, self.source(*c, 32)?];
                let mask = self.source(*mask, 32)?;
                let (d, p) = (self.register(*d, 32)?, p.map(|p| self.predicate_register(p)).transpose()?);
                let r = [d, p.unwrap_or_default(), mask];
                let constants = [sources[1], sources[2]].map(|word| self.constant_bits(word));
                let [Some(distance), Some(clamp)] = constants else {
                    let operation = Collective::Shuffle { mode: *mode, predicate: p.is_some() };
                    self.together(operation, r, sources);
                    return Ok(());
                };
                let index = self.program.exchanges.len() as u32;
                self.program.exchanges.push(Exchange::new(*mode, distance as u32, clamp as u32, p.is_some()));
                let mut decoded = self.blank(self.pair::<Exchanged>());
                decoded.r[..3].copy_from_slice(&r);
                (decoded.a, decoded.c) = (sources[0], index);
                decoded.imm = self.program.collectives.len() as u64;
                self.program.collectives.push(Collective::Constant { exchange: index });
                self.push(decoded);
            }
            Op::Vote { mode, d, a, mask } => {
                let mask = self.source(*mask, 32)?;
                let (a, negated) = self.predicate(*a)?;
                let d = match mode {
                    Vote::Ballot => self.register(*d, 32)?,
                    _ => self.predicate_register(*d)?,
                };
                self.together(Collective::Vote { mode: *mode, negated }, [d, 0, mask], [a, 0, 0]);
            }
            Op::Match { all, ty, d, p, a, mask } => {
                let bits = 8 * ty.bytes();
                let (a, mask) = (self.source(*a, bits)?, self.source(*mask, 32)?);
                let (d, p) = (self.register(*d, 32)?, p.map(|p| self.predicate_register(p)).transpose()?);
                let wide = bits == 64;
                let operation = match all {
                    true => Collective::MatchAll { wide, predicate: p.is_some() },
                    false => Collective::MatchAny { wide },
                };
                self.together(operation, [d, p.unwrap_or_default(), mask], [a, 0, 0]);
            }
            Op::Activemask { d } => {
                let d = self.register(*d, 32)?;
                self.emit(self.pair::<ActiveMask>(), d, &[]);
            }
            Op::Redux { op, ty, d, a, mask } => {
                let bitwise = matches!(op, Reduction::And | Reduction::Or | Reduction::Xor);
                let signed = *ty == Type::S32;
                if !(signed || *ty == Type::U32 || bitwise && *ty == Type::B32) {
                    return Err(format!("redux.sync {op:?} of {ty:?} is not known"));
                }
                let (a, mask, d) = (self.source(*a, 32)?, self.source(*mask, 32)?, self.register(*d, 32)?);
                self.together(Collective::Reduce { op: *op, signed }, [d, 0, mask], [a, 0, 0]);
            }
            Op::Elect { d, p, mask } => {
                let d = d.map(|d| self.register(d, 32)).transpose()?;
                let (p, mask) = (self.predicate_register(*p)?, self.source(*mask, 32)?);
                self.together(Collective::Elect { result: d.is_some() }, [d.unwrap_or_default(), p, mask], [0; 3]);
            }
            _ => return Err(format!("{op:?} is not known")),
        }
        Ok(())
    }

    pub(super) fn atom(&mut self, op: &Op) -> Result<(), String> {
        let Op::Atom { op, space, ty, ordering, scope, d, address, b, c } = op else { return Err("no atomic".into()) };
        let operation = AtomicOp { op: *op, ty: *ty };
        if operation.apply(0, 0, 0).is_none() {
            return Err(format!("atom.{op:?} of {ty:?} is not known"));
        }
        if !matches!(space, Space::Global | Space::Shared | Space::SharedCluster | Space::Generic) {
            return Err(format!("atom in {space:?} memory is not known"));
        }
        let (&[b], true) = (&b[..], d.as_ref().is_none_or(|d| d.len() == 1)) else {
            return Err("atom of a vector is not known".into());
        };
        if matches!(ordering, Ordering::Release | Ordering::AcqRel | Ordering::SeqCst) && *scope != Scope::Cta {
            self.emit(self.pair::<Fence>(), 0, &[]);
        }
        let bits = 8 * ty.bytes();
        let (a, address_bits, offset) = self.address_in(*space, address)?;
        let mut decoded = self.blank(self.pair::<Atom>());
        (decoded.a, decoded.imm) = (a, offset);
        decoded.b = self.source(b, bits)?;
        decoded.c = match c {
            Some(c) => self.source(*c, bits)?,
            None => decoded.b,
        };
        if let Some(Some(register)) = d.as_ref().map(|d| d[0]) {
            decoded.r[0] = self.register(register, bits)?;
            decoded.n = 1;
        }
        let index = match self.program.atomics.iter().position(|found| *found == operation) {
            Some(index) => index,
            None => {
                self.program.atomics.push(operation);
                self.program.atomics.len() - 1
            }
        };
        decoded.bytes = any_bits(*space, *ty, bits, address_bits) & !0xFF | index as u32;
        // An exchange whose result nothing reads sets a value.
        let result = d.as_ref().and_then(|d| d[0]);
        let sets = *op == Atomic::Exch && !result.is_some_and(|register| self.is_read(register));
        let reads = if sets { 0 } else { any::READS };
        let bytes = any_bits(*space, *ty, bits, address_bits) | any::WRITES | any::STRONG | reads;
        if self.setting.checks != Checks::NONE {
            let run = self.pair::<CheckAccess>();
            self.push(Decoded { run, bytes, n: 1, ..decoded });
        }
        if self.setting.counts {
            let run = self.pair::<CountAccess>();
            self.push(Decoded { run, bytes, n: 1, ..decoded });
        }
        self.push(decoded);
        Ok(())
    }
}
