//! A rank's way from its start to a device that computes with the others: its GPU, the meeting by files, the signs of life, and the
//! library that sums over ranks (NCCL on GPUs, MPI on CPUs).

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};

use super::environment::{self, Started, Way};
use super::flags::Role;
use super::{leave_word_to_another, loss};
use crate::cli::arguments::{DeviceArgs, DeviceChoice, Opened};
use crate::cli::output;
use crate::device::cuda::{self, Driver};
use crate::device::ranks::{Communicator, nccl};
use crate::device::{Backend, Precision, RankOf};
use crate::error::{Error, Result};
use crate::run::RunFolder;
use crate::run::messages::{Verbosity, set_verbosity};
use crate::run::ranks::{LaunchFolder, Lost, Meeting, Met, Pulse, Watch, heartbeat};

/// The meeting may take this many times as long as a rank may be silent: images are read before some of its ranks come.
const MEETING: u32 = 10;

/// The longest wait of MPI's own calls: the leader may measure samples for hours, and the watch finds lost ranks.
#[cfg(feature = "mpi")]
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Time for the watch to find the rank that is gone.
const NAMING: Duration = Duration::from_secs(2);

/// This process among the ranks of one training; or by itself.
pub(crate) struct Ranks {
    place: RankOf,
    pulse: Arc<Pulse>,
    folder: Option<LaunchFolder>,
    /// The run, once there is one: for the message about a rank that is lost.
    run: Arc<OnceLock<PathBuf>>,
    watch: Option<Watch>,
}

impl Ranks {
    /// A process that trains by itself.
    pub(crate) fn alone() -> Ranks {
        Ranks { place: RankOf::ALONE, pulse: Arc::default(), folder: None, run: Arc::default(), watch: None }
    }

    /// Whether this rank writes and speaks.
    pub(crate) fn is_leader(&self) -> bool {
        self.place.is_leader()
    }

    /// The progress of this rank, which the others can see.
    pub(crate) fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    /// The run is in this folder.
    ///
    /// # Errors
    /// [`Error::Io`] where that can't be noted for whoever starts the ranks anew.
    pub(crate) fn train_in(&self, run: &RunFolder) -> Result<()> {
        let _ = self.run.set(run.path().to_path_buf());
        self.folder.as_ref().filter(|_| self.is_leader()).map_or(Ok(()), |folder| folder.note_run(run.path()))
    }

    /// The device, for people: with the number of ranks, where there are several.
    pub(crate) fn describe<B: Backend>(&self, backend: &B) -> String {
        match self.place.world {
            1 => backend.describe(),
            world => format!("{world} ranks, the first on {}", backend.describe()),
        }
    }

    /// Ends as training has: the leader tells its outcome.
    pub(crate) fn finish<T>(self, trained: Result<T>, tell: impl FnOnce(&T) -> Result<()>) -> Result<()> {
        let is_leader = self.is_leader();
        if let Err(Error::Ranks(_)) = &trained {
            // What sums over ranks knows that one is gone, but not which: the watch does, and ends this process with a message that names it.
            std::thread::sleep(NAMING);
        }
        self.end(trained.as_ref().err());
        let trained = trained?;
        if is_leader { tell(&trained) } else { Ok(()) }
    }

    /// The last word of this rank to the others.
    fn end(self, error: Option<&Error>) {
        let Some(watch) = self.watch else { return };
        watch.end(error);
        let error = error.filter(|_| !self.pulse.has_agreed_to_end());
        // What started the ranks of --devices removes its own.
        if let (Some(folder), true, None, None) =
            (self.folder, self.place.is_leader(), error, Launcher::of_this_process())
        {
            folder.remove();
        }
    }
}

/// A device that is open, alone or with those of the other ranks.
pub(crate) struct Joined {
    /// The device.
    pub(crate) opened: Opened,
    /// The choice of the device.
    pub(crate) device: DeviceArgs,
    /// The ranks.
    pub(crate) ranks: Ranks,
}

/// The line of a rank about itself in the meeting.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    /// For messages about it: `cuda:1 on node7, pid 77`.
    name: String,
    /// The machine, as it was started.
    machine: String,
    /// Exit code and message of the error that it has met before.
    error: Option<(i32, String)>,
}

