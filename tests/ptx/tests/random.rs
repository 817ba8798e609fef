//! Random kernels with branches, loops and memory of each thread's own, against an evaluator that runs one thread after the other.

use std::fmt::Write as _;

use crate::common::{download, machine, options, run, shape, upload};
use proptest::prelude::*;
use ptx_machine::machine::{Checks, Options, Order};

const WORDS: usize = 8;
const DOUBLES: usize = 4;
const PREDICATES: usize = 4;
/// Words of shared memory of each thread.
const OWN: u32 = 4;

/// A statement on words `%r`, doubles `%rd` and predicates `%p`, by their numbers.
#[derive(Debug, Clone)]
enum Statement {
    /// The index in [`BINARY`], result, sources.
    Binary(usize, usize, usize, usize),
    /// A source is a constant.
    Constant(usize, usize, usize, u32),
    Fma(usize, usize, usize, usize),
    Wide(usize, usize, usize),
    Double(usize, usize, usize, usize),
    Low(usize, usize),
    Compare(usize, usize, usize, usize),
    Select(usize, usize, usize, usize),
    Logic(usize, usize, usize, usize),
    Store(usize, u32),
    Load(usize, u32),
    /// Under a predicate, perhaps negated.
    Guarded(usize, bool, Box<Statement>),
    If(usize, Vec<Statement>, Vec<Statement>),
    /// As often as the low two bits of a word say.
    Loop(usize, Vec<Statement>),
    /// A loop that is left in the middle where a predicate holds.
    Break(usize, usize, Vec<Statement>, Vec<Statement>),
    /// `bar.sync`, where all threads come.
    Barrier,
}

type Words = fn(u32, u32) -> u32;

/// Instructions of words, and what they do.
const BINARY: [(&str, Words); 16] = [
    ("add.u32", |a, b| a.wrapping_add(b)),
    ("sub.s32", |a, b| a.wrapping_sub(b)),
    ("mul.lo.u32", |a, b| (u64::from(a) * u64::from(b)) as u32),
    ("mul.hi.u32", |a, b| ((u64::from(a) * u64::from(b)) >> 32) as u32),
    ("mul.hi.s32", |a, b| ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32),
    ("and.b32", |a, b| a & b),
    ("or.b32", |a, b| a | b),
    ("xor.b32", |a, b| a ^ b),
    ("min.s32", |a, b| (a as i32).min(b as i32) as u32),
    ("max.u32", |a, b| a.max(b)),
    ("shl.b32", |a, b| if b > 31 { 0 } else { a << b }),
    ("shr.s32", |a, b| (i64::from(a as i32) >> b.min(40)) as u32),
    ("shr.u32", |a, b| if b > 31 { 0 } else { a >> b }),
    ("sad.u32", |a, b| a.abs_diff(b).wrapping_add(b)),
    ("add.rn.f32", |a, b| float(f32::from_bits(a) + f32::from_bits(b))),
    ("mul.rn.f32", |a, b| float(f32::from_bits(a) * f32::from_bits(b))),
];

/// A comparison of words.
type Holds = fn(u32, u32) -> bool;

/// Comparisons of words.
const COMPARE: [(&str, Holds); 6] = [
    ("setp.eq.u32", |a, b| a == b),
    ("setp.lt.s32", |a, b| (a as i32) < b as i32),
    ("setp.ge.u32", |a, b| a >= b),
    ("setp.gt.s32", |a, b| a as i32 > b as i32),
    ("setp.lt.f32", |a, b| f32::from_bits(a) < f32::from_bits(b)),
    ("setp.geu.f32", |a, b| {
        f32::from_bits(a) >= f32::from_bits(b) || f32::from_bits(a).is_nan() || f32::from_bits(b).is_nan()
    }),
];

/// The function of an instruction of doubles.
type Doubles = fn(u64, u64) -> u64;

