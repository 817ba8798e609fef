//! The rank of this process, and the number of ranks: from the variables of the program that started it.
//!
//! | start | variables |
//! |---|---|
//! | `train --devices` | those of [`OURS`] |
//! | torchrun | RANK, WORLD_SIZE, LOCAL_RANK; MASTER_ADDR, MASTER_PORT, TORCHELASTIC_RUN_ID, TORCHELASTIC_RESTART_COUNT |
//! | mpirun of OpenMPI | OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE, OMPI_COMM_WORLD_LOCAL_RANK |
//! | srun | SLURM_PROCID, SLURM_LOCALID, SLURM_STEP_NUM_TASKS; SLURM_JOB_ID, SLURM_STEP_ID |
//!
//! Several of them may be set at once: torchrun is started by srun or mpirun, mpirun in an allocation of SLURM. The innermost counts.

use crate::error::{Error, Result};

/// The program that started this process as one of several ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `train --devices`, or a start that is watched by `--restart`.
    Devices,
    /// PyTorch's torchrun.
    Torchrun,
    /// OpenMPI's mpirun, or another one that sets its variables.
    Mpirun,
    /// SLURM's srun.
    Srun,
}

impl Way {
    /// The command, for messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Devices => "--devices",
            Way::Torchrun => "torchrun",
            Way::Mpirun => "mpirun",
            Way::Srun => "srun",
        }
    }
}

/// One rank of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Started {
    /// The program that started it.
    pub(crate) way: Way,
    /// 0 is the leader.
    pub(crate) rank: usize,
    /// Number of ranks.
    pub(crate) world: usize,
    /// The rank among those of this machine.
    pub(crate) local_rank: usize,
    /// A text that all ranks of this start have in common and, as far as the start says anything, those of no other start have.
    pub(crate) launch: String,
}

/// The variables by which `--devices` tells a process its rank.
pub(crate) const OURS: Names =
    Names { rank: "VGAN_CUDA_RANK", world: "VGAN_CUDA_WORLD", local: "VGAN_CUDA_LOCAL_RANK" };
/// The values that `--devices` adds to them: a name of the start, and its own process number.
pub(crate) const OUR_LAUNCH: &str = "VGAN_CUDA_LAUNCH";
pub(crate) const OUR_PARENT: &str = "VGAN_CUDA_LAUNCHER";

const TORCHRUN: Names = Names { rank: "RANK", world: "WORLD_SIZE", local: "LOCAL_RANK" };
const OPEN_MPI: Names =
    Names { rank: "OMPI_COMM_WORLD_RANK", world: "OMPI_COMM_WORLD_SIZE", local: "OMPI_COMM_WORLD_LOCAL_RANK" };
const SLURM: Names = Names { rank: "SLURM_PROCID", world: "SLURM_STEP_NUM_TASKS", local: "SLURM_LOCALID" };

/// The three variables that make a rank.
pub(crate) struct Names {
    pub(crate) rank: &'static str,
    pub(crate) world: &'static str,
    pub(crate) local: &'static str,
}

impl Names {
    fn all(&self) -> [&'static str; 3] {
        [self.rank, self.world, self.local]
    }
}

/// Reads variables; an empty one is one that is not set.
struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_string()).filter(|value| !value.is_empty())
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// `NAME=value`, or that it is not set.
    fn shown(&self, name: &str) -> String {
        self.get(name).map_or_else(|| format!("no {name}"), |value| format!("{name}={value}"))
    }

    fn all_shown(&self, names: &[&str]) -> String {
        names.iter().map(|name| self.shown(name)).collect::<Vec<_>>().join(", ")
    }

    /// The rank that these variables say, in the order rank, world, local rank.
    fn rank(&self, way: Way, names: &Names, local_world: Option<&str>) -> Result<[usize; 3]> {
        let found = || self.all_shown(&names.all());
        let advice = "start all ranks in the same way, or unset these variables for a run on one device";
        if !names.all().iter().all(|name| self.has(name)) {
            let expected = names.all().join(", ");
            return Err(Error::Usage(format!(
                "this looks like a rank started by {}: expected {expected}, found {}: {advice}",
                way.name(),
                found()
            )));
        }
        let number = |name: &str| self.get(name).and_then(|value| value.parse::<usize>().ok());
        let wrong = |expected: &str| {
            Error::Usage(format!("a rank started by {}: expected {expected}, found {}: {advice}", way.name(), found()))
        };
        let numbers = names.all().map(number);
        let [Some(rank), Some(world), Some(local)] = numbers else { return Err(wrong("whole numbers")) };
        if !(1..=MOST_RANKS).contains(&world) {
            return Err(wrong(&format!("1 to {MOST_RANKS} ranks")));
        }
        if rank >= world {
            return Err(wrong("a rank below the number of ranks"));
        }
        let here = local_world.and_then(number).unwrap_or(world);
        if local >= here {
            return Err(wrong(&format!("a local rank below {here}")));
        }
        Ok([rank, world, local])
    }
}