/// Opens the device of this process and, if it is a rank, meets the others. `prepared` is what it has done before: an error there, or
/// with the device, ends all ranks. `outdir` is the folder of the runs.
///
/// # Errors
/// That of this rank, or of the first that has one; a meeting that not all come to.
pub(crate) fn open<T>(
    role: Role,
    patience: Duration,
    outdir: &Path,
    prepared: Result<T>,
    precision: impl Fn(&T) -> Precision,
) -> Result<(Joined, T)> {
    let launcher = Launcher::of_this_process();
    launcher.as_ref().map_or(Ok(()), Launcher::obey)?;
    let (started, device) = match role {
        Role::Rank(started, device) => (started, device),
        Role::Alone(device) => {
            let prepared = prepared?;
            let folder = launcher.map(|launcher| LaunchFolder::open(outdir, &launcher.launch)).transpose()?;
            let opened = device.open_in(precision(&prepared))?;
            return Ok((Joined { opened, device, ranks: Ranks { folder, ..Ranks::alone() } }, prepared));
        }
        Role::Starts(_) => return Err(Error::Internal("the process that starts ranks trains nothing itself".into())),
    };
    if started.rank > 0 {
        set_verbosity(Verbosity::Quiet);
    }
    let opened = prepared.and_then(|prepared| {
        let device = device_of(&started, device)?;
        if matches!(device.device, DeviceChoice::Cuda(_)) {
            nccl::check()?;
        }
        Ok((device.open_in(precision(&prepared))?, device, prepared))
    });
    let folder = LaunchFolder::open(outdir, &started.launch)?;
    if started.rank == 0 {
        LaunchFolder::sweep(outdir);
    }
    let meeting = Meeting::new(&folder, started.rank, started.world, patience * MEETING);
    let All { met, names, is_spread } =
        meet(&meeting, &started, opened.as_ref().map(|(opened, device, _)| (opened, device.device)))?;
    let (opened, device, prepared) = opened?;
    let mut ranks = Ranks { place: RankOf { rank: started.rank, world: started.world }, ..Ranks::alone() };
    let (run, for_end) = (Arc::clone(&ranks.run), folder.clone());
    let on_lost = move |lost: Lost| end_for(&lost, &names, &for_end, run.get().map(PathBuf::as_path));
    let me = heartbeat::Me { rank: started.rank, words: met.words, patience, is_spread };
    ranks.watch = Some(Watch::begin(&folder, me, ranks.pulse(), on_lost)?);
    ranks.folder = Some(folder);
    match with_ranks(opened, &started, &met.gift, patience * MEETING, &ranks.pulse) {
        Ok(opened) => Ok((Joined { opened, device, ranks }, prepared)),
        Err(error) => {
            ranks.end(Some(&error));
            Err(error)
        }
    }
}

/// A rank's knowledge of all ranks, once they have met.
struct All {
    met: Met,
    /// Their names, for messages.
    names: Vec<String>,
    /// Whether they are on several machines.
    is_spread: bool,
}

/// Meets the others, and ends all where one has met an error.
fn meet(
    meeting: &Meeting<'_>,
    started: &Started,
    opened: std::result::Result<(&Opened, DeviceChoice), &Error>,
) -> Result<All> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let device = opened.map_or_else(|_| "no device".into(), |(_, device)| name_of(device));
    let name = format!("{device} on {}, pid {}", host.trim(), std::process::id());
    let error = opened.err().map(|error| (error.exit_code(), error.to_string()));
    let line = serde_json::to_string(&About { name, machine: heartbeat::machine(), error });
    let line = line.map_err(|error| Error::Internal(format!("a rank's line: {error}")))?;
    let met =
        meeting.attend(&line, || opened.map_or_else(|_| Ok(String::new()), |(opened, _)| id_for_ranks(opened)))?;
    let read = |line: &String| {
        let strange = |_| Error::Ranks(format!("the ranks are not all of one version: one says {line}"));
        serde_json::from_str::<About>(line).map_err(strange)
    };
    let all = met.lines.iter().map(read).collect::<Result<Vec<_>>>()?;
    if started.rank > 0 {
        leave_word_to_another();
    }
    let failed = all.iter().enumerate().find_map(|(rank, about)| Some((rank, about.error.clone()?)));
    match failed {
        // The leader's own error is one that it can tell by itself.
        Some((0, _)) if started.rank == 0 => Ok(All { met, names: Vec::new(), is_spread: false }),
        Some((rank, (code, message))) => Err(Error::Elsewhere { rank, code, message }),
        None => {
            let is_spread = all.iter().any(|about| about.machine != all[0].machine);
            Ok(All { met, names: all.into_iter().map(|about| about.name).collect(), is_spread })
        }
    }
}

/// Ends this process for a rank that is lost: its training thread may wait for it for ever. Of all that find it, one speaks.
fn end_for(lost: &Lost, names: &[String], folder: &LaunchFolder, run: Option<&Path>) {
    let what = lost.message(names);
    if *lost != Lost::FoundByAnother && folder.take_verdict(&what) {
        let message = loss::message(&what, run);
        output::error(&message);
        if let Some(run) = run {
            loss::keep(&message, run);
        }
    }
    // Nothing is to be waited for: neither for threads nor for a library that would wait for the lost rank.
    signal_hook::low_level::exit(1);
}

