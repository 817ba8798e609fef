//! PTX as typed instructions: what the parser makes of a module's text and what lowering reads.
//!
//! Section numbers ("§9.7.1.3") are those of the PTX ISA's documentation, version 9.0. An instruction that is not listed here is
//! refused by the parser, by its name.

mod instruction;
mod op;

pub use instruction::*;
pub use op::Op;

/// A module: one PTX text.
#[derive(Debug, Clone, Default)]
pub struct Module {
    /// `.version major.minor`.
    pub version: (u32, u32),
    /// `.target`, such as `sm_90a`.
    pub target: String,
    /// Variables at module scope, in the order of the text: `.global`, `.const`, `.shared`.
    pub variables: Vec<Variable>,
    /// `.file` directives: number and path.
    pub files: Vec<(u32, String)>,
    /// The kernels (`.entry`). Device functions (`.func`) are refused: nothing calls them here.
    pub kernels: Vec<Kernel>,
}

/// A kernel.
#[derive(Debug, Clone, Default)]
pub struct Kernel {
    /// Its name, as `cuModuleGetFunction` is asked for it.
    pub name: String,
    /// Its parameters, in order. The parameter block lays them out one behind the other, each at its alignment.
    pub parameters: Vec<Variable>,
    /// `.maxntid`: the product is the most threads that a block may have.
    pub max_threads: Option<[u32; 3]>,
    /// `.reqntid`: exactly this block.
    pub required_threads: Option<[u32; 3]>,
    /// `.minnctapersm`.
    pub min_blocks_per_multiprocessor: Option<u32>,
    /// `.reqnctapercluster`, or `.explicitcluster` without a size as `[0; 3]`.
    pub cluster: Option<[u32; 3]>,
    /// Registers, numbered by [`Register`]. A name that is declared again in an inner scope is another register.
    pub registers: Vec<RegisterDeclaration>,
    /// Variables of the body: `.shared` and `.local`.
    pub variables: Vec<Variable>,
    /// The instructions, in order.
    pub body: Vec<Instruction>,
    /// `.loc` lines as they were inlined: what [`Instruction::place`] indexes.
    pub places: Vec<Place>,
}

/// A declared register.
#[derive(Debug, Clone)]
pub struct RegisterDeclaration {
    /// `%r12`.
    pub name: String,
    /// Its type: `pred`, or what gives its width.
    pub ty: Type,
}

/// A register of a kernel: an index into [`Kernel::registers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Register(pub u32);

/// A variable or a parameter.
#[derive(Debug, Clone)]
pub struct Variable {
    /// The memory that it is in.
    pub space: Space,
    /// Its name.
    pub name: String,
    /// Alignment in bytes.
    pub align: u32,
    /// Type of its elements.
    pub ty: Type,
    /// Bytes altogether; 0 for `.extern .shared name[]`, whose size the launch gives.
    pub bytes: u64,
    /// Whether it was declared without a size.
    pub dynamic: bool,
    /// Initial bytes: as many as `bytes`, or none where the text gives no values.
    pub initial: Vec<u8>,
}

/// A place in a source file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of the file in [`Module::files`].
    pub file: u32,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1 where it is known.
    pub column: u32,
    /// The place where it was inlined: an index into [`Kernel::places`].
    pub inlined_at: Option<u32>,
}

/// An instruction with its guard.
#[derive(Debug, Clone)]
pub struct Instruction {
    /// `@%p1` or `@!%p1`.
    pub guard: Option<Guard>,
    /// Its operation.
    pub op: Op,
    /// Its source place: an index into [`Kernel::places`].
    pub place: Option<u32>,
    /// Its line in the PTX text, from 1.
    pub line: u32,
}

/// The predicate that an instruction is carried out under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// The predicate.
    pub register: Register,
    /// Whether lanes run it where the predicate is false.
    pub negated: bool,
}

/// Types (§5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
#[rustfmt::skip]
pub enum Type {
    Pred,
    B8, B16, B32, B64, B128,
    U8, U16, U32, U64,
    S8, S16, S32, S64,
    F16, F16x2, Bf16, Bf16x2, Tf32, F32, F64,
    E4m3, E5m2, E4m3x2, E5m2x2,
}

impl Type {
    /// Bytes of one value in memory; a predicate has none.
    pub fn bytes(self) -> u32 {
        use Type::*;
        match self {
            Pred => 0,
            B8 | U8 | S8 | E4m3 | E5m2 => 1,
            B16 | U16 | S16 | F16 | Bf16 | E4m3x2 | E5m2x2 => 2,
            B32 | U32 | S32 | F16x2 | Bf16x2 | Tf32 | F32 => 4,
            B64 | U64 | S64 | F64 => 8,
            B128 => 16,
        }
    }
}

/// State spaces (§5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Space {
    Generic,
    Global,
    Shared,
    /// `.shared::cluster`: an address in the shared memory of any block of the cluster.
    SharedCluster,
    Local,
    Const,
    Param,
}

/// A source operand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operand {
    /// A register.
    Register(Register),
    /// A constant: the bits, already converted to the instruction's type (`0f3F800000`, `1.5`, `-1`), in the low bytes.
    Immediate(u64),
    /// A special register.
    Special(Special),
    /// The address of a variable in its own space, plus an offset.
    Symbol(Symbol, i64),
}

/// A variable that an operand names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Symbol {
    /// [`Module::variables`].
    Module(u32),
    /// [`Kernel::variables`].
    Kernel(u32),
    /// [`Kernel::parameters`].
    Parameter(u32),
}

/// Special registers (§10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Special {
    /// 0, 1, 2 for x, y, z; likewise below.
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    LaneId,
    WarpId,
    NWarpId,
    SmId,
    NSmId,
    GridId,
    ClusterId(u8),
    NClusterId(u8),
    ClusterCtaid(u8),
    ClusterNctaid(u8),
    ClusterCtaRank,
    ClusterNctaRank,
    IsExplicitCluster,
    LaneMaskEq,
    LaneMaskLe,
    LaneMaskLt,
    LaneMaskGe,
    LaneMaskGt,
    Clock,
    Clock64,
    GlobalTimer,
    DynamicSharedBytes,
    TotalSharedBytes,
}

/// `[base + offset]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Address {
    /// A register, a symbol or an immediate.
    pub base: Operand,
    /// Bytes added to it.
    pub offset: i64,
}

/// A predicate as an operand, such as the third of `setp` or the one of `vote`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Predicate {
    /// A register, perhaps negated.
    Register(Guard),
    /// `0` or `1`.
    Constant(bool),
}
