//! Failures: ranks that die, never come, disagree, or share a GPU; misuse; faults that were asked for.

use std::time::{Duration, Instant};

use crate::child::{again, on_devices};
use crate::nccl::{
    Config, FLOAT, Id, Rank, SUM, UINT8, begin, join, last_error, nccl, new_id, on_ranks, settled, state,
};

/// Waits until a communicator has failed.
fn failure(ours: &Rank) -> u32 {
    let since = Instant::now();
    while state(ours.comm) == 0 {
        assert!(since.elapsed() < Duration::from_secs(20), "no failure");
        assert_eq!(ours.query(), 600);
        std::thread::sleep(Duration::from_millis(1));
    }
    state(ours.comm)
}

on_devices! {
    /// The process of rank 1 ends in the middle; rank 0 learns it, and its kernel spins until the abort.
    fn a_rank_that_dies_is_a_remote_error(CUDA_STANDIN_DEVICES = "2", NCCL_STANDIN_FAIL = "die:2@1") {
        let other = std::env::var("RANK_1").ok();
        let id = match &other {
            None => new_id(),
            Some(text) => {
                let mut id = Id([0; 128]);
                id.0[..text.len()].copy_from_slice(text.as_bytes());
                id
            }
        };
        let rank = i32::from(other.is_some());
        let text = String::from_utf8_lossy(&id.0).trim_end_matches('\0').to_string();
        let second = other.is_none().then(|| again(&[("RANK_1", &text)]));
        let stream = begin(rank);
        let (_, comm) = join(id, rank, 2, 0);
        assert_eq!(settled(comm), 0);
        let ours = Rank { comm, stream };
        let address = ours.memory(&1f32.to_le_bytes());
        for _ in 0..2 {
            ours.all_reduce(address, address, 1, FLOAT);
            assert_eq!(settled(comm), 0);
        }
        assert_eq!(failure(&ours), 6);
        assert!(last_error().contains("rank 1 has died: AllReduce(Sum) of 1 float32, collective 1"), "{}", last_error());
        assert_eq!(nccl!(ncclCommDestroy(comm => usize)), 6);
        assert_eq!(nccl!(ncclCommAbort(comm => usize)), 0);
        ours.wait();
        let ended = second.expect("a child")();
        assert!(String::from_utf8_lossy(&ended.stderr).contains("as NCCL_STANDIN_FAIL asks"));
    }
}

on_devices! {
    fn ranks_that_disagree_are_told(NCCL_DEBUG = "WARN") {
        on_ranks(2, |rank, ours| {
            let address = ours.memory(&[0; 16]);
            assert_eq!(ours.all_reduce(address, address, 1 + rank, FLOAT), 0);
            assert_eq!(failure(ours), 5);
            let text = last_error();
            assert!(text.contains("AllReduce(Sum) of 1 float32 on rank") && text.contains("of 2 float32"), "{text}");
            assert_eq!(ours.all_reduce(address, address, 1, FLOAT), 5);
            assert_eq!(nccl!(ncclCommAbort(ours.comm => usize)), 0);
            ours.wait();
        });
    }
}

on_devices! {
    fn two_ranks_on_one_gpu_are_refused() {
        let id = new_id();
        std::thread::scope(|scope| {
            for rank in 0..2 {
                scope.spawn(move || {
                    begin(3);
                    assert_eq!(join(id, rank, 2, 1).0, 5);
                    assert!(last_error().contains("Duplicate GPU detected : rank"), "{}", last_error());
                });
            }
        });
    }
}

on_devices! {
    fn a_rank_that_never_comes_ends_the_wait(NCCL_STANDIN_TIMEOUT = "1") {
        begin(0);
        assert_eq!(join(new_id(), 0, 2, 1).0, 2);
        assert!(last_error().contains("rank 1 has not come"));
        let (code, comm) = join(new_id(), 0, 2, 0);
        assert_eq!((code, state(comm)), (7, 7));
        assert_eq!(settled(comm), 2);
    }
}