/// The process of `--devices` or `--restart` that has started this one.
struct Launcher {
    /// The name of the start.
    launch: String,
    parent: Option<u32>,
}

impl Launcher {
    fn of_this_process() -> Option<Launcher> {
        let launch = environment::our_launch(&environment::variable)?;
        Some(Launcher {
            launch,
            parent: environment::variable(environment::OUR_PARENT).and_then(|pid| pid.parse().ok()),
        })
    }

    /// Dies with it: ranks without it would train on unseen.
    fn obey(&self) -> Result<()> {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        let refused = |error| Error::Device(format!("can't ask for the signal of a parent's death: {error}"));
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(refused)?;
        let parent = getppid().and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok());
        if self.parent.is_some() && parent != self.parent {
            return Err(Error::Ranks("the process that started this rank has ended".into()));
        }
        Ok(())
    }
}

/// The device of a rank: that of its number among the ranks of its machine.
fn device_of(started: &Started, args: DeviceArgs) -> Result<DeviceArgs> {
    let gpus = || match cuda::driver() {
        Driver::Working(count) => count,
        _ => 0,
    };
    device_among(started, args, gpus)
}

fn device_among(started: &Started, args: DeviceArgs, gpus: impl Fn() -> usize) -> Result<DeviceArgs> {
    let Started { way, local_rank, rank, .. } = *started;
    let device = match args.device {
        // --devices has named it.
        DeviceChoice::Cuda(number) if way == Way::Devices => DeviceChoice::Cuda(number),
        DeviceChoice::Cuda(0) => gpu_of(started, gpus())?,
        DeviceChoice::Cuda(number) => {
            return Err(Error::Usage(format!(
                "--device cuda:{number} would give all ranks of a machine one GPU: pass --device cuda, which takes that of the local rank \
                 (here {local_rank})"
            )));
        }
        DeviceChoice::Auto if gpus() > 0 => gpu_of(started, gpus())?,
        DeviceChoice::Auto | DeviceChoice::Cpu if matches!(way, Way::Mpirun | Way::Srun) => {
            require_mpi(started)?;
            DeviceChoice::Cpu
        }
        DeviceChoice::Auto | DeviceChoice::Cpu => {
            return Err(Error::Usage(format!(
                "rank {rank}, started by {}, would compute on the CPU, and ranks on CPUs need MPI: start them with `mpirun -np N vgan-cuda \
                 train … --device cpu`, or use GPUs",
                way.name()
            )));
        }
    };
    Ok(DeviceArgs { device, ..args })
}

/// The GPU of a rank, of so many that its process is shown.
fn gpu_of(started: &Started, shown: usize) -> Result<DeviceChoice> {
    let Started { way, rank, local_rank, .. } = *started;
    match shown {
        shown if local_rank < shown => Ok(DeviceChoice::Cuda(local_rank)),
        // SLURM shows each task its own, as the first, where it is asked for GPUs by task.
        1 if matches!(way, Way::Srun | Way::Mpirun) => Ok(DeviceChoice::Cuda(0)),
        shown => Err(Error::Device(format!(
            "rank {rank} is number {local_rank} of its machine, counted from 0, and is shown {shown} GPUs: start as many ranks as there are \
             GPUs, and look at CUDA_VISIBLE_DEVICES"
        ))),
    }
}

fn name_of(device: DeviceChoice) -> String {
    match device {
        DeviceChoice::Cuda(number) => format!("cuda:{number}"),
        DeviceChoice::Auto | DeviceChoice::Cpu => "CPU".into(),
    }
}

/// The leader's value by which the others find it: NCCL's id, for GPUs.
fn id_for_ranks(opened: &Opened) -> Result<String> {
    match opened {
        Opened::Cpu(_) | Opened::CpuBf16(_) => Ok(String::new()),
        Opened::Gpu(_) | Opened::GpuBf16(_) => Ok(BASE64_STANDARD.encode(nccl::new_id()?)),
    }
}

/// The device, as one that computes with those of the other ranks.
fn with_ranks(opened: Opened, started: &Started, id: &str, patience: Duration, pulse: &Arc<Pulse>) -> Result<Opened> {
    let place = RankOf { rank: started.rank, world: started.world };
    Ok(match opened {
        Opened::Cpu(cpu) => Opened::Cpu(cpu.with_ranks(communicator(started, pulse)?)),
        Opened::CpuBf16(cpu) => Opened::CpuBf16(cpu.with_ranks(communicator(started, pulse)?)),
        Opened::Gpu(gpu) => {
            gpu.join(&nccl_id(id)?, place, patience)?;
            Opened::Gpu(gpu)
        }
        Opened::GpuBf16(gpu) => {
            gpu.join(&nccl_id(id)?, place, patience)?;
            Opened::GpuBf16(gpu)
        }
    })
}

