//! Several processes that train one model together: ranks. Each passes its part of a batch, and what all must know is summed or
//! gathered over them.
//!
//! | file | what it holds |
//! |---|---|
//! | [`collective`] | what a dry run notes of them |
//! | `communicator`, [`nccl`] | sums and gathered blocks of GPUs' memory, by NCCL |
//! | [`exchange`] | sums and gathered blocks of the CPU's memory, on top of a [`Communicator`] |
//! | [`shards`] | the division of an arena, where each rank keeps a share alone |
//! | `mpi` | ranks that are processes of an MPI job (feature `mpi`) |
//! | [`threads`] | ranks that are threads of one process: for tests and examples |
//!
//! The words are MPI's and NCCL's: the *world* is the number of ranks, an *all-gather* gives every rank the parts of all, a sum
//! over ranks is their *all-reduce*, and one of which each rank is given a block of its own a *reduce-scatter*.

pub mod collective;
pub(super) mod communicator;
pub mod exchange;
#[cfg(feature = "mpi")]
pub mod mpi;
pub mod nccl;
pub mod shards;
pub mod threads;

pub use collective::{Collective, Kind};
pub use communicator::Summed;
#[cfg(feature = "mpi")]
pub use mpi::MpiRanks;
pub use shards::Shards;
pub use threads::ThreadRanks;

use crate::Result;

/// The place of a process among those that train one model together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RankOf {
    /// Its number, from 0.
    pub rank: usize,
    /// The number of all.
    pub world: usize,
}

impl RankOf {
    /// That of a process which trains by itself.
    pub const ALONE: RankOf = RankOf { rank: 0, world: 1 };

    /// Returns true where there are no others.
    pub fn is_alone(self) -> bool {
        self.world == 1
    }

    /// Returns true for the one that writes the run's folder.
    pub fn is_leader(self) -> bool {
        self.rank == 0
    }
}

/// Communication of the processes of one training, in the host's memory. All functions are collective: each rank calls the same
/// ones in the same order, with the same lengths.
pub trait Communicator: Send + Sync {
    /// This process's number, from 0.
    fn rank(&self) -> usize;
    /// The number of processes.
    fn world(&self) -> usize;
    /// Fills `whole` with the parts of all ranks, in rank order; `whole.len() == world · part.len()`.
    ///
    /// # Errors
    /// [`Error::Ranks`](crate::Error::Ranks), here and below, where a rank has ended, does not answer, or calls something else.
    fn all_gather(&self, part: &[u8], whole: &mut [u8]) -> Result<()>;
    /// Block r of `send` goes to rank r; block r of `receive` comes from rank r. All blocks have one length.
    ///
    /// # Errors
    /// As above.
    fn all_to_all(&self, send: &[u8], receive: &mut [u8]) -> Result<()>;

    /// Its place.
    fn place(&self) -> RankOf {
        RankOf { rank: self.rank(), world: self.world() }
    }
}
