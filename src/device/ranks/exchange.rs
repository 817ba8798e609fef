//! Sums and gathered blocks of the CPU's memory.
//!
//! A sum is three steps: rank r is sent block r of all ranks, adds them up in rank order, and its sums are gathered. So every sum is
//! made once, by one rank, in one order: its bits depend on the number of ranks alone, and all ranks get the same.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Communicator, RankOf};
use crate::Result;
use crate::device::parallel::{ParallelSliceMut, Parts};
use crate::device::{Element, Real};

/// Bytes that are exchanged at once, about: memory is taken for so many, twice, and counts of bytes stay below 2³¹.
const AT_ONCE: usize = 1 << 22;
/// Elements of one task where sums are made.
const CHUNK: usize = 1 << 14;

/// The way to the other ranks, with memory for what is under way.
pub(crate) struct Exchange {
    communicator: Arc<dyn Communicator>,
    scratch: Mutex<Scratch>,
}

#[derive(Default)]
struct Scratch {
    send: Vec<u8>,
    receive: Vec<u8>,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.place())
    }
}

impl Exchange {
    /// By way of `communicator`.
    pub(crate) fn new(communicator: Arc<dyn Communicator>) -> Self {
        Exchange { communicator, scratch: Mutex::default() }
    }

    /// This process's place.
    pub(crate) fn place(&self) -> RankOf {
        self.communicator.place()
    }

    /// x ← its sum over all ranks.
    ///
    /// # Errors
    /// Those of the communicator, here and below.
    pub(crate) fn sum<T: Real>(&self, x: &mut [T]) -> Result<()> {
        let RankOf { rank, world } = self.place();
        self.with_scratch(|Scratch { send, receive }| {
            for x in x.chunks_mut(at_once::<T>(world) * world) {
                // The last blocks may be short or empty: what is sent beyond them is whatever was there.
                let block = x.len().div_ceil(world);
                let (send, receive) = (grown(send, world * block), grown(receive, world * block));
                send[..x.len()].copy_from_slice(x);
                self.exchange_and_add(send, receive, rank, block)?;
                let own = &send[rank * block..][..block];
                self.communicator.all_gather(bytemuck::cast_slice(own), bytemuck::cast_slice_mut(receive))?;
                x.copy_from_slice(&receive[..x.len()]);
            }
            Ok(())
        })
    }

    /// Block `rank` of x ← its sum over all ranks, where x has `world` blocks of one length. The others stay as they are.
    pub(crate) fn sum_block<T: Real>(&self, x: &mut [T]) -> Result<()> {
        let RankOf { rank, world } = self.place();
        let len = block_len(x, world);
        self.with_scratch(|Scratch { send, receive }| {
            for from in (0..len).step_by(at_once::<T>(world)) {
                let block = at_once::<T>(world).min(len - from);
                let (send, receive) = (grown(send, world * block), grown(receive, world * block));
                for (r, send) in send.chunks_exact_mut(block).enumerate() {
                    send.copy_from_slice(&x[r * len + from..][..block]);
                }
                self.exchange_and_add(send, receive, rank, block)?;
                x[rank * len + from..][..block].copy_from_slice(&send[rank * block..][..block]);
            }
            Ok(())
        })
    }

    /// Block r of x ← block r of rank r, for every r, where x has `world` blocks of one length.
    pub(crate) fn gather_blocks<E: Element>(&self, x: &mut [E]) -> Result<()> {
        let RankOf { rank, world } = self.place();
        let len = block_len(x, world);
        self.with_scratch(|Scratch { receive, .. }| {
            for from in (0..len).step_by(at_once::<E>(world)) {
                let block = at_once::<E>(world).min(len - from);
                let receive = grown(receive, world * block);
                let own = &x[rank * len + from..][..block];
                self.communicator.all_gather(bytemuck::cast_slice(own), bytemuck::cast_slice_mut(receive))?;
                for (r, receive) in receive.chunks_exact(block).enumerate() {
                    x[r * len + from..][..block].copy_from_slice(receive);
                }
            }
            Ok(())
        })
    }

