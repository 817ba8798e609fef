//! Basic blocks of a kernel, and where the lanes of a warp meet again after a branch.
//!
//! Lanes that take different ways meet at the branch's immediate post-dominator: the first block that all ways to the kernel's
//! end lead through. Post-dominators are found by the iterative algorithm of Cooper, Harvey and Kennedy ("A Simple, Fast
//! Dominance Algorithm"), on the reversed graph, from a virtual block at the kernel's end.

use super::ast::{Kernel, Op};

/// Instructions that are carried out one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its first instruction, an index into [`Kernel::body`].
    pub first: u32,
    /// The index behind its last one.
    pub end: u32,
    /// The blocks that follow, each once. A guarded branch: the next block, then the target. Empty: the kernel ends.
    pub successors: Vec<u32>,
    /// Whether the kernel may end here for some lanes: a guarded `exit` or `ret`, or the body's end.
    pub exits: bool,
    /// Its immediate post-dominator. `None`: the kernel's end, or no way leads there.
    pub ipdom: Option<usize>,
}

/// A kernel's control flow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flow {
    /// The blocks, in the order of the text. The first is where the kernel begins; there is none where the body is empty.
    pub blocks: Vec<Block>,
    /// The block of each instruction.
    pub block_of: Vec<u32>,
}

impl Flow {
    /// The control flow of a kernel.
    pub fn new(kernel: &Kernel) -> Flow {
        let (mut blocks, block_of) = blocks(kernel);
        for block in &mut blocks {
            (block.successors, block.exits) = successors(kernel, &block_of, block.end as usize - 1);
        }
        for (block, ipdom) in post_dominators(&blocks).into_iter().enumerate() {
            blocks[block].ipdom = ipdom;
        }
        Flow { blocks, block_of }
    }
}

/// Cuts a body before each target of a branch, and behind what does not simply go on.
fn blocks(kernel: &Kernel) -> (Vec<Block>, Vec<u32>) {
    let body = &kernel.body;
    // One more for targets at the body's end.
    let mut begins = vec![false; body.len() + 1];
    begins[0] = true;
    for (i, instruction) in body.iter().enumerate() {
        match &instruction.op {
            Op::Bra { target, .. } => begins[*target as usize] = true,
            Op::BrxIdx { targets, .. } => targets.iter().for_each(|&target| begins[target as usize] = true),
            Op::Exit | Op::Trap => {}
            _ => continue,
        }
        begins[i + 1] = true;
    }
    let mut blocks: Vec<Block> = Vec::new();
    let mut block_of = Vec::with_capacity(body.len());
    for (i, &begins) in begins.iter().enumerate().take(body.len()) {
        if begins {
            let first = i as u32;
            blocks.push(Block { first, end: first, successors: Vec::new(), exits: false, ipdom: None });
        }
        block_of.push(blocks.len() as u32 - 1);
        if let Some(block) = blocks.last_mut() {
            block.end = i as u32 + 1;
        }
    }
    (blocks, block_of)
}

/// The blocks that follow a block by its last instruction, and whether the kernel may end behind it.
fn successors(kernel: &Kernel, block_of: &[u32], last: usize) -> (Vec<u32>, bool) {
    let instruction = &kernel.body[last];
    let goes_on = instruction.guard.is_some() || !ends(&instruction.op);
    let mut next: Vec<usize> = if goes_on { vec![last + 1] } else { Vec::new() };
    match &instruction.op {
        Op::Bra { target, .. } => next.push(*target as usize),
        Op::BrxIdx { targets, .. } => next.extend(targets.iter().map(|&target| target as usize)),
        _ => {}
    }
    let mut exits = matches!(instruction.op, Op::Exit | Op::Trap);
    let mut successors = Vec::with_capacity(next.len());
    for instruction in next {
        match block_of.get(instruction) {
            Some(block) if successors.contains(block) => {}
            Some(&block) => successors.push(block),
            None => exits = true,
        }
    }
    (successors, exits)
}

/// Whether the next instruction follows only where a guard is false.
fn ends(op: &Op) -> bool {
    matches!(op, Op::Bra { .. } | Op::BrxIdx { .. } | Op::Exit | Op::Trap)
}

/// Immediate post-dominators. The virtual end has the number `blocks.len()`.
fn post_dominators(blocks: &[Block]) -> Vec<Option<usize>> {
    let end = blocks.len();
    let leads_to: Vec<Vec<usize>> = blocks
        .iter()
        .map(|block| {
            let successors = block.successors.iter().map(|&successor| successor as usize);
            successors.chain(block.exits.then_some(end)).collect()
        })
        .collect();
    let mut comes_from = vec![Vec::new(); end + 1];
    for (block, successors) in leads_to.iter().enumerate() {
        for &successor in successors {
            comes_from[successor].push(block);
        }
    }
    let order = postorder(&comes_from, end);
    let mut number = vec![usize::MAX; end + 1];
    for (i, &block) in order.iter().enumerate() {
        number[block] = i;
    }
    // Blocks from which no way leads to the end are not in the order and stay without.
    let mut ipdom = vec![None; end + 1];
    ipdom[end] = Some(end);
    let mut changed = true;
    while changed {
        changed = false;
        for &block in order.iter().rev().filter(|&&block| block != end) {
            let known = leads_to[block].iter().copied().filter(|&successor| ipdom[successor].is_some());
            let new = known.reduce(|a, b| intersect(a, b, &ipdom, &number));
            if new != ipdom[block] {
                ipdom[block] = new;
                changed = true;
            }
        }
    }
    ipdom.truncate(end);
    ipdom.into_iter().map(|block| block.filter(|&block| block != end)).collect()
}

/// The first block that both lie below in the tree as it is known so far.
fn intersect(mut a: usize, mut b: usize, ipdom: &[Option<usize>], number: &[usize]) -> usize {
    while a != b {
        while number[a] < number[b] {
            a = ipdom[a].unwrap_or(b);
        }
        while number[b] < number[a] {
            b = ipdom[b].unwrap_or(a);
        }
    }
    a
}

/// The blocks that a walk from one of them reaches, each behind those that it leads to. With a stack of its own: bodies are long.
fn postorder(edges: &[Vec<usize>], start: usize) -> Vec<usize> {
    let mut seen = vec![false; edges.len()];
    let mut order = Vec::with_capacity(edges.len());
    let mut stack = vec![(start, 0)];
    seen[start] = true;
    while let Some((block, next)) = stack.last_mut() {
        match edges[*block].get(*next) {
            Some(&target) => {
                *next += 1;
                if !seen[target] {
                    seen[target] = true;
                    stack.push((target, 0));
                }
            }
            None => {
                order.push(*block);
                stack.pop();
            }
        }
    }
    order
}
