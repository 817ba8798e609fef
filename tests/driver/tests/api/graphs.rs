//! Graphs that are asked about, and graphs that are made by hand.

use std::ffi::c_void;
use std::ptr::null_mut;

use crate::child::on_driver;
use crate::cuda::{alloc, begin, call, event, fill, free_stream, nothing, ready, record, sys, wait};

on_driver! {
    fn nodes_and_edges_are_told() {
        begin();
        let (one, other, fork, join, address) = (free_stream(), free_stream(), event(), event(), alloc(8));
        let graph = record(one, || {
            fill(address, 1, 8, one);
            assert_eq!(call!(cuEventRecord(fork, one)), 0);
            assert_eq!(call!(cuStreamWaitEvent(other, fork, 0)), 0);
            fill(address, 2, 4, one);
            assert_eq!(call!(cuMemcpyDtoDAsync_v2(address + 4, address, 4, other)), 0);
            assert_eq!(call!(cuEventRecord(join, other)), 0);
            assert_eq!(call!(cuStreamWaitEvent(one, join, 0)), 0);
            fill(address, 3, 4, one);
        });
        let (mut count, mut nodes) = (0, [null_mut(); 8]);
        assert_eq!(call!(cuGraphGetNodes(graph, nothing(), &mut count)), 0);
        assert_eq!(count, 4);
        count = 8;
        assert_eq!(call!(cuGraphGetNodes(graph, nodes.as_mut_ptr(), &mut count)), 0);
        assert!(count == 4 && nodes[..4].iter().all(|node| !node.is_null()) && nodes[4..].iter().all(|node| node.is_null()));
        let kinds: Vec<u32> = nodes[..4]
            .iter()
            .map(|node| {
                let mut kind = sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_EMPTY;
                assert_eq!(call!(cuGraphNodeGetType(*node, &mut kind)), 0);
                kind as u32
            })
            .collect();
        assert_eq!(kinds, [2, 2, 1, 2]);
        assert_eq!(call!(cuGraphGetRootNodes(graph, nothing(), &mut count)), 0);
        assert_eq!(count, 1);
        let (mut from, mut to) = ([null_mut(); 8], [null_mut(); 8]);
        count = 8;
        assert_eq!(call!(cuGraphGetEdges_v2(graph, from.as_mut_ptr(), to.as_mut_ptr(), nothing(), &mut count)), 0);
        let mut edges: Vec<[usize; 2]> = (0..count)
            .map(|edge| [from[edge], to[edge]].map(|node| nodes.iter().position(|known| *known == node).expect("known")))
            .collect();
        edges.sort_unstable();
        assert_eq!(edges, [[0, 1], [0, 2], [1, 3], [2, 3]]);
    }
}

/// A graph of host functions, which note when they run.
fn noted(order_of: &mut Vec<u32>) -> sys::CUgraph {
    unsafe extern "C" fn note(data: *mut c_void) {
        // SAFETY: the test gave the address of a pair that lives until the graph was waited for.
        let (seen, number) = unsafe { *data.cast::<(*mut Vec<u32>, u32)>() };
        // SAFETY: as above; host functions run one after another.
        unsafe { (*seen).push(number) };
    }
    let mut graph = null_mut();
    assert_eq!(call!(cuGraphCreate(&mut graph, 0)), 0);
    let mut nodes = [null_mut(); 4];
    for number in 0..4 {
        let data = Box::leak(Box::new((&raw mut *order_of, number)));
        let parameters = sys::CUDA_HOST_NODE_PARAMS { fn_: Some(note), userData: (&raw mut *data).cast() };
        let node = &mut nodes[number as usize];
        assert_eq!(call!(cuGraphAddHostNode(node, graph, nothing(), 0, &parameters)), 0);
    }
    // 3 before 0; 1 and 2 are free.
    assert_eq!(call!(cuGraphAddDependencies_v2(graph, &nodes[3], &nodes[0], nothing(), 1)), 0);
    assert_eq!(call!(cuGraphAddDependencies_v2(graph, &nodes[3], &nodes[0], nothing(), 1)), 1);
    graph
}

fn orders() -> Vec<u32> {
    begin();
    let stream = free_stream();
    let mut order = Vec::new();
    let exec = ready(noted(&mut order));
    assert_eq!(call!(cuGraphLaunch(exec, stream)), 0);
    wait(stream);
    order
}

on_driver! {
    fn nodes_run_in_the_order_of_their_numbers_where_nothing_else_orders_them() {
        assert_eq!(orders(), [1, 2, 3, 0]);
    }
}

on_driver! {
    fn or_in_another_one(SCHEDULE = "backward") {
        assert_eq!(orders(), [3, 2, 1, 0]);
    }
}

on_driver! {
    fn flags_that_contradict_one_another_are_refused() {
        begin();
        let (mut graph, mut exec) = (null_mut(), null_mut());
        assert_eq!(call!(cuGraphCreate(&mut graph, 0)), 0);
        assert_eq!(call!(cuGraphInstantiateWithFlags(&mut exec, graph, 5)), 1);
        assert_eq!(call!(cuGraphInstantiateWithFlags(&mut exec, graph, 16)), 1);
        assert_eq!(call!(cuGraphInstantiateWithFlags(&mut exec, graph, 4)), 801);
        assert_eq!(call!(cuGraphInstantiateWithFlags(&mut exec, graph, 9)), 0);
    }
}
