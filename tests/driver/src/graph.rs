//! Graphs: CUDA Driver API, "Graph Management".

use std::sync::Arc;

use ptx_machine::machine::Order;

use crate::abi::{Host, HostFunction, In, Out, driver_api};
use crate::code::{Code, Result};
use crate::faults::Point;
use crate::handle::{ContextKind, ExecKind, FunctionKind, GraphKind, Handle, KernelKind, NodeKind, StreamKind, Table};
use crate::launch::{self, Shape};
use crate::queue::{Callback, Work};
use crate::state::Driver;

/// A node: its work, and the nodes before it, which have smaller numbers where the graph was recorded.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    work: Work,
    after: Vec<usize>,
    handle: Handle<NodeKind>,
}

impl Node {
    pub(crate) fn new(work: Work, after: Vec<usize>) -> Node {
        Node { work, after, handle: new_handle() }
    }

    pub(crate) fn after(&self) -> &[usize] {
        &self.after
    }
}

/// A handle of a node; nodes are found through their graphs.
fn new_handle() -> Handle<NodeKind> {
    Table::<NodeKind, ()>::default().insert(())
}

/// A graph.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
}

/// The work of a graph in an order that heeds what waits for what.
#[derive(Debug, Default)]
pub(crate) struct Plan(Vec<Work>);

impl Plan {
    pub(crate) fn work(&self) -> &[Work] {
        &self.0
    }
}

/// A graph that is ready to run.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) context: Handle<ContextKind>,
    device: usize,
    plan: Arc<Plan>,
}

impl Graph {
    pub(crate) fn new(nodes: Vec<Node>) -> Graph {
        Graph { nodes }
    }

    fn index(&self, node: Handle<NodeKind>) -> Option<usize> {
        self.nodes.iter().position(|known| known.handle == node)
    }

    /// The nodes in an order in which each comes after those before it: where several can be next, the first of them, the last,
    /// or any, as the schedule says. Results must be the same with all. 1 where nodes wait for one another in a circle.
    fn plan(&self, order: Order) -> Result<Plan> {
        let mut state = match order {
            Order::Shuffled(seed) => seed,
            _ => 0,
        };
        let mut waits: Vec<usize> = self.nodes.iter().map(|node| node.after.len()).collect();
        let mut ready: Vec<usize> = (0..waits.len()).filter(|node| waits[*node] == 0).collect();
        let mut plan = Vec::with_capacity(waits.len());
        while !ready.is_empty() {
            let next = match order {
                Order::Forward => (0..ready.len()).min_by_key(|index| ready[*index]).unwrap_or(0),
                Order::Backward => (0..ready.len()).max_by_key(|index| ready[*index]).unwrap_or(0),
                Order::Shuffled(_) => {
                    // A linear congruential generator (Knuth, MMIX); its high bits are the good ones.
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 33) as usize % ready.len()
                }
            };
            let node = ready.swap_remove(next);
            plan.push(self.nodes[node].work.clone());
            for (later, of_later) in self.nodes.iter().enumerate() {
                waits[later] -= of_later.after.iter().filter(|before| **before == node).count();
                if waits[later] == 0 && of_later.after.contains(&node) {
                    ready.push(later);
                }
            }
        }
        if plan.len() == self.nodes.len() { Ok(Plan(plan)) } else { Err(Code::INVALID_VALUE) }
    }
}

/// `CUDA_KERNEL_NODE_PARAMS`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct KernelNode {
    function: Handle<FunctionKind>,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    parameters: In<Host>,
    extra: In<Host>,
    kernel: Handle<KernelKind>,
    context: Handle<ContextKind>,
}

/// `CUDA_HOST_NODE_PARAMS`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct HostNode {
    function: HostFunction,
    data: Host,
}

/// Flags of an instantiation: free on launch, upload, launch from the device, priorities of nodes.
const INSTANTIATE_FLAGS: u64 = 15;
const AUTO_FREE: u64 = 1;
const DEVICE_LAUNCH: u64 = 4;