/// Instructions of doubles.
const DOUBLE: [(&str, Doubles); 4] = [
    ("add.s64", |a, b| a.wrapping_add(b)),
    ("mul.lo.u64", |a, b| (u128::from(a) * u128::from(b)) as u64),
    ("xor.b64", |a, b| a ^ b),
    ("max.s64", |a, b| (a as i64).max(b as i64) as u64),
];

/// One NaN for all: payloads are left open.
fn float(value: f32) -> u32 {
    if value.is_nan() { 0x7FFF_FFFF } else { value.to_bits() }
}

/// A thread.
#[derive(Debug, Clone)]
struct Thread {
    words: [u32; WORDS],
    doubles: [u64; DOUBLES],
    predicates: [bool; PREDICATES],
    own: [u32; OWN as usize],
}

impl Thread {
    fn run(&mut self, statements: &[Statement]) {
        statements.iter().for_each(|statement| self.step(statement));
    }

    fn step(&mut self, statement: &Statement) {
        match *statement {
            Statement::Binary(op, d, a, b) => self.words[d] = BINARY[op].1(self.words[a], self.words[b]),
            Statement::Constant(op, d, a, value) => self.words[d] = BINARY[op].1(self.words[a], value),
            Statement::Fma(d, a, b, c) => {
                let [a, b, c] = [a, b, c].map(|at| f32::from_bits(self.words[at]));
                self.words[d] = float(a.mul_add(b, c));
            }
            Statement::Wide(d, a, b) => {
                self.doubles[d] = (i64::from(self.words[a] as i32) * i64::from(self.words[b] as i32)) as u64;
            }
            Statement::Double(op, d, a, b) => self.doubles[d] = DOUBLE[op].1(self.doubles[a], self.doubles[b]),
            Statement::Low(d, a) => self.words[d] = self.doubles[a] as u32,
            Statement::Compare(op, p, a, b) => self.predicates[p] = COMPARE[op].1(self.words[a], self.words[b]),
            Statement::Select(d, a, b, p) => self.words[d] = self.words[if self.predicates[p] { a } else { b }],
            Statement::Logic(op, p, q, r) => {
                let (q, r) = (self.predicates[q], self.predicates[r]);
                self.predicates[p] = match op {
                    0 => q && r,
                    1 => q || r,
                    _ => q != r,
                };
            }
            Statement::Store(a, at) => self.own[at as usize] = self.words[a],
            Statement::Load(d, at) => self.words[d] = self.own[at as usize],
            Statement::Guarded(p, negated, ref inner) => {
                if self.predicates[p] != negated {
                    self.step(inner);
                }
            }
            Statement::If(p, ref yes, ref no) => self.run(if self.predicates[p] { yes } else { no }),
            Statement::Loop(a, ref body) => {
                for _ in 0..self.words[a] & 3 {
                    self.run(body);
                }
            }
            Statement::Break(a, p, ref first, ref second) => {
                for _ in 0..self.words[a] & 7 {
                    self.run(first);
                    if self.predicates[p] {
                        break;
                    }
                    self.run(second);
                }
            }
            Statement::Barrier => {}
        }
    }
}

/// A kernel's text.
struct Writer {
    text: String,
    labels: usize,
    /// Counters of the loops around.
    depth: usize,
}

impl Writer {
    fn statements(&mut self, statements: &[Statement]) {
        statements.iter().for_each(|statement| self.statement(statement, ""));
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{text};").expect("a string");
    }

    fn label(&mut self) -> usize {
        self.labels += 1;
        self.labels
    }

    /// Floats are normalised after each instruction that may give NaN, as payloads are left open.
    fn tidy(&mut self, guard: &str, op: &str, d: usize) {
        if op.ends_with("f32") && !op.starts_with("setp") {
            self.line(format_args!("{guard}setp.nan.f32 %p10, %r{d}, %r{d}"));
            self.line(format_args!("{guard}selp.b32 %r{d}, 0x7fffffff, %r{d}, %p10"));
        }
    }

