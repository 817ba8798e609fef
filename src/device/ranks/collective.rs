//! The collectives of the ranks, as a dry run notes them.

/// The operation of a collective.
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
    /// Its operation.
    pub kind: Kind,
    /// Bytes of the buffer that it is about: of all blocks, where there are blocks.
    pub bytes: u64,
}
