//! The places of a kernel's variables.

use std::collections::HashMap;

use super::operands;
use crate::text::ast;

/// The places of a kernel's variables in shared and local memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layout {
    /// Offsets of [`ast::Module::variables`] in shared memory, where they are there.
    pub(crate) module_shared: HashMap<u32, u32>,
    /// Offsets of [`ast::Kernel::variables`].
    pub(crate) kernel: Vec<u32>,
    /// Bytes of shared memory without dynamic variables.
    pub(crate) shared: u32,
    /// Shared memory between variables: first byte, and the one behind the last.
    pub(crate) gaps: Vec<(u32, u32)>,
    /// Bytes of local memory of a thread.
    pub(crate) local: u32,
    /// Offset and bytes of each parameter.
    pub(crate) parameters: Vec<(u32, u32)>,
    /// Bytes between two variables of shared memory beside those that alignment asks for; 0 where they lie as hardware has them.
    gap: u32,
}

/// Shared memory that is given away for gaps: with the most that a block may have, addresses stay below 2^18, which descriptors of
/// matrices can hold.
const ALL_GAPS: u32 = 16 << 10;

impl Layout {
    /// Lays out a kernel's variables. Variables at module scope that the kernel does not name get no memory. `apart`: with gaps between
    /// those of shared memory, for the checks. Sizes that 32 bits do not hold end at their greatest value, which is refused as too large.
    pub(crate) fn new(kernel: &ast::Kernel, variables: &[ast::Variable], apart: bool) -> Layout {
        let mut layout = Layout::default();
        if apart {
            // Multiples of 1024 and of every alignment: neither banks nor swizzles change.
            let shared = variables.iter().chain(&kernel.variables).filter(|variable| is_shared(variable));
            layout.gap = shared.map(|variable| variable.align).fold(1024, u32::max);
        }
        let mut offset = 0;
        for parameter in &kernel.parameters {
            offset = aligned(offset, parameter.align);
            layout.parameters.push((offset, bytes_of(parameter)));
            offset = offset.saturating_add(bytes_of(parameter));
        }
        let named = named_variables(kernel);
        let mut dynamic: Vec<(Option<u32>, usize, u32)> = Vec::new();
        for (at, variable) in variables.iter().enumerate() {
            if is_shared(variable) && named.contains(&(at as u32)) {
                if variable.dynamic {
                    dynamic.push((Some(at as u32), 0, variable.align));
                } else {
                    let start = layout.add_shared(variable);
                    layout.module_shared.insert(at as u32, start);
                }
            }
        }
        for (at, variable) in kernel.variables.iter().enumerate() {
            let start = match variable.space {
                _ if variable.dynamic => {
                    dynamic.push((None, at, variable.align));
                    0
                }
                ast::Space::Shared => layout.add_shared(variable),
                _ => {
                    let start = aligned(layout.local, variable.align);
                    layout.local = start.saturating_add(bytes_of(variable));
                    start
                }
            };
            layout.kernel.push(start);
        }
        // All dynamic variables begin at one place, as they do in CUDA.
        let align = dynamic.iter().map(|&(.., align)| align.max(1)).max().unwrap_or(1);
        let behind = layout.shared;
        layout.shared = aligned(behind, align);
        if !dynamic.is_empty() {
            layout.leave_gap(behind);
        }
        for (module, at, _) in dynamic {
            match module {
                Some(at) => {
                    layout.module_shared.insert(at, layout.shared);
                }
                None => layout.kernel[at] = layout.shared,
            }
        }
        layout.local = aligned(layout.local, 16);
        layout
    }

    fn add_shared(&mut self, variable: &ast::Variable) -> u32 {
        let behind = self.shared;
        self.shared = aligned(behind, variable.align);
        self.leave_gap(behind);
        let start = self.shared;
        self.shared = start.saturating_add(bytes_of(variable));
        start
    }

    /// Moves the end of shared memory on, so that what comes next lies apart from what ends at `behind`.
    fn leave_gap(&mut self, behind: u32) {
        let given: u32 = self.gaps.len() as u32 * self.gap;
        if self.gap == 0 || behind == 0 || given.saturating_add(self.gap) > ALL_GAPS {
            return;
        }
        self.shared += self.gap;
        self.gaps.push((behind, self.shared));
    }
}

fn bytes_of(variable: &ast::Variable) -> u32 {
    u32::try_from(variable.bytes).unwrap_or(u32::MAX)
}

fn aligned(offset: u32, align: u32) -> u32 {
    offset.checked_next_multiple_of(align.max(1)).unwrap_or(u32::MAX)
}

fn is_shared(variable: &ast::Variable) -> bool {
    matches!(variable.space, ast::Space::Shared)
}

/// The variables at module scope that a kernel names.
fn named_variables(kernel: &ast::Kernel) -> Vec<u32> {
    let mut found = Vec::new();
    for instruction in &kernel.body {
        operands::each_operand(&instruction.op, &mut |operand| {
            if let ast::Operand::Symbol(ast::Symbol::Module(at), _) = operand {
                found.push(*at);
            }
        });
    }
    found.sort_unstable();
    found.dedup();
    found
}