fn instantiate(driver: &mut Driver, exec: Out<Handle<ExecKind>>, graph: Handle<GraphKind>, flags: u64) -> Result {
    exec.check()?;
    let context = driver.current()?;
    let device = driver.contexts.get(context)?.device;
    let order = driver.settings.options.blocks;
    let plan = driver.graphs.get(graph).map_err(|_| Code::INVALID_VALUE)?.plan(order);
    if flags & !INSTANTIATE_FLAGS != 0 || flags & AUTO_FREE != 0 && flags & DEVICE_LAUNCH != 0 {
        return Err(Code::INVALID_VALUE);
    }
    if flags & DEVICE_LAUNCH != 0 {
        return Err(Code::NOT_SUPPORTED);
    }
    let plan = Arc::new(plan?);
    driver.pass(Point::Instantiate, device)?;
    exec.set(driver.execs.insert(Exec { context, device, plan }))
}

fn add(
    driver: &mut Driver,
    out: Out<Handle<NodeKind>>,
    graph: Handle<GraphKind>,
    dependencies: In<Handle<NodeKind>>,
    count: usize,
    work: Work,
) -> Result {
    out.check()?;
    let graph = driver.graphs.get_mut(graph).map_err(|_| Code::INVALID_VALUE)?;
    let before = dependencies.list(count)?;
    let after =
        before.into_iter().map(|node| graph.index(node)).collect::<Option<Vec<_>>>().ok_or(Code::INVALID_VALUE)?;
    // "dependencies may not have any duplicate entries"
    if (1..after.len()).any(|index| after[..index].contains(&after[index])) {
        return Err(Code::INVALID_VALUE);
    }
    let node = Node::new(work, after);
    let handle = node.handle;
    graph.nodes.push(node);
    out.set(handle)
}

/// Writes a list of nodes: its length where there is no place for it; else as many as there is room for, nulls behind them.
fn list(nodes: &[Handle<NodeKind>], out: Out<Handle<NodeKind>>, count: Out<usize>) -> Result {
    count.check()?;
    if out.is_null() {
        return count.set(nodes.len());
    }
    let room = count.get()?;
    let padded = nodes.iter().copied().chain(std::iter::repeat(Handle::NULL)).take(room);
    out.set_all(padded)?;
    count.set(nodes.len().min(room))
}

