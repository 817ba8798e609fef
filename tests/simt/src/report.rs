//! The findings of a launch, as data and as text.

use std::fmt;
use std::path::PathBuf;

/// The kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Two threads of a block touch a byte of shared memory, one writes, and no barrier lies between.
    SharedRace,
    /// The same, of global memory.
    GlobalRace,
    /// Two blocks touch a byte of global memory, and one writes without an atomic.
    BlockRace,
    /// A read of shared memory that no thread of this block has written.
    UninitialisedShared,
    /// A read of global memory that nobody has written.
    UninitialisedGlobal,
    /// An access to shared memory beside all of the block's arrays.
    OutOfBoundsShared,
    /// An access beside all buffers.
    OutOfBoundsGlobal,
    /// An address that is no multiple of what the access needs.
    Misaligned,
    /// A barrier of the block that not all of its threads reach, or that they reach on different lines.
    DivergentBarrier,
    /// An operation of the warp that not all lanes of its mask reach.
    DivergentCollective,
    /// Threads that wait for each other have come to different operations, or to one with a wrong operand.
    MismatchedCollective,
    /// A shuffle from a lane outside its mask, or a mask without the calling lane.
    InactiveLane,
    /// Shared memory is touched while a cp.async into it is under way.
    PendingCopy,
    /// An atomic addition of floats: its result depends on the order.
    FloatAtomic,
    /// More shared memory than a GPU has.
    SharedLimit,
    /// More threads than a GPU or the kernel's bound allows, or an impossible grid.
    BlockLimit,
    /// Arguments that do not fit the kernel's parameters.
    Arguments,
    /// No kernel of this name.
    UnknownKernel,
    /// A failed `assert`.
    AssertFailed,
    /// `__trap`.
    Trap,
    /// The processor trapped: division by zero, overflow of the stack, an invalid instruction.
    Fault,
    /// A thread touches another's local variables.
    ForeignStack,
    /// A launch that does not end in its time: perhaps a loop that waits for what another thread or block does.
    TimeLimit,
}

impl Kind {
    /// In the runtime's numbering.
    pub(crate) const ALL: [Kind; 23] = [
        Kind::SharedRace,
        Kind::GlobalRace,
        Kind::BlockRace,
        Kind::UninitialisedShared,
        Kind::UninitialisedGlobal,
        Kind::OutOfBoundsShared,
        Kind::OutOfBoundsGlobal,
        Kind::Misaligned,
        Kind::DivergentBarrier,
        Kind::DivergentCollective,
        Kind::MismatchedCollective,
        Kind::InactiveLane,
        Kind::PendingCopy,
        Kind::FloatAtomic,
        Kind::SharedLimit,
        Kind::BlockLimit,
        Kind::Arguments,
        Kind::UnknownKernel,
        Kind::AssertFailed,
        Kind::Trap,
        Kind::Fault,
        Kind::ForeignStack,
        Kind::TimeLimit,
    ];

    fn words(self) -> &'static str {
        match self {
            Kind::SharedRace => "race in shared memory",
            Kind::GlobalRace => "race in global memory",
            Kind::BlockRace => "race between blocks",
            Kind::UninitialisedShared => "read of shared memory that nobody wrote",
            Kind::UninitialisedGlobal => "read of global memory that nobody wrote",
            Kind::OutOfBoundsShared => "access outside the block's shared memory",
            Kind::OutOfBoundsGlobal => "access outside all buffers",
            Kind::Misaligned => "misaligned access",
            Kind::DivergentBarrier => "barrier in divergent code",
            Kind::DivergentCollective => "warp operation in divergent code",
            Kind::MismatchedCollective => "operations that do not match",
            Kind::InactiveLane => "lane outside the mask",
            Kind::PendingCopy => "shared memory touched while cp.async is under way",
            Kind::FloatAtomic => "float atomic",
            Kind::SharedLimit => "too much shared memory",
            Kind::BlockLimit => "impossible block or grid",
            Kind::Arguments => "wrong arguments",
            Kind::UnknownKernel => "unknown kernel",
            Kind::AssertFailed => "assertion failed",
            Kind::Trap => "__trap",
            Kind::Fault => "fault",
            Kind::ForeignStack => "access to another thread's local variable",
            Kind::TimeLimit => "it does not end",
        }
    }
}

/// The action of threads at a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// A plain read.
    Reads,
    /// A plain write.
    Writes,
    /// An atomic read and write.
    WritesAtomically,
    /// They wait here or, for findings about one thread alone, are here.
    Waits,
    /// They have left the kernel.
    Exited,
    /// The declaration of shared memory.
    Declares,
    /// A cp.async.
    Copies,
    /// The host's launch.
    Launches,
}

impl Role {
    /// In the runtime's numbering.
    pub(crate) const ALL: [Role; 8] = [
        Role::Reads,
        Role::Writes,
        Role::WritesAtomically,
        Role::Waits,
        Role::Exited,
        Role::Declares,
        Role::Copies,
        Role::Launches,
    ];
}