    fn statement(&mut self, statement: &Statement, guard: &str) {
        match statement {
            Statement::Binary(op, d, a, b) => {
                let name = BINARY[*op].0;
                let third = if name == "sad.u32" { format!(", %r{b}") } else { String::new() };
                self.line(format_args!("{guard}{name} %r{d}, %r{a}, %r{b}{third}"));
                self.tidy(guard, name, *d);
            }
            Statement::Constant(op, d, a, value) => {
                let name = BINARY[*op].0;
                let value = if name.ends_with("f32") { format!("0f{value:08X}") } else { format!("{value}") };
                let third = if name == "sad.u32" { format!(", {value}") } else { String::new() };
                self.line(format_args!("{guard}{name} %r{d}, %r{a}, {value}{third}"));
                self.tidy(guard, name, *d);
            }
            Statement::Fma(d, a, b, c) => {
                self.line(format_args!("{guard}fma.rn.f32 %r{d}, %r{a}, %r{b}, %r{c}"));
                self.tidy(guard, "fma.f32", *d);
            }
            Statement::Wide(d, a, b) => self.line(format_args!("{guard}mul.wide.s32 %rd{d}, %r{a}, %r{b}")),
            Statement::Double(op, d, a, b) => {
                self.line(format_args!("{guard}{} %rd{d}, %rd{a}, %rd{b}", DOUBLE[*op].0))
            }
            Statement::Low(d, a) => self.line(format_args!("{guard}cvt.u32.u64 %r{d}, %rd{a}")),
            Statement::Compare(op, p, a, b) => self.line(format_args!("{guard}{} %p{p}, %r{a}, %r{b}", COMPARE[*op].0)),
            Statement::Select(d, a, b, p) => self.line(format_args!("{guard}selp.b32 %r{d}, %r{a}, %r{b}, %p{p}")),
            Statement::Logic(op, p, q, r) => {
                let name = ["and", "or", "xor"][*op];
                self.line(format_args!("{guard}{name}.pred %p{p}, %p{q}, %p{r}"));
            }
            Statement::Store(a, at) => self.line(format_args!("{guard}st.shared.u32 [%r20+{}], %r{a}", 4 * at)),
            Statement::Load(d, at) => self.line(format_args!("{guard}ld.shared.u32 %r{d}, [%r20+{}]", 4 * at)),
            Statement::Guarded(p, negated, inner) => {
                // The predicate is copied: the statement may change it.
                self.line(format_args!("mov.pred %p11, %p{p}"));
                let guard = format!("@{}%p11 ", if *negated { "!" } else { "" });
                self.statement(inner, &guard);
            }
            Statement::If(p, yes, no) => {
                let label = self.label();
                self.line(format_args!("@!%p{p} bra NO{label}"));
                self.statements(yes);
                self.line(format_args!("bra.uni JOIN{label}"));
                writeln!(self.text, "NO{label}:").expect("a string");
                self.statements(no);
                writeln!(self.text, "JOIN{label}:").expect("a string");
            }
            Statement::Loop(a, body) => self.repeat(*a, 3, body, None),
            Statement::Break(a, p, first, second) => self.repeat(*a, 7, first, Some((*p, second))),
            Statement::Barrier => self.line(format_args!("bar.sync 0")),
        }
    }

    fn repeat(&mut self, a: usize, mask: u32, body: &[Statement], leave: Option<(usize, &Vec<Statement>)>) {
        let (label, counter) = (self.label(), 30 + self.depth);
        self.depth += 1;
        self.line(format_args!("and.b32 %r{counter}, %r{a}, {mask}"));
        writeln!(self.text, "HEAD{label}:").expect("a string");
        self.line(format_args!("setp.eq.u32 %p12, %r{counter}, 0"));
        self.line(format_args!("@%p12 bra DONE{label}"));
        self.statements(body);
        if let Some((p, second)) = leave {
            self.line(format_args!("@%p{p} bra DONE{label}"));
            self.statements(second);
        }
        self.line(format_args!("sub.u32 %r{counter}, %r{counter}, 1"));
        self.line(format_args!("bra.uni HEAD{label}"));
        writeln!(self.text, "DONE{label}:").expect("a string");
        self.depth -= 1;
    }
}