/// NCCL's id from what the leader has given.
fn nccl_id(text: &str) -> Result<nccl::NcclId> {
    let strange = || Error::Ranks(format!("the leader's id for NCCL is none: {text:?}"));
    BASE64_STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(strange)
}

/// MPI, with the ranks in the order in which they were started.
#[cfg(feature = "mpi")]
fn communicator(started: &Started, pulse: &Arc<Pulse>) -> Result<Arc<dyn Communicator>> {
    use crate::device::ranks::MpiRanks;
    let ranks = MpiRanks::join(FOREVER)?;
    if (ranks.rank(), ranks.world()) != (started.rank, started.world) {
        return Err(Error::Usage(format!(
            "{} says rank {} of {}, and MPI rank {} of {}: start the ranks with the mpirun of the OpenMPI that this program was built \
             with, or with srun --mpi=pmix",
            started.way.name(),
            started.rank,
            started.world,
            ranks.rank(),
            ranks.world()
        )));
    }
    Ok(Arc::new(Counted { ranks, pulse: Arc::clone(pulse) }))
}

/// Without MPI there is none: a rank is refused before it comes here.
#[cfg(not(feature = "mpi"))]
fn communicator(started: &Started, _: &Arc<Pulse>) -> Result<Arc<dyn Communicator>> {
    require_mpi(started)?;
    Err(Error::Internal("MPI that is and is not".into()))
}

/// Refuses a rank on a CPU where this program can't let it talk to the others.
fn require_mpi(started: &Started) -> Result<()> {
    if cfg!(feature = "mpi") {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "rank {} of {} would compute on the CPU, and this program was built without MPI: install OpenMPI (`apt install libopenmpi-dev \
         openmpi-bin libclang-dev`) and build with `cargo build --release --features mpi`, or use GPUs",
        started.rank, started.world
    )))
}

/// Counts how often the training thread goes to meet the others: whoever has come less often is the one that they wait for.
#[cfg(feature = "mpi")]
struct Counted<C> {
    ranks: C,
    pulse: Arc<Pulse>,
}

#[cfg(feature = "mpi")]
impl<C: Communicator> Communicator for Counted<C> {
    fn rank(&self) -> usize {
        self.ranks.rank()
    }
    fn world(&self) -> usize {
        self.ranks.world()
    }
    fn all_gather(&self, part: &[u8], whole: &mut [u8]) -> Result<()> {
        self.pulse.meets();
        self.ranks.all_gather(part, whole)
    }
    fn all_to_all(&self, send: &[u8], receive: &mut [u8]) -> Result<()> {
        self.pulse.meets();
        self.ranks.all_to_all(send, receive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gpu_is_that_of_the_local_rank() {
        let device = |way, local_rank, device: DeviceChoice, gpus: usize| {
            let started = Started { way, rank: 5, world: 8, local_rank, launch: String::new() };
            device_among(&started, device.with_defaults(), || gpus).map(|args| args.device).map_err(|e| e.to_string())
        };
        use DeviceChoice::{Auto, Cpu, Cuda};
        assert_eq!(device(Way::Torchrun, 2, Cuda(0), 4), Ok(Cuda(2)));
        assert_eq!(device(Way::Torchrun, 2, Auto, 4), Ok(Cuda(2)));
        assert_eq!(device(Way::Srun, 3, Auto, 1), Ok(Cuda(0)), "each task is shown its own");
        assert_eq!(device(Way::Devices, 1, Cuda(3), 4), Ok(Cuda(3)));
        for (choice, gpus) in [(Auto, 0), (Cpu, 4)] {
            let found = device(Way::Mpirun, 1, choice, gpus);
            if cfg!(feature = "mpi") {
                assert_eq!(found, Ok(Cpu));
            } else {
                assert!(found.unwrap_err().contains("built without MPI"));
            }
        }
        for (way, local_rank, choice, gpus, part) in [
            (Way::Torchrun, 2, Cuda(1), 4, "pass --device cuda"),
            (Way::Torchrun, 2, Auto, 2, "is shown 2 GPUs"),
            (Way::Torchrun, 1, Cuda(0), 1, "is shown 1 GPUs"),
            (Way::Torchrun, 1, Cpu, 2, "ranks on CPUs need MPI"),
            (Way::Torchrun, 1, Auto, 0, "ranks on CPUs need MPI"),
        ] {
            let error = device(way, local_rank, choice, gpus).unwrap_err();
            assert!(error.contains(part), "{error}\nlacks {part}");
        }
    }
}
