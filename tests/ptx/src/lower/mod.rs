//! From typed instructions to decoded ones: every operand becomes a slot of the warp's registers.
//!
//! Constants, parameters and special registers have slots of their own that are filled before a block begins, so that an
//! instruction never asks what kind of operand it has. What is not known is refused here, by its name.

mod analysis;
mod arithmetic;
mod asynchronous;
mod control;
mod convert;
mod invariants;
mod layout;
mod memory;
mod operands;
mod registers;
mod warp;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::exec::checks::protocol::{CheckWritten, MarkWritten, Misuse};
use crate::exec::checks::proxy;
use crate::exec::counts::CountBlock;
use crate::exec::level::Handler;
use crate::exec::program::{BasicBlock, Constant, ConstantValue, End, Program, SlotKind};
use crate::exec::scalar::{Scalar, held};
use crate::exec::{Decoded, Level, Pair};
use crate::machine::Checks;
use crate::text::ast;
use crate::text::flow::Flow;
pub(crate) use layout::Layout;

/// Why a kernel is refused: the line of the PTX, and what is not known.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) line: u32,
    pub(crate) what: String,
}

/// The facts that lowering needs beside the kernel.
pub(crate) struct Setting<'a> {
    pub(crate) kernel: &'a ast::Kernel,
    /// Variables at module scope.
    pub(crate) variables: &'a [ast::Variable],
    /// Addresses of those in global memory; 0 for others.
    pub(crate) addresses: &'a [u64],
    pub(crate) level: Level,
    pub(crate) checks: Checks,
    pub(crate) counts: bool,
}

/// Lowers a kernel.
pub(crate) fn lower(setting: &Setting<'_>) -> Result<Program, Refusal> {
    let (kernel, sites) = control::without_guarded_waits(setting.kernel);
    let flow = Flow::new(&kernel);
    let layout = Layout::new(setting.kernel, setting.variables, setting.checks != Checks::NONE);
    let mut lowering = Lowering::new(setting, &kernel, sites, layout);
    if setting.checks.unwritten {
        lowering.track(&analysis::perhaps_unwritten(&kernel, &flow));
    }
    let misuses = if setting.checks.protocols { analysis::misused_products(&kernel, &flow) } else { BTreeMap::new() };
    for block in &flow.blocks {
        let start = lowering.program.code.len() as u32;
        lowering.site = lowering.sites[block.first as usize];
        if setting.counts {
            let run = lowering.pair::<CountBlock>();
            let decoded = Decoded { imm: lowering.program.blocks.len() as u64, ..lowering.blank(run) };
            lowering.push(decoded);
        }
        // `@p bar.sync` has become two instructions of one site: the branch around it counts for nothing.
        let own = |at: &u32| {
            let original = &setting.kernel.body[lowering.sites[*at as usize] as usize].op;
            std::mem::discriminant(original) == std::mem::discriminant(&kernel.body[*at as usize].op)
        };
        let sites = (block.first..block.end).filter(own).map(|at| lowering.sites[at as usize]).collect();
        lowering.program.sites.push(sites);
        for at in block.first..block.end {
            let instruction = &kernel.body[at as usize];
            lowering.site = lowering.sites[at as usize];
            if let Some(what) = misuses.get(&at) {
                lowering.report(what.clone());
            }
            lowering.check_written(instruction);
            let lowered = lowering.instruction(instruction);
            lowered.map_err(|what| Refusal { line: instruction.line, what })?;
            lowering.mark_written(instruction);
        }
        let last = block.end - 1;
        let end = lowering.end(&flow, block, last);
        let end = end.map_err(|what| Refusal { line: kernel.body[last as usize].line, what })?;
        let stop = lowering.program.code.len() as u32;
        let site = lowering.sites[last as usize];
        lowering.program.blocks.push(BasicBlock { start, stop, end, site });
    }
    lowering.finish(&flow);
    Ok(lowering.program)
}

/// A kernel that is being lowered.
struct Lowering<'a> {
    setting: &'a Setting<'a>,
    /// The kernel with the body that is lowered.
    kernel: &'a ast::Kernel,
    /// For each instruction of it, the index in the kernel's own text.
    sites: Vec<u32>,
    layout: Layout,
    /// Slots of the registers.
    registers: Vec<(u32, SlotKind)>,
    /// Whether a register's slot is that of a value that never changes.
    invariant: Vec<bool>,
    constants: HashMap<(SlotKind, ConstantValue), u32>,
    /// The predicate that is the carry of extended arithmetic.
    carry: Option<u32>,
    /// Registers that may be read before they are written: the word that says which lanes have.
    tracked: BTreeMap<ast::Register, u32>,
    words: u32,
    program: Program,
    site: u32,
    /// While an instruction under a predicate is lowered: what was made for it.
    guarded: Option<Vec<Decoded>>,
}