on_devices! {
    fn ranks_of_different_numbers_are_refused() {
        let id = new_id();
        std::thread::scope(|scope| {
            let join = |rank: i32, ranks: i32| {
                begin(rank);
                join(id, rank, ranks, 1).0
            };
            let first = scope.spawn(move || join(0, 1));
            assert_eq!(first.join().expect("a rank"), 0);
            let second = scope.spawn(move || join(1, 2));
            assert_eq!(second.join().expect("a rank"), 3);
            assert_eq!(scope.spawn(move || join(0, 1)).join().expect("a rank"), 3);
            assert!(last_error().contains("has already checked in"));
        });
    }
}

on_devices! {
    fn memory_that_is_used_up_is_an_error_of_cuda(CUDA_STANDIN_FAIL = "alloc:1") {
        begin(0);
        assert_eq!(join(new_id(), 0, 1, 0).0, 1);
        assert!(last_error().contains("Cuda failure 2 'out of memory'"), "{}", last_error());
    }
}

on_devices! {
    fn faults_come_where_they_were_asked_for(NCCL_STANDIN_FAIL = "id:2,join:2=2,enqueue:2,carry-out:2") {
        on_ranks(1, |_, ours| {
            let mut id = Id([0; 128]);
            assert_eq!(nccl!(ncclGetUniqueId(&raw mut id => *mut Id)), 2);
            assert_eq!(join(new_id(), 0, 1, 1).0, 2);
            let address = ours.memory(&[0; 4]);
            assert_eq!([0; 3].map(|_| ours.all_reduce(address, address, 1, FLOAT)), [0, 1, 0]);
            assert_eq!(failure(ours), 6);
        });
    }
}

on_devices! {
    fn misuse_is_refused() {
        on_ranks(2, |rank, ours| {
            let address = ours.memory(&[0; 32]);
            let stream = ours.stream as usize;
            let gather = |send: u64, count: usize, data_type: u32| nccl!(ncclAllGather(
                send => u64, address => u64, count => usize, data_type => u32, ours.comm => usize, stream => usize
            ));
            // Null, a type that there is not, buffers that overlap in a way that is not in place.
            assert_eq!([gather(0, 1, UINT8), gather(address + 16, 1, 12), gather(address + 3, 4, UINT8)], [4; 3]);
            // Nothing of a count of 0.
            assert_eq!(gather(0, 0, UINT8), 0);
            let broadcast = |root: i32| nccl!(ncclBroadcast(
                address => u64, address => u64, 1 => usize, UINT8 => u32, root => i32, ours.comm => usize, stream => usize
            ));
            assert_eq!([broadcast(2), broadcast(-1)], [4; 2]);
            assert_eq!(nccl!(ncclAllReduce(
                address => u64, address => u64, 1 => usize, FLOAT => u32, SUM => u32, 77 => usize, stream => usize
            )), 4);
            // A stream that is none.
            assert_eq!(nccl!(ncclAllReduce(
                address => u64, address => u64, 1 => usize, FLOAT => u32, SUM => u32, ours.comm => usize, 77 => usize
            )), 1);
            assert_eq!(join(Id([7; 128]), rank as i32, 2, 1).0, 4);
            assert_eq!(join(new_id(), 2, 2, 1).0, 4);
            let config = Config { magic: 1, ..Config::blocking(1) };
            let mut comm = 0usize;
            assert_eq!(nccl!(ncclCommInitRankConfig(
                &raw mut comm => *mut usize, 2 => i32, new_id() => Id, 0 => i32, &raw const config => *const Config
            )), 4);
        });
    }
}

on_devices! {
    /// An address that no allocation holds ends the work of the device, as a kernel would.
    fn memory_that_is_not_there_is_an_illegal_address() {
        on_ranks(1, |_, ours| {
            let address = ours.memory(&[0; 4]);
            assert_eq!(ours.all_reduce(address, address, 64, FLOAT), 0);
            assert_eq!(ours.query(), 600);
            assert_eq!(ours.query(), 700);
        });
    }
}
