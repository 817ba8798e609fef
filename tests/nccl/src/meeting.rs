//! The meeting place of ranks: a folder of shared memory that is named by the unique id.
//!
//! `rank-R` says who a rank is. Its holder has it locked for as long as it lives, so that the kernel tells the others when it has died.
//! `left-R` says that it went in good order. `N-R` is what rank R gives to collective number N: the operation in a line, then bytes. It
//! can go when R has finished collective N + 1, since all others have then finished N.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::code::{Code, Failure, Result};
use crate::settings::settings;

/// The prefix of each `ncclUniqueId` of this library.
const PREFIX: &str = "nccl-standin-";
/// `NCCL_UNIQUE_ID_BYTES`.
pub(crate) const ID_BYTES: usize = 128;

/// A new id: the name of a folder that is not there yet.
pub(crate) fn new_id() -> Result<[u8; ID_BYTES]> {
    let mut random = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut random))
        .map_err(system)?;
    let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut id = [0; ID_BYTES];
    let text = format!("{PREFIX}{name}");
    id[..text.len()].copy_from_slice(text.as_bytes());
    Ok(id)
}

fn folder_of(id: &[u8; ID_BYTES]) -> Result<PathBuf> {
    let text: String = id.iter().take_while(|byte| **byte != 0).map(|byte| *byte as char).collect();
    match text.strip_prefix(PREFIX) {
        Some(rest) if rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Ok(settings()?.folder.join(text))
        }
        _ => Err(Failure::new(Code::INVALID_ARGUMENT, "the id is none that ncclGetUniqueId gave")),
    }
}

fn system(error: std::io::Error) -> Failure {
    Failure::new(Code::SYSTEM_ERROR, format!("Error: {error}"))
}

/// Who a rank is, as its file says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who {
    /// The number of ranks that it was told of.
    pub(crate) ranks: usize,
    /// The address of its GPU on the bus.
    pub(crate) bus: String,
    /// The version of its library.
    pub(crate) version: i32,
}

/// The values that one rank gives to a collective.
#[derive(Debug)]
pub(crate) struct Given {
    /// The operation in words: the same on all ranks.
    pub(crate) operation: String,
    pub(crate) bytes: Vec<u8>,
}

/// The health of another rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Alive,
    Left,
    Dead,
}

/// One rank's place at the meeting.
#[derive(Debug)]
pub(crate) struct Meeting {
    folder: PathBuf,
    rank: usize,
    ranks: usize,
    /// Locked for as long as this rank is there.
    _own: File,
}

impl Meeting {
    /// Comes to the meeting that an id names.
    pub(crate) fn come(id: &[u8; ID_BYTES], rank: usize, who: &Who) -> Result<Meeting> {
        let folder = folder_of(id)?;
        fs::create_dir_all(&folder).map_err(system)?;
        // Locked and written before others can see it.
        let hidden = folder.join(format!("coming-{rank}-{}-{:?}", std::process::id(), std::thread::current().id()));
        let mut own = File::create(&hidden).map_err(system)?;
        own.lock().map_err(system)?;
        own.write_all(format!("{} {} {}", who.ranks, who.version, who.bus).as_bytes()).map_err(system)?;
        let shown = fs::hard_link(&hidden, folder.join(format!("rank-{rank}")));
        let _ = fs::remove_file(&hidden);
        match shown {
            Ok(()) => Ok(Meeting { folder, rank, ranks: who.ranks, _own: own }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Failure::new(
                Code::INTERNAL_ERROR,
                format!("Bootstrap Root : rank {rank} of {} ranks has already checked in", who.ranks),
            )),
            Err(error) => Err(system(error)),
        }
    }

    /// Who the others are, as soon as all are there; the number of one that is missing else.
    pub(crate) fn all(&self) -> Result<std::result::Result<Vec<Who>, usize>> {
        let mut all = Vec::with_capacity(self.ranks);
        for rank in 0..self.ranks {
            let Some(text) = read(&self.folder.join(format!("rank-{rank}")))? else { return Ok(Err(rank)) };
            let text = String::from_utf8_lossy(&text).into_owned();
            let mut words = text.splitn(3, ' ');
            let mut number = || words.next().and_then(|word| word.parse().ok());
            let (Some(ranks), Some(version)) = (number(), number()) else {
                return Err(Failure::new(Code::INTERNAL_ERROR, format!("the file of rank {rank} holds {text:?}")));
            };
            let ranks = usize::try_from(ranks).unwrap_or(0);
            all.push(Who { ranks, version, bus: words.next().unwrap_or_default().to_string() });
        }
        Ok(Ok(all))
    }

    /// Gives to collective `number`.
    pub(crate) fn give(&self, number: u64, given: &Given) -> Result {
        let hidden = self.folder.join(format!("giving-{}", self.rank));
        let mut bytes = format!("{}\n", given.operation).into_bytes();
        bytes.extend_from_slice(&given.bytes);
        fs::write(&hidden, bytes).map_err(system)?;
        fs::rename(hidden, self.given(number, self.rank)).map_err(system)
    }

    /// The values that a rank has given to collective `number`, once it has.
    pub(crate) fn take(&self, number: u64, rank: usize) -> Result<Option<Given>> {
        let Some(mut bytes) = read(&self.given(number, rank))? else { return Ok(None) };
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        let operation = String::from_utf8_lossy(&bytes[..end]).into_owned();
        bytes.drain(..(end + 1).min(bytes.len()));
        Ok(Some(Given { operation, bytes }))
    }

    /// Collective `number` is done here: all have finished the one before it.
    pub(crate) fn done(&self, number: u64) {
        if let Some(before) = number.checked_sub(1) {
            let _ = fs::remove_file(self.given(before, self.rank));
        }
    }

    fn given(&self, number: u64, rank: usize) -> PathBuf {
        self.folder.join(format!("{number}-{rank}"))
    }

    /// The health of another rank, which came at some time.
    pub(crate) fn health(&self, rank: usize) -> Health {
        if self.folder.join(format!("left-{rank}")).exists() {
            return Health::Left;
        }
        let Ok(file) = File::open(self.folder.join(format!("rank-{rank}"))) else { return Health::Alive };
        match file.try_lock() {
            Ok(()) => Health::Dead,
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => Health::Alive,
        }
    }

    /// Leaves in good order. The last one takes the folder away.
    pub(crate) fn leave(self) {
        let _ = File::create(self.folder.join(format!("left-{}", self.rank)));
        let others = (0..self.ranks).filter(|rank| *rank != self.rank);
        let came = |rank: &usize| self.folder.join(format!("rank-{rank}")).exists();
        if others.into_iter().all(|rank| came(&rank) && self.health(rank) != Health::Alive) {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// The bytes of a file, if it is there.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(system(error)),
    }
}
