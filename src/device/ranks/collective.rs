//! What the ranks tell each other, as a dry run notes it.

/// What a collective does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// All ranks get the sum of all.
    AllReduce,
    /// All ranks get the blocks of all.
    AllGather,
    /// Each rank gets the sum of its block.
    ReduceScatter,
}

impl Kind {
    /// Its name, as NCCL's documentation writes it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::AllReduce => "all-reduce",
            Kind::AllGather => "all-gather",
            Kind::ReduceScatter => "reduce-scatter",
        }
    }
}

/// A collective of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Collective {
    /// What it does.
    pub kind: Kind,
    /// Bytes of the buffer that it is about: of all blocks, where there are blocks.
    pub bytes: u64,
}
