//! Basic blocks and post-dominators.

use std::collections::BTreeSet;

use proptest::prelude::*;
use ptx_machine::text::ast::{Instruction, Kernel, Op};
use ptx_machine::text::flow::{Block, Flow};

use crate::front::{kernel, sample_module};

fn flow(line: &str) -> Flow {
    Flow::new(&kernel(line).unwrap_or_else(|error| panic!("{line}: {error}")))
}

fn ipdoms(flow: &Flow) -> Vec<Option<usize>> {
    flow.blocks.iter().map(|block| block.ipdom).collect()
}

#[test]
fn a_branch_around_code_meets_behind_it() {
    // 0: branch; 1: then; 2: else; 3: both.
    let flow = flow("@%p1 bra ELSE; add.u32 %r1, %r1, 1; bra END; ELSE: add.u32 %r1, %r1, 2; END: nanosleep.u32 1;");
    assert_eq!(ipdoms(&flow), [Some(3), Some(3), Some(3), None]);
    assert_eq!(flow.blocks[0].successors, [1, 2]);
    assert_eq!(flow.block_of, [0, 1, 1, 2, 3, 3]);
}

#[test]
fn a_loop_meets_behind_its_end() {
    // 0: before; 1: the loop; 2: behind it.
    let flow = flow("mov.u32 %r1, 0; TOP: add.u32 %r1, %r1, 1; @%p1 bra TOP; nanosleep.u32 1;");
    assert_eq!(ipdoms(&flow), [Some(1), Some(2), None]);
    assert_eq!(flow.blocks[1].successors, [2, 1]);
}

/// Lanes that leave do not come back: those that stay meet nobody.
#[test]
fn a_guarded_exit_ends_a_block() {
    let flow = flow("@%p1 exit; add.u32 %r1, %r1, 1; @!%p2 ret; nanosleep.u32 1;");
    assert_eq!(flow.blocks.len(), 3);
    assert_eq!(ipdoms(&flow), [None, None, None]);
    assert_eq!(flow.blocks[0].successors, [1]);
    assert!(flow.blocks[0].exits && flow.blocks[2].exits);
}

#[test]
fn an_indexed_branch_has_each_target_once() {
    let flow = flow("ts: .branchtargets A, B, A; brx.idx %r1, ts; A: add.u32 %r1, %r1, 1; bra B; B: nanosleep.u32 1;");
    assert_eq!(flow.blocks[0].successors, [1, 2]);
    assert_eq!(ipdoms(&flow), [Some(2), Some(2), None]);
}

#[test]
fn endless_loops_and_unreachable_code_have_an_answer() {
    // 0 may leave; 1 and 2 never do; 3 and the `ret` behind the trap are reached by nothing.
    let flow = flow("@%p1 bra END; TOP: add.u32 %r1, %r1, 1; @%p2 bra TOP; bra TOP; add.u32 %r1, %r1, 3; END: trap;");
    assert_eq!(flow.blocks.len(), 6);
    assert_eq!(ipdoms(&flow)[1..3], [None, None]);
    assert_eq!(flow.blocks[0].ipdom, Some(4), "the only way to the end leads through the last block");
    assert_eq!(flow.blocks[3].ipdom, Some(4));
    assert_eq!(Flow::new(&Kernel::default()), Flow::default());
}

/// Every way to the end from one block, by its definition: remove another block and see whether the end is still reached.
fn post_dominates(blocks: &[Block], by: usize, block: usize) -> bool {
    let mut seen = BTreeSet::new();
    let mut stack = vec![block];
    while let Some(at) = stack.pop() {
        if at == by || !seen.insert(at) {
            continue;
        }
        if blocks[at].exits {
            return false;
        }
        stack.extend(blocks[at].successors.iter().map(|&successor| successor as usize));
    }
    true
}

fn reaches_end(blocks: &[Block], block: usize) -> bool {
    !post_dominates(blocks, usize::MAX, block)
}

/// The immediate post-dominator is the one of the post-dominators that all others post-dominate.
fn check(flow: &Flow) {
    for (block, found) in flow.blocks.iter().map(|block| block.ipdom).enumerate() {
        let all: Vec<usize> =
            (0..flow.blocks.len()).filter(|&by| by != block && post_dominates(&flow.blocks, by, block)).collect();
        let first = all.iter().copied().find(|&by| all.iter().all(|&other| post_dominates(&flow.blocks, other, by)));
        let expected = if reaches_end(&flow.blocks, block) { first } else { None };
        assert_eq!(found, expected, "block {block} of {:?}", flow.blocks);
    }
}

#[test]
fn samples_agree_with_the_definition() {
    for name in ["reduce.ptx", "halves.ptx", "hopper.ptx"] {
        for kernel in sample_module(name).kernels {
            let flow = Flow::new(&kernel);
            assert_eq!(flow.block_of.len(), kernel.body.len());
            check(&flow);
        }
    }
}

proptest! {
    /// Random bodies of branches, exits and other instructions.
    #[test]
    fn random_bodies_agree_with_the_definition(kinds in prop::collection::vec((0u8..6, any::<bool>(), 0u32..40), 1..40)) {
        let guard = kernel("@%p1 exit;").expect("an exit").body[0].guard;
        let length = kinds.len() as u32;
        let body = kinds.into_iter().map(|(kind, guarded, target)| {
            let target = target % (length + 1);
            let op = match kind {
                0 => Op::Bra { target, uniform: false },
                1 => Op::Exit,
                _ => Op::Nanosleep,
            };
            Instruction { guard: guard.filter(|_| guarded), op, place: None, line: 1 }
        });
        check(&Flow::new(&Kernel { body: body.collect(), ..Kernel::default() }));
    }
}
