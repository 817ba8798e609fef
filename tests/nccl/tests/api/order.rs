//! When collectives are done: in the order of their stream, late, in graphs, and for communicators that do not block.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

use cudarc::driver::sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;

use crate::child::{on_devices, trace};
use crate::nccl::{FLOAT, IN_PROGRESS, Rank, begin, cuda, join, last_error, nccl, new_id, on_ranks, settled, state};

fn ones(ours: &Rank) -> u64 {
    ours.memory(&1f32.to_le_bytes())
}

fn value(ours: &Rank, address: u64) -> f32 {
    f32::from_le_bytes(ours.fetch(address, 4).try_into().expect("four bytes"))
}

on_devices! {
    fn a_stream_stands_still_until_all_have_come() {
        let come = AtomicBool::new(false);
        on_ranks(2, |rank, ours| {
            let address = ones(ours);
            if rank == 1 {
                while !come.load(Ordering::Acquire) {
                    std::thread::yield_now();
                }
            }
            assert_eq!(ours.all_reduce(address, address, 1, FLOAT), 0);
            if rank == 0 {
                // A query that finds work undone does it with the next one, but for work that waits for others.
                assert_eq!([ours.query(), ours.query(), ours.query()], [600; 3]);
                come.store(true, Ordering::Release);
            }
            ours.wait();
            assert_eq!(value(ours, address), 2.0);
        });
    }
}

on_devices! {
    fn nothing_is_done_before_it_is_waited_for() {
        on_ranks(1, |_, ours| {
            let address = ones(ours);
            assert_eq!(ours.all_reduce(address, address, 1, FLOAT), 0);
            assert!(!trace().contains("carried out"));
            ours.wait();
            assert!(trace().contains("rank 0 carried out 0: AllReduce(Sum) of 1 float32"));
        });
    }
}

on_devices! {
    fn eagerly_it_is_done_as_soon_as_all_have_come(CUDA_STANDIN_ORDER = "eager") {
        on_ranks(2, |_, ours| {
            let address = ones(ours);
            assert_eq!(ours.all_reduce(address, address, 1, FLOAT), 0);
            assert_eq!(value(ours, address), 2.0);
        });
    }
}

on_devices! {
    fn a_graph_does_it_at_every_launch() {
        on_ranks(2, |_, ours| {
            let address = ones(ours);
            ours.wait();
            let (mut graph, mut exec) = (null_mut(), null_mut());
            cuda!(cuStreamBeginCapture_v2(ours.stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
            assert_eq!(ours.all_reduce(address, address, 1, FLOAT), 0);
            cuda!(cuMemsetD8Async(address + 3, 0x40, 1, ours.stream));
            cuda!(cuStreamEndCapture(ours.stream, &mut graph));
            assert_eq!(value(ours, address), 1.0);
            cuda!(cuGraphInstantiateWithFlags(&mut exec, graph, 0));
            for _ in 0..3 {
                cuda!(cuGraphLaunch(exec, ours.stream));
            }
            // 1 → 2 → 4 → 8, of which the node behind the sum leaves the fraction: 2, 4 and 8 are 0x40…, 8 is 0x41.
            assert_eq!(value(ours, address), 2.0);
        });
        assert_eq!(trace().matches("carried out").count(), 6);
    }
}

on_devices! {
    /// As NCCL does: `commDestroySync` polls "until all graphs referencing us die", after an abort as well.
    fn a_communicator_outlives_its_graphs(NCCL_STANDIN_TIMEOUT = "1") {
        on_ranks(1, |_, ours| {
            let address = ones(ours);
            let record = || {
                let (mut graph, mut exec) = (null_mut(), null_mut());
                cuda!(cuStreamBeginCapture_v2(ours.stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
                assert_eq!(ours.all_reduce(address, address, 1, FLOAT), 0);
                cuda!(cuStreamEndCapture(ours.stream, &mut graph));
                cuda!(cuGraphInstantiateWithFlags(&mut exec, graph, 0));
                cuda!(cuGraphDestroy(graph));
                exec
            };
            cuda!(cuGraphExecDestroy(record()));
            let second = join(new_id(), 0, 1, 1).1;
            assert_eq!(nccl!(ncclCommDestroy(second => usize)), 0);
            record();
            assert_eq!(nccl!(ncclCommAbort(ours.comm => usize)), 3);
            assert!(last_error().contains("a graph still has operations of rank 0's communicator"));
        });
    }
}

on_devices! {
    fn one_that_does_not_block_is_asked_until_it_is_done() {
        let id = new_id();
        std::thread::scope(|scope| {
            for rank in 0..2 {
                scope.spawn(move || {
                    let stream = begin(rank);
                    let (code, comm) = join(id, rank, 2, 0);
                    assert_eq!(code, IN_PROGRESS);
                    let ours = Rank { comm, stream };
                    let address = ones(&ours);
                    assert_eq!(settled(comm), 0);
                    assert_eq!(ours.all_reduce(address, address, 1, FLOAT), IN_PROGRESS);
                    // It is not in its stream yet.
                    assert_eq!(ours.all_reduce(address, address, 1, FLOAT), 4);
                    assert!(last_error().contains("before the previous operation returned ncclSuccess"));
                    assert_eq!(value(&ours, address), 1.0);
                    assert_eq!([state(comm), state(comm)], [IN_PROGRESS, 0]);
                    assert_eq!(value(&ours, address), 2.0);
                });
            }
        });
    }
}

on_devices! {
    fn a_group_is_issued_at_its_end() {
        on_ranks(2, |_, ours| {
            let (first, second) = (ones(ours), ones(ours));
            assert_eq!(nccl!(ncclGroupStart()), 0);
            assert_eq!(ours.all_reduce(first, first, 1, FLOAT), 0);
            assert_eq!(ours.all_reduce(second, second, 1, FLOAT), 0);
            assert_eq!([value(ours, first), value(ours, second)], [1.0; 2]);
            assert_eq!(nccl!(ncclGroupEnd()), 0);
            assert_eq!([value(ours, first), value(ours, second)], [2.0; 2]);
            assert_eq!(nccl!(ncclGroupEnd()), 5);
        });
    }
}