impl<'a> Lowering<'a> {
    fn new(setting: &'a Setting<'a>, kernel: &'a ast::Kernel, sites: Vec<u32>, layout: Layout) -> Lowering<'a> {
        let mut lowering = Lowering {
            setting,
            kernel,
            sites,
            layout,
            registers: Vec::new(),
            invariant: vec![false; kernel.registers.len()],
            constants: HashMap::new(),
            carry: None,
            tracked: BTreeMap::new(),
            words: 0,
            program: Program::default(),
            site: 0,
            guarded: None,
        };
        // Predicates first: each is a word alone, slots are aligned to 32 words.
        let kinds: Vec<SlotKind> = kernel.registers.iter().map(|register| operands::kind_of(register.ty)).collect();
        let mut predicates = kinds.iter().filter(|&&kind| kind == SlotKind::Predicate).count() as u32;
        // Some more for carries, constants and results in between.
        predicates = (predicates + 64).next_multiple_of(32);
        lowering.words = predicates;
        let mut predicate = 64;
        for kind in kinds {
            let word = if kind == SlotKind::Predicate {
                predicate += 1;
                predicate - 1
            } else {
                lowering.slot(kind)
            };
            lowering.registers.push((word, kind));
        }
        lowering.find_invariants();
        lowering
    }

    /// A new slot.
    fn slot(&mut self, kind: SlotKind) -> u32 {
        let word = self.words;
        self.words += kind.words().next_multiple_of(32);
        word
    }

    /// The slot of a constant.
    fn constant(&mut self, kind: SlotKind, value: ConstantValue) -> u32 {
        if let Some(&word) = self.constants.get(&(kind, value)) {
            return word;
        }
        let word = self.slot(kind);
        self.constants.insert((kind, value), word);
        self.program.constants.push(Constant { word, kind, value });
        word
    }

    /// Follows these registers while the kernel runs.
    fn track(&mut self, registers: &BTreeSet<ast::Register>) {
        for &register in registers {
            let word = self.slot(SlotKind::Word);
            self.tracked.insert(register, word);
            self.program.cleared.push(word);
        }
    }

    /// Reports a misuse where the next instruction is carried out.
    fn report(&mut self, what: String) {
        let decoded = self.blank(self.pair::<Misuse>());
        self.program.code.push(Decoded { imm: self.program.misuses.len() as u64, ..decoded });
        self.program.misuses.push(what);
    }

    /// Reports lanes that read a register which they have not written.
    fn check_written(&mut self, instruction: &ast::Instruction) {
        if self.tracked.is_empty() {
            return;
        }
        let mut read = Vec::new();
        registers::each_source(instruction, &mut |register| read.push(register));
        let guard = instruction.guard.map(|guard| guard.register);
        for register in read {
            let Some(&word) = self.tracked.get(&register) else { continue };
            let name = &self.kernel.registers[register.0 as usize].name;
            self.program.misuses.push(format!("a read of register {name}, which nothing has written"));
            let imm = self.program.misuses.len() as u64 - 1;
            let decoded = Decoded { a: word, imm, ..self.blank(self.pair::<CheckWritten>()) };
            // What an instruction reads under its guard is read where that holds.
            let under = if Some(register) == guard { None } else { instruction.guard };
            self.push_under(under, decoded);
        }
    }

    /// Whether any instruction reads a register.
    fn is_read(&self, register: ast::Register) -> bool {
        let mut found = false;
        for instruction in &self.kernel.body {
            registers::each_source(instruction, &mut |read| found |= read == register);
        }
        found
    }

    /// Notes the registers that an instruction has written.
    fn mark_written(&mut self, instruction: &ast::Instruction) {
        if self.tracked.is_empty() {
            return;
        }
        let mut written = Vec::new();
        registers::each_result(&instruction.op, &mut |register| written.push(register));
        for register in written {
            if let Some(&word) = self.tracked.get(&register) {
                let decoded = Decoded { a: word, ..self.blank(self.pair::<MarkWritten>()) };
                self.push_under(instruction.guard, decoded);
            }
        }
    }

    /// The handler's functions for this processor.
    fn pair<H: Handler>(&self) -> Pair {
        self.setting.level.pair::<H>()
    }

    /// An instruction without operands, to be filled in.
    fn blank(&self, run: Pair) -> Decoded {
        Decoded { run, r: [0; 4], a: 0, b: 0, c: 0, site: self.site, imm: 0, n: 0, bytes: 0 }
    }

    fn push(&mut self, decoded: Decoded) {
        match &mut self.guarded {
            Some(list) => list.push(decoded),
            None => self.program.code.push(decoded),
        }
    }

    /// `d = f(a)`, or of more sources.
    fn emit(&mut self, run: Pair, d: u32, sources: &[u32]) {
        let source = |at: usize| sources.get(at).copied().unwrap_or_default();
        let decoded = Decoded { r: [d, 0, 0, 0], a: source(0), b: source(1), c: source(2), ..self.blank(run) };
        self.push(decoded);
    }

    /// Arithmetic lane by lane. Sources and result with the bits of their slots.
    fn emit_scalar(&mut self, scalar: Scalar, d: (u32, u32), sources: &[(u32, u32)], carry: Option<u32>) {
        let run = self.pair::<crate::exec::scalar::ScalarOp>();
        let mut decoded = self.blank(run);
        for (at, &(word, held)) in sources.iter().enumerate() {
            match at {
                0 => decoded.a = word,
                1 => decoded.b = word,
                2 => decoded.c = word,
                _ => decoded.r[1] = word,
            }
            decoded.bytes |= held << (2 * at);
        }
        decoded.r[0] = d.0;
        decoded.bytes |= d.1 << 8;
        if let Some(carry) = carry {
            decoded.r[2] = carry;
            decoded.bytes |= held::CARRY;
        }
        decoded.imm = self.program.scalars.len() as u64;
        self.program.scalars.push(scalar);
        self.push(decoded);
    }

    /// An instruction, with its guard; what ends a basic block is `end`'s.
    fn instruction(&mut self, instruction: &ast::Instruction) -> Result<(), String> {
        let Some(guard) = instruction.guard else { return self.op(&instruction.op) };
        if control::ends_block(&instruction.op) {
            return Ok(());
        }
        self.guarded = Some(Vec::new());
        let lowered = self.op(&instruction.op);
        let list = self.guarded.take().unwrap_or_default();
        lowered?;
        self.predicate_register(guard.register)?;
        list.into_iter().for_each(|inner| self.push_under(Some(guard), inner));
        Ok(())
    }

    /// Adds an instruction, under a guard if there is one.
    fn push_under(&mut self, guard: Option<ast::Guard>, inner: Decoded) {
        let predicate = guard.and_then(|guard| Some((self.predicate_register(guard.register).ok()?, guard.negated)));
        let Some((predicate, negated)) = predicate else { return self.program.code.push(inner) };
        let run = self.pair::<crate::exec::control::Guarded>();
        let imm = self.program.guarded.len() as u64;
        self.program.guarded.push(inner);
        let outer = Decoded { a: predicate, imm, bytes: u32::from(negated), ..self.blank(run) };
        self.program.code.push(outer);
    }

    /// Lowers the operation of an instruction.
    fn op(&mut self, op: &ast::Op) -> Result<(), String> {
        use ast::Op::*;
        match op {
            Mov { .. } | Pack { .. } | Unpack { .. } | Unary { .. } | Binary { .. } | Ternary { .. } => {
                self.arithmetic(op)
            }
            Extended { .. } | Bfi { .. } | Slct { .. } => self.arithmetic(op),
            Setp { .. } | Set { .. } | Selp { .. } | PredBinary { .. } | PredMov { .. } | PredNot { .. } => {
                self.predicates(op)
            }
            Cvt { .. } | Cvta { .. } | Isspacep { .. } => self.conversion(op),
            Ld { .. } | St { .. } | Prefetch | Atom { .. } => self.memory(op),
            Fence { .. } | FenceProxy { .. } | Bar { .. } | BarWarpSync { .. } | Nanosleep => self.waiting(op),
            Shfl { .. } | Vote { .. } | Match { .. } | Activemask { .. } | Redux { .. } | Elect { .. } => {
                self.lanes(op)
            }
            Bra { .. } | BrxIdx { .. } | Exit | Trap => Ok(()),
            _ => self.asynchronous(op),
        }
    }

    /// Numbers of blocks are those of the flow; the last one, for labels behind the body, ends the threads.
    fn finish(&mut self, flow: &Flow) {
        let stop = self.program.code.len() as u32;
        debug_assert_eq!(self.program.blocks.len(), flow.blocks.len());
        self.program.blocks.push(BasicBlock { start: stop, stop, end: End::Exit, site: self.site });
        self.program.counts = self.setting.counts;
        self.program.words = self.words;
        self.program.shared = self.layout.shared;
        self.program.declared_shared = Layout::new(self.setting.kernel, self.setting.variables, false).shared;
        self.program.shared_gaps = std::mem::take(&mut self.layout.gaps);
        self.program.proxy_writers = proxy::writers(self.setting.kernel);
        self.program.local = self.layout.local;
        (self.program.shared_granule, self.program.global_granule) = memory::granules(self.setting.kernel);
    }
}
