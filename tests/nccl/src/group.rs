//! Groups of calls: NCCL user guide, "Group Calls". What is asked for between a start and the end that belongs to it is issued at the
//! end of the outermost group.

use std::cell::RefCell;
use std::sync::Arc;

use crate::code::{Code, Failure, Result};
use crate::collective::Operation;
use crate::communicator::Communicator;

/// A communicator, a stream, and an operation.
type Asked = (Arc<Communicator>, usize, Operation);
/// The work for one communicator: streams and operations.
type OfOne = (Arc<Communicator>, Vec<(usize, Operation)>);

thread_local! {
    /// The depth of the calling thread in groups, and the work that it has asked for there.
    static GROUP: RefCell<(usize, Vec<Asked>)> = RefCell::default();
}

pub(crate) fn start() {
    GROUP.with_borrow_mut(|group| group.0 += 1);
}

/// ncclInvalidUsage where no group was started.
pub(crate) fn end() -> Result<Code> {
    let asked = GROUP.with_borrow_mut(|(depth, asked)| {
        let missing = || Failure::new(Code::INVALID_USAGE, "ncclGroupEnd: not in a group call.");
        *depth = depth.checked_sub(1).ok_or_else(missing)?;
        Ok(if *depth == 0 { std::mem::take(asked) } else { Vec::new() })
    })?;
    issue(asked)
}

/// Whether the calling thread is in a group.
pub(crate) fn is_open() -> bool {
    GROUP.with_borrow(|group| group.0 > 0)
}

/// Asks for an operation: at once, or with its group.
pub(crate) fn ask(communicator: Arc<Communicator>, stream: usize, operation: Operation) -> Result<Code> {
    let asked = (communicator, stream, operation);
    if is_open() {
        GROUP.with_borrow_mut(|group| group.1.push(asked));
        return Ok(Code::SUCCESS);
    }
    issue(vec![asked])
}

fn issue(asked: Vec<Asked>) -> Result<Code> {
    let mut of: Vec<OfOne> = Vec::new();
    for (communicator, stream, operation) in asked {
        match of.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &communicator)) {
            Some((_, operations)) => operations.push((stream, operation)),
            None => of.push((communicator, vec![(stream, operation)])),
        }
    }
    let mut code = Code::SUCCESS;
    for (communicator, operations) in of {
        if communicator.issue(operations)? == Code::IN_PROGRESS {
            code = Code::IN_PROGRESS;
        }
    }
    Ok(code)
}