const STATE: usize = WORDS + 2 * DOUBLES + 1;

fn kernel(statements: &[Statement]) -> String {
    let mut writer = Writer { text: String::new(), labels: 0, depth: 0 };
    writer.text += ".version 8.8\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 buffer)\n{\n\
                    .reg .pred %p<16>;\n.reg .b32 %r<64>;\n.reg .b64 %rd<24>;\n.shared .align 16 .b8 tile[4096];\n\
                    ld.param.u64 %rd20, [buffer];\nmov.u32 %r21, %tid.x;\nmov.u32 %r22, %ctaid.x;\nmov.u32 %r23, %ntid.x;\n\
                    mad.lo.u32 %r22, %r22, %r23, %r21;\n";
    writer.line(format_args!("mul.wide.u32 %rd21, %r22, {}", 4 * STATE));
    writer.line(format_args!("add.s64 %rd20, %rd20, %rd21"));
    writer.line(format_args!("mov.u32 %r20, tile"));
    writer.line(format_args!("mad.lo.u32 %r20, %r21, {}, %r20", 4 * OWN));
    for at in 0..OWN {
        writer.line(format_args!("st.shared.u32 [%r20+{}], {at}", 4 * at));
    }
    for at in 0..WORDS {
        writer.line(format_args!("ld.global.u32 %r{at}, [%rd20+{}]", 4 * at));
    }
    for at in 0..DOUBLES {
        let offset = 4 * WORDS + 8 * at;
        writer.line(format_args!("ld.global.u32 %r24, [%rd20+{offset}]"));
        writer.line(format_args!("ld.global.u32 %r25, [%rd20+{}]", offset + 4));
        writer.line(format_args!("mov.b64 %rd{at}, {{%r24, %r25}}"));
    }
    for at in 0..PREDICATES {
        writer.line(format_args!("setp.ne.u32 %p{at}, %r{at}, 0"));
    }
    writer.statements(statements);
    for at in 0..WORDS {
        writer.line(format_args!("st.global.u32 [%rd20+{}], %r{at}", 4 * at));
    }
    for at in 0..DOUBLES {
        let offset = 4 * WORDS + 8 * at;
        writer.line(format_args!("mov.b64 {{%r24, %r25}}, %rd{at}"));
        writer.line(format_args!("st.global.u32 [%rd20+{offset}], %r24"));
        writer.line(format_args!("st.global.u32 [%rd20+{}], %r25", offset + 4));
    }
    writer.line(format_args!("mov.u32 %r26, 0"));
    for at in 0..PREDICATES {
        writer.line(format_args!("@%p{at} or.b32 %r26, %r26, {}", 1 << at));
    }
    writer.line(format_args!("st.global.u32 [%rd20+{}], %r26", 4 * (STATE - 1)));
    writer.text += "ret;\n}\n";
    writer.text
}

fn simple() -> impl Strategy<Value = Statement> {
    let (w, d, p) = (0..WORDS, 0..DOUBLES, 0..PREDICATES);
    prop_oneof![
        4 => (0..BINARY.len(), w.clone(), w.clone(), w.clone()).prop_map(|(o, d, a, b)| Statement::Binary(o, d, a, b)),
        2 => (0..BINARY.len(), w.clone(), w.clone(), any::<u32>()).prop_map(|(o, d, a, c)| Statement::Constant(o, d, a, c)),
        1 => (0..BINARY.len(), w.clone(), w.clone(), 0..40u32).prop_map(|(o, d, a, c)| Statement::Constant(o, d, a, c)),
        1 => (w.clone(), w.clone(), w.clone(), w.clone()).prop_map(|(d, a, b, c)| Statement::Fma(d, a, b, c)),
        1 => (d.clone(), w.clone(), w.clone()).prop_map(|(d, a, b)| Statement::Wide(d, a, b)),
        1 => (0..DOUBLE.len(), d.clone(), d.clone(), d.clone()).prop_map(|(o, d, a, b)| Statement::Double(o, d, a, b)),
        1 => (w.clone(), d.clone()).prop_map(|(d, a)| Statement::Low(d, a)),
        2 => (0..COMPARE.len(), p.clone(), w.clone(), w.clone()).prop_map(|(o, p, a, b)| Statement::Compare(o, p, a, b)),
        1 => (w.clone(), w.clone(), w.clone(), p.clone()).prop_map(|(d, a, b, p)| Statement::Select(d, a, b, p)),
        1 => (0..3usize, p.clone(), p.clone(), p).prop_map(|(o, p, q, r)| Statement::Logic(o, p, q, r)),
        1 => (w.clone(), 0..OWN).prop_map(|(a, at)| Statement::Store(a, at)),
        1 => (w, 0..OWN).prop_map(|(d, at)| Statement::Load(d, at)),
    ]
}