/// A line of a source file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The file, as the compiler was given it.
    pub file: PathBuf,
    /// From 1.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// One place in a kernel with the threads that were there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Their action.
    pub role: Role,
    /// Of which block.
    pub block: [u32; 3],
    /// Their linear indices in the block, ascending.
    pub threads: Vec<u32>,
    /// The line and, after it, the lines that it was inlined into. Empty where there is none to be found.
    pub places: Vec<Place>,
    /// The thing that they wait for, or empty.
    pub detail: String,
}

/// An address in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The name of the buffer, or "shared memory"; empty where no buffer is near.
    pub buffer: String,
    /// Bytes from its start; beyond its end if the access was.
    pub offset: i64,
    /// The buffer's size in bytes.
    pub bytes: u64,
    /// As the kernel had it.
    pub raw: u64,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub kind: Kind,
    /// In which kernel.
    pub kernel: String,
    /// The sites, with the threads: first the access or barrier that it was found at, then those that it collides with.
    pub sites: Vec<Site>,
    /// The accessed address.
    pub address: Option<Address>,
    /// The number of accessed bytes; for a misaligned access, the alignment that it needs.
    pub bytes: u32,
    /// The number of times that it was seen in this launch, by any threads.
    pub count: u32,
    /// Further details, or empty.
    pub detail: String,
}

impl Finding {
    /// The line that it was found at.
    pub fn place(&self) -> Option<&Place> {
        self.sites.first().and_then(|site| site.places.first())
    }
}

/// All that one launch did wrong: at least one finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// In the order of their discovery.
    pub findings: Vec<Finding>,
}

impl Report {
    /// One finding about a call of the host's.
    pub(crate) fn of_host(kind: Kind, kernel: &str, detail: String) -> Report {
        let finding = Finding { kind, kernel: kernel.into(), sites: vec![], address: None, bytes: 0, count: 1, detail };
        Report { findings: vec![finding] }
    }

    /// Whether a finding of this kind is among them.
    pub fn has(&self, kind: Kind) -> bool {
        self.findings.iter().any(|finding| finding.kind == kind)
    }
}

impl std::error::Error for Report {}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{finding}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kernel, self.kind.words())?;
        if let Some(address) = &self.address {
            match self.kind {
                Kind::Misaligned => write!(f, ", aligned to {} bytes needed: {address}", self.bytes)?,
                _ if self.bytes > 0 => write!(f, ", {} bytes: {address}", self.bytes)?,
                _ => write!(f, ": {address}")?,
            }
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        if self.count > 1 {
            write!(f, " ({} times)", self.count)?;
        }
        for site in &self.sites {
            if site.role != Role::Launches {
                write!(f, "\n    {site}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.buffer.is_empty() {
            return write!(f, "address {:#x}, near no buffer", self.raw);
        }
        match (self.buffer.as_str(), self.bytes) {
            (name, 0) => write!(f, "{name} + {}", self.offset),
            (name, bytes) => write!(f, "{name} + {} (of {bytes} bytes)", self.offset),
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, y, z] = self.block;
        if !self.threads.is_empty() {
            write!(f, "block ({x}, {y}, {z}) {} ", ranges(&self.threads))?;
        } else if self.role == Role::Waits {
            f.write_str("some ")?;
        }
        let plural = self.threads.len() != 1;
        let verb = match (self.role, plural) {
            (Role::Reads, _) => "reads",
            (Role::Writes, _) => "writes",
            (Role::WritesAtomically, _) => "writes atomically",
            (Role::Waits, _) if self.detail.is_empty() => "is",
            (Role::Waits, false) => "is in",
            (Role::Waits, true) => "are in",
            (Role::Exited, false) => "has left the kernel",
            (Role::Exited, true) => "have left the kernel",
            (Role::Declares, _) => "declares",
            (Role::Copies, _) => "began the copy",
            (Role::Launches, _) => "launches",
        };
        f.write_str(verb)?;
        if !self.detail.is_empty() {
            write!(f, " {}", self.detail)?;
        }
        for (index, place) in self.places.iter().enumerate() {
            write!(f, "{}{place}", if index == 0 { " at " } else { ", inlined at " })?;
        }
        Ok(())
    }
}

/// "thread 3", "threads 0-31, 40".
fn ranges(threads: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &thread in threads {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == thread => *last = thread,
            _ => runs.push((thread, thread)),
        }
    }
    let mut words: Vec<String> = runs
        .iter()
        .map(|&(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
        .collect();
    if words.len() > 8 {
        words.truncate(8);
        words.push("…".into());
    }
    format!("{} {}", if threads.len() == 1 { "thread" } else { "threads" }, words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_written_as_ranges() {
        assert_eq!(ranges(&[3]), "thread 3");
        assert_eq!(ranges(&[0, 1, 2, 7, 9, 10]), "threads 0-2, 7, 9-10");
        let odd: Vec<u32> = (0..100).map(|i| 2 * i).collect();
        assert!(ranges(&odd).ends_with("14, …"));
    }
}