driver_api! { SYMBOLS;
    /// `cuGraphCreate`: 1.
    fn cuGraphCreate(driver, graph: Out<Handle<GraphKind>>, flags: u32) {
        graph.check()?;
        if flags != 0 {
            return Err(Code::INVALID_VALUE);
        }
        graph.set(driver.graphs.insert(Graph::default()))
    }

    /// `cuGraphClone`: 1.
    fn cuGraphClone(driver, clone: Out<Handle<GraphKind>>, graph: Handle<GraphKind>) {
        clone.check()?;
        let mut copy = driver.graphs.get(graph).map_err(|_| Code::INVALID_VALUE)?.clone();
        copy.nodes.iter_mut().for_each(|node| node.handle = new_handle());
        clone.set(driver.graphs.insert(copy))
    }

    /// `cuGraphDestroy`: 1. What was made ready from it stays.
    fn cuGraphDestroy(driver, graph: Handle<GraphKind>) {
        driver.graphs.remove(graph).map(drop).map_err(|_| Code::INVALID_VALUE)
    }

    /// `cuGraphInstantiate`: 1; 801 for graphs that the device is to launch.
    fn cuGraphInstantiateWithFlags(driver, exec: Out<Handle<ExecKind>>, graph: Handle<GraphKind>, flags: u64) {
        instantiate(driver, exec, graph, flags)
    }

    /// `cuGraphInstantiate` (before 12.0): 1. The places for a message stay as they are.
    fn cuGraphInstantiate_v2(
        driver, exec: Out<Handle<ExecKind>>, graph: Handle<GraphKind>, node: Out<Handle<NodeKind>>, log: Host, room: usize,
    ) {
        instantiate(driver, exec, graph, 0)
    }

    /// `cuGraphExecDestroy`: 1. A launch that is under way is not harmed.
    fn cuGraphExecDestroy(driver, exec: Handle<ExecKind>) {
        driver.execs.remove(exec).map(drop).map_err(|_| Code::INVALID_VALUE)
    }

    /// `cuGraphLaunch`: 1, 400.
    fn cuGraphLaunch(driver, exec: Handle<ExecKind>, stream: Handle<StreamKind>) {
        let Exec { device, plan, .. } = driver.execs.get(exec).map_err(|_| Code::INVALID_VALUE)?;
        let (device, plan) = (*device, plan.clone());
        driver.unbroken(device)?;
        let stream = driver.stream(stream)?;
        driver.refuse_in_recording(stream)?;
        driver.submit(stream, Work::Graph(plan, 0))
    }

    /// `cuGraphUpload`: 1, 400. There is nothing to upload.
    fn cuGraphUpload(driver, exec: Handle<ExecKind>, stream: Handle<StreamKind>) {
        driver.execs.get(exec).map_err(|_| Code::INVALID_VALUE)?;
        driver.stream(stream).map(drop)
    }

    /// `cuGraphGetNodes`: 1.
    fn cuGraphGetNodes(driver, graph: Handle<GraphKind>, nodes: Out<Handle<NodeKind>>, count: Out<usize>) {
        let graph = driver.graphs.get(graph).map_err(|_| Code::INVALID_VALUE)?;
        let handles: Vec<_> = graph.nodes.iter().map(|node| node.handle).collect();
        list(&handles, nodes, count)
    }

    /// `cuGraphGetRootNodes`: 1.
    fn cuGraphGetRootNodes(driver, graph: Handle<GraphKind>, nodes: Out<Handle<NodeKind>>, count: Out<usize>) {
        let graph = driver.graphs.get(graph).map_err(|_| Code::INVALID_VALUE)?;
        let roots: Vec<_> = graph.nodes.iter().filter(|node| node.after.is_empty()).map(|node| node.handle).collect();
        list(&roots, nodes, count)
    }

    /// `cuGraphGetEdges` (version 2): 1. Edges carry no data.
    fn cuGraphGetEdges_v2(
        driver, graph: Handle<GraphKind>, from: Out<Handle<NodeKind>>, to: Out<Handle<NodeKind>>, data: Out<u64>,
        count: Out<usize>,
    ) {
        let nodes = &driver.graphs.get(graph).map_err(|_| Code::INVALID_VALUE)?.nodes;
        let edges = nodes.iter().flat_map(|node| node.after.iter().map(|before| (nodes[*before].handle, node.handle)));
        let (sources, targets): (Vec<_>, Vec<_>) = edges.unzip();
        if from.is_null() != to.is_null() || !data.is_null() && from.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        if !from.is_null() {
            let room = count.get()?;
            let mut written = room;
            list(&sources, from, Out(&raw mut written))?;
            if !data.is_null() {
                data.set_all(std::iter::repeat_n(0, room))?;
            }
        }
        list(&targets, to, count)
    }

    /// `cuGraphNodeGetType`: 1.
    fn cuGraphNodeGetType(driver, node: Handle<NodeKind>, kind: Out<u32>) {
        let found = driver.graphs.iter().find_map(|(_, graph)| Some(&graph.nodes[graph.index(node)?]));
        kind.set(match &found.ok_or(Code::INVALID_VALUE)?.work {
            Work::Kernel(_) | Work::Beside(_) => 0,
            Work::Copy(_) => 1,
            Work::Fill(_) => 2,
            Work::Host(_) => 3,
            Work::Graph(..) => 4,
            Work::Record(_) | Work::Wait => 5,
            Work::Free(_) => 11,
        })
    }

    /// `cuGraphAddEmptyNode`: 1.
    fn cuGraphAddEmptyNode(
        driver, node: Out<Handle<NodeKind>>, graph: Handle<GraphKind>, dependencies: In<Handle<NodeKind>>, count: usize,
    ) {
        add(driver, node, graph, dependencies, count, Work::Wait)
    }

    /// `cuGraphAddKernelNode` (version 2): 1, 201, 400, 701, 912, as a launch.
    fn cuGraphAddKernelNode_v2(
        driver, node: Out<Handle<NodeKind>>, graph: Handle<GraphKind>, dependencies: In<Handle<NodeKind>>, count: usize,
        parameters: In<KernelNode>,
    ) {
        let given = parameters.get()?;
        let function = if given.function.is_null() { given.kernel.cast() } else { given.function };
        let context = driver.context_or_current(given.context)?;
        let shape = Shape { grid: given.grid, block: given.block, cluster: [1; 3], dynamic_shared: given.shared };
        let prepared = launch::prepare(driver, function, context, shape, given.parameters, given.extra)?;
        add(driver, node, graph, dependencies, count, Work::Kernel(Arc::new(prepared)))
    }

    /// `cuGraphAddHostNode`: 1.
    fn cuGraphAddHostNode(
        driver, node: Out<Handle<NodeKind>>, graph: Handle<GraphKind>, dependencies: In<Handle<NodeKind>>, count: usize,
        parameters: In<HostNode>,
    ) {
        let given = parameters.get()?;
        let function = given.function.ok_or(Code::INVALID_VALUE)?;
        add(driver, node, graph, dependencies, count, Work::Host(Callback { function, data: given.data.0 }))
    }

    /// `cuGraphAddDependencies` (version 2): 1, also for a dependency that is there already.
    fn cuGraphAddDependencies_v2(
        driver, graph: Handle<GraphKind>, from: In<Handle<NodeKind>>, to: In<Handle<NodeKind>>, data: In<u64>, count: usize,
    ) {
        let graph = driver.graphs.get_mut(graph).map_err(|_| Code::INVALID_VALUE)?;
        for (from, to) in from.list(count)?.into_iter().zip(to.list(count)?) {
            let (from, to) = (graph.index(from).ok_or(Code::INVALID_VALUE)?, graph.index(to).ok_or(Code::INVALID_VALUE)?);
            let after = &mut graph.nodes[to].after;
            if from == to || after.contains(&from) {
                return Err(Code::INVALID_VALUE);
            }
            after.push(from);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order_of(order: Order) -> Vec<u64> {
        // A diamond: 1 and 2 after 0, 3 after both.
        let node = |number: u64, after: &[usize]| Node::new(Work::Free(number), after.to_vec());
        let graph = Graph::new(vec![node(0, &[]), node(1, &[0]), node(2, &[0]), node(3, &[1, 2])]);
        let plan = graph.plan(order).expect("no circle");
        plan.work().iter().map(|work| if let Work::Free(number) = work { *number } else { u64::MAX }).collect()
    }

    #[test]
    fn nodes_run_after_those_that_they_wait_for() {
        assert_eq!(order_of(Order::Forward), [0, 1, 2, 3]);
        assert_eq!(order_of(Order::Backward), [0, 2, 1, 3]);
        let shuffled: Vec<_> = (0..16).map(|seed| order_of(Order::Shuffled(seed))).collect();
        assert!(shuffled.contains(&vec![0, 1, 2, 3]) && shuffled.contains(&vec![0, 2, 1, 3]));
    }

    #[test]
    fn a_circle_is_refused() {
        let graph = Graph::new(vec![Node::new(Work::Wait, vec![1]), Node::new(Work::Wait, vec![0])]);
        assert_eq!(graph.plan(Order::Forward).err(), Some(Code::INVALID_VALUE));
    }
}