fn statement() -> impl Strategy<Value = Statement> {
    let guarded = (0..PREDICATES, any::<bool>(), simple()).prop_map(|(p, n, s)| Statement::Guarded(p, n, Box::new(s)));
    prop_oneof![5 => simple(), 2 => guarded].prop_recursive(3, 40, 6, |inner| {
        let list = |most: usize| prop::collection::vec(inner.clone(), 0..most);
        prop_oneof![
            (0..PREDICATES, list(6), list(6)).prop_map(|(p, yes, no)| Statement::If(p, yes, no)),
            (0..WORDS, list(5)).prop_map(|(a, body)| Statement::Loop(a, body)),
            (0..WORDS, 0..PREDICATES, list(4), list(4)).prop_map(|(a, p, x, y)| Statement::Break(a, p, x, y)),
        ]
    })
}

/// At the outermost level barriers stand among the statements: all threads come there.
fn program() -> impl Strategy<Value = Vec<Statement>> {
    prop::collection::vec(prop_oneof![8 => statement(), 1 => Just(Statement::Barrier)], 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn kernels_do_what_one_thread_after_the_other_does(
        program in program(),
        start in prop::collection::vec(any::<u32>(), STATE * 77),
        seed in any::<u64>(),
        checked in any::<bool>(),
    ) {
        let (blocks, threads) = [(1, 77), (7, 11), (1, 64), (2, 32)][(seed % 4) as usize];
        let used = STATE * (blocks * threads) as usize;
        let orders = [Order::Forward, Order::Backward, Order::Shuffled(seed)];
        let options = Options {
            threads: 1 + (seed >> 8) as usize % 2,
            blocks: orders[(seed >> 4) as usize % 3],
            warps: orders[(seed >> 6) as usize % 3],
            checks: if checked { Checks::ALL } else { Checks::NONE },
            count_every: seed >> 10 & 1,
            ..options()
        };
        let mut expected = start[..used].to_vec();
        for state in expected.chunks_mut(STATE) {
            let mut thread = Thread {
                words: std::array::from_fn(|at| state[at]),
                doubles: std::array::from_fn(|at| {
                    u64::from(state[WORDS + 2 * at]) | u64::from(state[WORDS + 2 * at + 1]) << 32
                }),
                predicates: std::array::from_fn(|at| state[at] != 0),
                own: std::array::from_fn(|at| at as u32),
            };
            thread.run(&program);
            state[..WORDS].copy_from_slice(&thread.words);
            for (at, &double) in thread.doubles.iter().enumerate() {
                state[WORDS + 2 * at] = double as u32;
                state[WORDS + 2 * at + 1] = (double >> 32) as u32;
            }
            state[STATE - 1] = (0..PREDICATES).map(|at| u32::from(thread.predicates[at]) << at).sum();
        }
        let text = kernel(&program);
        let machine = machine(options);
        let address = upload(&machine, &start[..used]);
        let outcome = run(&machine, &text, &shape(blocks, threads, &[address]));
        let outcome = outcome.unwrap_or_else(|fault| panic!("{fault:?}\n{text}"));
        prop_assert!(outcome.findings.is_empty(), "{:#?}\n{text}", outcome.findings);
        let found = download(&machine, address, used);
        prop_assert!(found == expected, "{text}");
    }
}