    /// whole[r · n ..][.. n] ← part of rank r, of n elements.
    pub(crate) fn gather<E: Element>(&self, part: &[E], whole: &mut [E]) -> Result<()> {
        assert_eq!(part.len() * self.place().world, whole.len(), "lengths");
        self.communicator.all_gather(bytemuck::cast_slice(part), bytemuck::cast_slice_mut(whole))
    }

    /// send's block `rank` ← Σ over ranks of their send's block `rank`, in rank order.
    fn exchange_and_add<T: Real>(&self, send: &mut [T], receive: &mut [T], rank: usize, block: usize) -> Result<()> {
        self.communicator.all_to_all(bytemuck::cast_slice(send), bytemuck::cast_slice_mut(receive))?;
        let (receive, own) = (&*receive, &mut send[rank * block..][..block]);
        own.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, own)| {
            let chunk = chunk * CHUNK..chunk * CHUNK + own.len();
            let mut parts = receive.chunks_exact(block).map(|part| &part[chunk.clone()]);
            own.copy_from_slice(parts.next().expect("a world of one at least"));
            parts.for_each(|part| own.iter_mut().zip(part).for_each(|(sum, &term)| *sum += term));
        });
        Ok(())
    }

    fn with_scratch<R>(&self, work: impl FnOnce(&mut Scratch) -> R) -> R {
        // The content is scratch: whatever a panicking thread left behind is as good as anything.
        work(&mut self.scratch.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Elements of a block that is exchanged at once.
fn at_once<E>(world: usize) -> usize {
    (AT_ONCE / size_of::<E>() / world).max(1)
}

fn block_len<E>(x: &[E], world: usize) -> usize {
    assert!(x.len().is_multiple_of(world), "{} elements in {world} blocks", x.len());
    x.len() / world
}

/// `len` elements in this memory, which grows where it is too short.
fn grown<E: Element>(memory: &mut Vec<u8>, len: usize) -> &mut [E] {
    // Elements may begin at a multiple of their size alone, which a vector of bytes need not.
    let room = len * size_of::<E>() + align_of::<E>();
    if memory.len() < room {
        memory.resize(room, 0);
    }
    let skipped = memory.as_ptr().align_offset(align_of::<E>());
    bytemuck::cast_slice_mut(&mut memory[skipped..][..len * size_of::<E>()])
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use crate::device::ranks::{Communicator, RankOf, ThreadRanks};
    use crate::device::{Backend, Cpu};
    use crate::error::Error;

    /// The result of each rank of a world, in rank order.
    fn of_each<R: Send>(world: usize, threads: usize, work: impl Fn(&Cpu<f32>, RankOf) -> R + Sync) -> Vec<R> {
        let ranks = ThreadRanks::patient(world, Duration::from_secs(20));
        thread::scope(|scope| {
            let started = ranks.into_iter().map(|rank| {
                let cpu = Cpu::new(Some(threads)).expect("threads").with_ranks(std::sync::Arc::new(rank));
                let work = &work;
                scope.spawn(move || cpu.run(|| work(&cpu, cpu.ranks())))
            });
            let started: Vec<_> = started.collect();
            started.into_iter().map(|rank| rank.join().expect("a rank")).collect()
        })
    }

    fn term(rank: usize, i: usize) -> f32 {
        (i % 1013) as f32 / 7.0 * [1.0, -3.0, 1e-6, 1e6, 0.3][rank]
    }

    /// Terms whose sum in another order has other bits; one element, fewer than ranks, and more than are exchanged at once.
    #[test]
    fn a_sum_is_made_in_rank_order_and_is_the_same_everywhere() {
        for world in [1, 2, 3, 5] {
            for len in [1, 2, 4, 1000, (1 << 20) + 1234] {
                let expected = |i| (1..world).fold(term(0, i), |sum, rank| sum + term(rank, i));
                for threads in [1, 3] {
                    let sums = of_each(world, threads, |cpu, RankOf { rank, .. }| {
                        let mut x: Vec<f32> = (0..len).map(|i| term(rank, i)).collect();
                        cpu.sum_over_ranks(&mut x).map(|()| x).expect("a sum")
                    });
                    for (rank, sum) in sums.iter().enumerate() {
                        let wrong = sum.iter().enumerate().find(|&(i, x)| x.to_bits() != expected(i).to_bits());
                        assert_eq!(wrong, None, "rank {rank} of {world}, {len} elements, {threads} threads");
                    }
                }
            }
        }
    }

    #[test]
    fn a_block_of_a_sum_is_that_of_the_whole_sum() {
        for (world, block) in [(1, 5), (2, 1), (3, 7), (4, 300_001)] {
            let len = world * block;
            of_each(world, 2, |cpu, RankOf { rank, .. }| {
                let mut whole: Vec<f32> = (0..len).map(|i| term(rank, i)).collect();
                let mut own = whole.clone();
                cpu.sum_over_ranks(&mut whole).expect("a sum");
                cpu.sum_block_over_ranks(&mut own).expect("a sum");
                let range = rank * block..(rank + 1) * block;
                assert!(own[range.clone()] == whole[range], "rank {rank} of {world}");
                cpu.gather_blocks_from_ranks(&mut own).expect("blocks");
                assert!(own == whole, "rank {rank} of {world}");
            });
        }
    }

    #[test]
    fn parts_are_gathered_in_rank_order() {
        let wholes = of_each(3, 1, |cpu, RankOf { rank, .. }| {
            let mut whole = [0u32; 6];
            cpu.gather_from_ranks(&[10 * rank as u32, 10 * rank as u32 + 1], &mut whole).map(|()| whole).expect("parts")
        });
        assert_eq!(wholes, [[0, 1, 10, 11, 20, 21]; 3]);
    }

    #[test]
    fn blocks_go_to_their_ranks() {
        let world = 3;
        thread::scope(|scope| {
            for rank in ThreadRanks::world(world) {
                scope.spawn(move || {
                    let me = rank.rank() as u8;
                    let mut received = [0; 6];
                    let sent: Vec<u8> = (0..3).flat_map(|to| [me, to]).collect();
                    rank.all_to_all(&sent, &mut received).expect("blocks");
                    assert_eq!(received, [0, me, 1, me, 2, me]);
                });
            }
        });
    }

    /// The errors of the other ranks if one of them does not do its part.
    fn failed(patience: u64, deed: impl Fn(ThreadRanks) + Sync) -> Vec<String> {
        let mut ranks = ThreadRanks::patient(3, Duration::from_millis(patience));
        let bad = ranks.remove(1);
        thread::scope(|scope| {
            let others: Vec<_> =
                ranks.into_iter().map(|rank| scope.spawn(move || rank.all_gather(&[1], &mut [0; 3]))).collect();
            deed(bad);
            let told = others.into_iter().map(|other| match other.join().expect("no panic") {
                Err(error @ Error::Ranks(_)) => error.to_string(),
                other => panic!("{other:?}"),
            });
            told.collect()
        })
    }

    #[test]
    fn a_rank_that_ends_or_waits_or_asks_for_something_else_ends_the_others() {
        let ended = failed(20_000, drop);
        assert!(ended.iter().all(|told| told.contains("rank 1 has ended")), "{ended:?}");
        let waiting = failed(100, |rank| {
            thread::sleep(Duration::from_millis(400));
            drop(rank);
        });
        assert!(waiting.iter().all(|told| told.contains("for the others: 2 of 3 came")), "{waiting:?}");
        let other = failed(20_000, |rank| {
            let told = rank.all_gather(&[1, 2], &mut [0; 6]).expect_err("a mistake").to_string();
            assert!(
                told.contains("rank 1 asks for an all-gather of 2 bytes, rank 0 for an all-gather of 1 bytes"),
                "{told}"
            );
        });
        assert!(
            other.iter().all(|told| told.contains("rank 1 for an all-gather of 2 bytes") || told.contains("has ended")),
            "{other:?}"
        );
    }
}