/// More is a mistake in a variable.
const MOST_RANKS: usize = 65_536;

/// This process's rank, or `None` where it is alone: started by hand, or as the only rank.
///
/// # Errors
/// [`Error::Usage`] where only some of the variables of a start are set, or where they contradict each other.
pub(crate) fn started(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Started>> {
    let found = innermost(&Variables(variable))?;
    Ok(found.filter(|started| started.world > 1))
}

/// Whether another process of this program has started this one, even as the only rank.
pub(crate) fn is_started_by_us(variable: &dyn Fn(&str) -> Option<String>) -> bool {
    Variables(variable).has(OURS.world)
}

/// A variable of this process.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The name of the start where it was one of ours, even of a single rank.
pub(crate) fn our_launch(variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let found = innermost(&Variables(variable)).ok()??;
    (found.way == Way::Devices).then_some(found.launch)
}

fn innermost(variables: &Variables<'_>) -> Result<Option<Started>> {
    let has_any = |names: &Names| names.all().iter().any(|name| variables.has(name));
    let of = |way, names: &Names, local_world, parts: &[&str]| {
        let [rank, world, local_rank] = variables.rank(way, names, local_world)?;
        let parts = parts.iter().filter_map(|name| variables.get(name));
        let launch = [way.name().to_string(), world.to_string()].into_iter().chain(parts).collect::<Vec<_>>().join(" ");
        Ok(Started { way, rank, world, local_rank, launch })
    };
    if has_any(&OURS) {
        return of(Way::Devices, &OURS, None, &[OUR_LAUNCH]).map(Some);
    }
    // SLURM sets SLURM_PROCID in the shell of a batch job, too, which is no step of srun and one process.
    let slurm = if variables.has(SLURM.world) && variables.has(SLURM.rank) {
        let parts = ["SLURM_CLUSTER_NAME", "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"];
        Some(of(Way::Srun, &SLURM, None, &parts)?)
    } else {
        None
    };
    let mpi = if has_any(&OPEN_MPI) {
        let parts = ["PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "OMPI_MCA_orte_hnp_uri"];
        Some(of(Way::Mpirun, &OPEN_MPI, Some("OMPI_COMM_WORLD_LOCAL_SIZE"), &parts)?)
    } else {
        None
    };
    let torchrun = if has_any(&TORCHRUN) {
        let parts = ["MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"];
        Some(of(Way::Torchrun, &TORCHRUN, Some("LOCAL_WORLD_SIZE"), &parts)?)
    } else {
        None
    };
    if let Some(torchrun) = torchrun {
        // torchrun itself may be a rank of srun or mpirun, one on each machine. RANK set by hand from the other's number is that number.
        let is_torchruns = variables.has("TORCHELASTIC_RUN_ID");
        if let (false, Some(mpi)) = (is_torchruns, &mpi)
            && (mpi.rank, mpi.world) != (torchrun.rank, torchrun.world)
        {
            return Err(contradiction(variables, &TORCHRUN, &OPEN_MPI));
        }
        return Ok(Some(torchrun));
    }
    if let Some(mpi) = mpi {
        return Ok(Some(mpi));
    }
    // PMIx alone says a rank and no number of ranks.
    if let (Some(slurm), Some(pmix)) = (&slurm, variables.get("PMIX_RANK"))
        && slurm.world > 1
        && pmix != slurm.rank.to_string()
    {
        let found = variables.all_shown(&[SLURM.rank, SLURM.world, "PMIX_RANK"]);
        return Err(Error::Usage(format!(
            "expected one rank from srun and from PMIx, found {found}: start all ranks in one way"
        )));
    }
    if slurm.is_none() && variables.get("PMIX_RANK").is_some_and(|rank| rank != "0") {
        let found = variables.all_shown(&["PMIX_RANK", OPEN_MPI.world, SLURM.world]);
        return Err(Error::Usage(format!(
            "this looks like a rank started by PMIx, which does not say how many there are: found {found}: start it with mpirun of \
             OpenMPI or with srun"
        )));
    }
    Ok(slurm)
}

fn contradiction(variables: &Variables<'_>, one: &Names, other: &Names) -> Error {
    let found = variables.all_shown(&[one.rank, one.world, other.rank, other.world]);
    Error::Usage(format!(
        "two starts contradict each other: found {found}: unset the variables of the one that does not count"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `A=1 B=2` as an environment.
    fn of(words: &str) -> Result<Option<Started>> {
        let pairs: Vec<(String, String)> = words
            .split_whitespace()
            .map(|word| word.split_once('=').map(|(name, value)| (name.into(), value.into())).unwrap())
            .collect();
        started(&|name| pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()))
    }

    fn rank(words: &str) -> Option<(Way, usize, usize, usize)> {
        of(words).unwrap().map(|s| (s.way, s.rank, s.world, s.local_rank))
    }

    /// As torchrun --nnodes 2 --nproc-per-node 4 sets them.
    const TORCH: &str = "RANK=6 WORLD_SIZE=8 LOCAL_RANK=2 LOCAL_WORLD_SIZE=4 GROUP_RANK=1 MASTER_ADDR=node1 MASTER_PORT=29500 \
                         TORCHELASTIC_RUN_ID=none TORCHELASTIC_RESTART_COUNT=0";
    /// As srun -N2 -n8 sets them.
    const SRUN: &str =
        "SLURM_JOB_ID=77 SLURM_STEP_ID=0 SLURM_PROCID=5 SLURM_LOCALID=1 SLURM_NTASKS=8 SLURM_STEP_NUM_TASKS=8";
    /// As mpirun -np 4 of OpenMPI 4.1 sets them.
    const MPIRUN: &str = "OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=3 OMPI_COMM_WORLD_LOCAL_SIZE=4 \
                          OMPI_MCA_ess_base_jobid=4326 PMIX_RANK=3 PMIX_NAMESPACE=4326";

    #[test]
    fn each_way_tells_a_rank() {
        assert_eq!(rank(TORCH), Some((Way::Torchrun, 6, 8, 2)));
        assert_eq!(rank(SRUN), Some((Way::Srun, 5, 8, 1)));
        assert_eq!(rank(MPIRUN), Some((Way::Mpirun, 3, 4, 3)));
        let ours = "VGAN_CUDA_RANK=1 VGAN_CUDA_WORLD=2 VGAN_CUDA_LOCAL_RANK=1 VGAN_CUDA_LAUNCH=x";
        assert_eq!(rank(ours), Some((Way::Devices, 1, 2, 1)));
    }

    #[test]
    fn one_process_is_no_rank() {
        for words in [
            "",
            "PATH=/bin MASTER_ADDR=node1 MASTER_PORT=29500",
            "RANK=0 WORLD_SIZE=1 LOCAL_RANK=0",
            "RANK= WORLD_SIZE= LOCAL_RANK=",
            // srun -n1; the script of a batch job of four tasks; a shell of salloc, which is a step of one task.
            "SLURM_JOB_ID=7 SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NTASKS=1 SLURM_STEP_NUM_TASKS=1 PMIX_RANK=0",
            "SLURM_JOB_ID=7 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NTASKS=4 SLURM_JOB_NUM_NODES=2",
            "SLURM_JOB_ID=7 SLURM_STEP_ID=4294967290 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NTASKS=4 SLURM_STEP_NUM_TASKS=1",
            "SLURM_JOB_ID=7 SLURM_NTASKS=4",
            "OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=1 OMPI_COMM_WORLD_LOCAL_RANK=0",
            "PMIX_RANK=0",
        ] {
            assert_eq!(rank(words), None, "{words}");
        }
    }

    #[test]
    fn the_innermost_start_counts() {
        // One torchrun a machine, started by srun or by mpirun; mpirun in the script of a batch job.
        let srun = "SLURM_PROCID=1 SLURM_LOCALID=0 SLURM_STEP_NUM_TASKS=2";
        let mpirun = "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK=0";
        assert_eq!(rank(&format!("{TORCH} {srun} {mpirun}")), Some((Way::Torchrun, 6, 8, 2)));
        let batch = "SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NTASKS=9";
        assert_eq!(rank(&format!("{MPIRUN} {batch}")), Some((Way::Mpirun, 3, 4, 3)));
        // --devices inside whatever there is; RANK made of mpirun's by hand.
        let ours = "VGAN_CUDA_RANK=0 VGAN_CUDA_WORLD=2 VGAN_CUDA_LOCAL_RANK=0";
        assert_eq!(rank(&format!("{ours} {SRUN}")), Some((Way::Devices, 0, 2, 0)));
        let same = "RANK=1 WORLD_SIZE=2 LOCAL_RANK=0";
        assert_eq!(rank(&format!("{same} {mpirun}")), Some((Way::Torchrun, 1, 2, 0)));
    }

    #[test]
    fn half_a_start_or_two_at_once_are_refused_with_what_was_found() {
        for (words, parts) in [
            ("RANK=1 LOCAL_RANK=1", ["torchrun", "RANK=1, no WORLD_SIZE, LOCAL_RANK=1"]),
            ("WORLD_SIZE=4", ["torchrun", "no RANK, WORLD_SIZE=4, no LOCAL_RANK"]),
            ("RANK=4 WORLD_SIZE=4 LOCAL_RANK=0", ["below the number of ranks", "RANK=4, WORLD_SIZE=4"]),
            ("RANK=-1 WORLD_SIZE=4 LOCAL_RANK=0", ["whole numbers", "RANK=-1"]),
            ("RANK=0 WORLD_SIZE=0 LOCAL_RANK=0", ["1 to 65536 ranks", "WORLD_SIZE=0"]),
            ("RANK=1 WORLD_SIZE=4 LOCAL_RANK=2 LOCAL_WORLD_SIZE=2", ["a local rank below 2", "LOCAL_RANK=2"]),
            ("OMPI_COMM_WORLD_SIZE=2", ["mpirun", "no OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE=2"]),
            (
                "SLURM_PROCID=2 SLURM_STEP_NUM_TASKS=2 SLURM_LOCALID=0",
                ["srun", "SLURM_PROCID=2, SLURM_STEP_NUM_TASKS=2"],
            ),
            ("SLURM_PROCID=1 SLURM_STEP_NUM_TASKS=2", ["srun", "no SLURM_LOCALID"]),
            ("SLURM_PROCID=1 SLURM_STEP_NUM_TASKS=2 SLURM_LOCALID=1 PMIX_RANK=0", ["SLURM_PROCID=1", "PMIX_RANK=0"]),
            ("PMIX_RANK=2", ["how many", "PMIX_RANK=2, no OMPI_COMM_WORLD_SIZE"]),
            (
                "RANK=1 WORLD_SIZE=4 LOCAL_RANK=1 OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=0",
                ["contradict", "RANK=1, WORLD_SIZE=4, OMPI_COMM_WORLD_RANK=0, OMPI_COMM_WORLD_SIZE=4"],
            ),
            ("VGAN_CUDA_RANK=1", ["--devices", "no VGAN_CUDA_WORLD"]),
        ] {
            let error = of(words).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{words}");
            for part in parts {
                assert!(error.to_string().contains(part), "{words}: {error}\nlacks {part}");
            }
        }
    }

    #[test]
    fn another_start_has_another_name() {
        let launch = |words: &str| of(words).unwrap().unwrap().launch;
        assert_eq!(launch(TORCH), launch(&TORCH.replace("RANK=6", "RANK=1")));
        for (words, from, to) in [
            (TORCH, "MASTER_PORT=29500", "MASTER_PORT=29501"),
            (TORCH, "RESTART_COUNT=0", "RESTART_COUNT=1"),
            (SRUN, "SLURM_STEP_ID=0", "SLURM_STEP_ID=1"),
            (SRUN, "SLURM_JOB_ID=77", "SLURM_JOB_ID=78"),
            (MPIRUN, "PMIX_NAMESPACE=4326", "PMIX_NAMESPACE=4327"),
        ] {
            assert_ne!(launch(words), launch(&words.replace(from, to)), "{words}");
        }
    }
}
