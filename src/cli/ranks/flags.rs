//! The flags of training on several devices.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::environment::{self, Started};
use crate::cli::arguments::{DeviceArgs, DeviceChoice};
use crate::device::cuda::{self, Driver};
use crate::error::{Error, Result};

/// The GPUs of `--devices`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Devices {
    /// Every one that the driver shows.
    All,
    /// These, in this order.
    These(Vec<usize>),
}

/// As many as one machine may have.
const MOST: usize = 64;

impl std::fmt::Display for Devices {
    fn fmt(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Devices::All => write!(text, "all"),
            Devices::These(these) => {
                write!(text, "{}", these.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
            }
        }
    }
}

impl FromStr for Devices {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "all" {
            return Ok(Devices::All);
        }
        let number = |part: &str| {
            let found = part.trim().parse::<usize>().ok().filter(|&number| number < MOST);
            found.ok_or_else(|| format!("expected GPUs such as 0-3, 0,2 or all, found `{part}`"))
        };
        let mut found = Vec::new();
        for part in text.split(',') {
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if first > last {
                return Err(format!("the range {part} runs backwards"));
            }
            for device in first..=last {
                if found.contains(&device) {
                    return Err(format!("GPU {device} is named twice: each rank needs a GPU of its own"));
                }
                found.push(device);
            }
        }
        Ok(Devices::These(found))
    }
}

/// The flags that `train` and `resume` share.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct RankArgs {
    /// Train on several GPUs of this machine, with one rank on each: 0-3, 0,2 or all [default: one device]
    #[arg(long, value_name = "LIST", conflicts_with = "device")]
    pub(crate) devices: Option<Devices>,

    /// Start over from the last checkpoint, at most N times, when a rank dies or fails
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) restart: u32,

    /// Of several ranks, one without a sign of life for so many seconds is lost and ends the others
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_timeout)]
    pub(crate) rank_timeout: u32,
}

fn parse_timeout(text: &str) -> std::result::Result<u32, String> {
    match text.parse() {
        Ok(seconds @ 1..=86_400) => Ok(seconds),
        _ => Err("expected a whole number of seconds from 1 to 86400".into()),
    }
}

/// The task of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// Train by itself.
    Alone(DeviceArgs),
    /// Train as one of several ranks.
    Rank(Started, DeviceArgs),
    /// Start the ranks, on these GPUs; `None` is one rank on the device of `--device`.
    Starts(Option<Vec<usize>>),
}

impl Role {
    /// The number of ranks.
    pub(crate) fn world(&self) -> usize {
        match self {
            Role::Alone(_) | Role::Starts(None) => 1,
            Role::Rank(started, _) => started.world,
            Role::Starts(Some(devices)) => devices.len(),
        }
    }

    /// Whether this process writes and speaks.
    pub(crate) fn is_leader(&self) -> bool {
        !matches!(self, Role::Rank(Started { rank: 1.., .. }, _))
    }
}

impl RankArgs {
    /// The time after which a silent rank is lost.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.rank_timeout.into())
    }

    /// The role of this process, by these flags and its environment.
    ///
    /// # Errors
    /// [`Error::Usage`] for flags that the way of starting does not allow, and for GPUs that are not there.
    pub(crate) fn role(&self, device: DeviceArgs) -> Result<Role> {
        self.role_of(device, &environment::variable, gpus)
    }

    /// The number of ranks that a start with these flags would have, on a machine that has the GPUs.
    ///
    /// # Errors
    /// [`Error::Usage`] for half of a start, and [`Error::Device`] for all GPUs of a machine without any.
    pub(crate) fn planned(&self) -> Result<usize> {
        match &self.devices {
            Some(Devices::These(these)) => Ok(these.len()),
            Some(Devices::All) => gpus(),
            None => Ok(environment::started(&environment::variable)?.map_or(1, |started| started.world)),
        }
    }

    fn role_of(
        &self,
        device: DeviceArgs,
        variable: &dyn Fn(&str) -> Option<String>,
        gpus: impl FnOnce() -> Result<usize>,
    ) -> Result<Role> {
        let is_ours = environment::is_started_by_us(variable);
        let started = environment::started(variable)?;
        if let (Some(started), false) = (&started, is_ours) {
            let way = started.way.name();
            let (rank, world) = (started.rank, started.world);
            if self.devices.is_some() {
                return Err(Error::Usage(format!(
                    "--devices starts the ranks itself, and this process is rank {rank} of {world} already, started by {way}: omit \
                     --devices, or {way}"
                )));
            }
            if self.restart > 0 {
                return Err(Error::Usage(format!(
                    "--restart needs a process that outlives the ranks, and these were started by {way}: start them anew with `resume`, \
                     as docs/distributed.md shows for {way}, or use --devices"
                )));
            }
        }
        let devices = match &self.devices {
            None => None,
            Some(Devices::All) => Some((0..gpus()?).collect()),
            Some(Devices::These(these)) => {
                let there = gpus()?;
                if let Some(missing) = these.iter().find(|&&device| device >= there) {
                    return Err(Error::Usage(format!(
                        "--devices: there is no GPU {missing}: this machine shows {there}, numbered from 0 (see `vgan-cuda doctor` and \
                         CUDA_VISIBLE_DEVICES)"
                    )));
                }
                Some(these.clone())
            }
        };
        let on = |number: usize| DeviceArgs { device: DeviceChoice::Cuda(number), ..device };
        match (started, devices) {
            (Some(started), Some(devices)) => {
                let number = devices.get(started.rank).copied().ok_or_else(|| {
                    Error::Usage(format!("rank {} of --devices, which names {} GPUs", started.rank, devices.len()))
                })?;
                Ok(Role::Rank(started, on(number)))
            }
            (Some(started), None) => Ok(Role::Rank(started, device)),
            (None, Some(devices)) if is_ours || (devices.len() == 1 && self.restart == 0) => {
                Ok(Role::Alone(devices.first().map_or(device, |&number| on(number))))
            }
            (None, Some(devices)) => Ok(Role::Starts(Some(devices))),
            (None, None) if self.restart > 0 && !is_ours => Ok(Role::Starts(None)),
            (None, None) => Ok(Role::Alone(device)),
        }
    }
}

/// The number of GPUs that the driver shows.
fn gpus() -> Result<usize> {
    match cuda::driver() {
        Driver::Working(count) if count > 0 => Ok(count),
        _ => Err(Error::Device(format!(
            "--devices needs GPUs, but {}. Ranks on the CPU are started by mpirun (docs/distributed.md)",
            cuda::obstacle(0).unwrap_or_else(|| "there are none".into())
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_gpus() {
        let these = |numbers: &[usize]| Ok(Devices::These(numbers.to_vec()));
        assert_eq!("all".parse(), Ok(Devices::All));
        assert_eq!("0-3".parse(), these(&[0, 1, 2, 3]));
        assert_eq!("2,0".parse(), these(&[2, 0]));
        assert_eq!("7".parse(), these(&[7]));
        assert_eq!("0-1, 4-5".parse(), these(&[0, 1, 4, 5]));
        for text in ["all", "0,1,4,5"] {
            assert_eq!(text.parse::<Devices>().unwrap().to_string(), text);
        }
        for (wrong, part) in [
            ("", "found ``"),
            ("0,", "found ``"),
            ("3-1", "backwards"),
            ("0-2,1", "GPU 1 is named twice"),
            ("cuda:0", "found `cuda:0`"),
            ("-1", "found ``"),
            ("64", "found `64`"),
            ("ALL", "found `ALL`"),
        ] {
            let error = wrong.parse::<Devices>().unwrap_err();
            assert!(error.contains(part), "{wrong}: {error}");
        }
    }

    fn args(devices: Option<&str>, restart: u32) -> RankArgs {
        RankArgs { devices: devices.map(|text| text.parse().unwrap()), restart, rank_timeout: 30 }
    }

    fn role(args: &RankArgs, words: &str) -> Result<Role> {
        let pairs: Vec<_> = words.split_whitespace().filter_map(|word| word.split_once('=')).collect();
        let variable = |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        args.role_of(DeviceChoice::Auto.with_defaults(), &variable, || Ok(4))
    }

    const OURS: &str = "VGAN_CUDA_RANK=1 VGAN_CUDA_WORLD=2 VGAN_CUDA_LOCAL_RANK=1 VGAN_CUDA_LAUNCH=x";
    const TORCH: &str = "RANK=1 WORLD_SIZE=2 LOCAL_RANK=1";

    #[test]
    fn who_starts_and_who_is_started() {
        let auto = DeviceChoice::Auto.with_defaults();
        let gpu = |number| DeviceChoice::Cuda(number).with_defaults();
        assert_eq!(role(&args(None, 0), "").unwrap(), Role::Alone(auto));
        assert_eq!(role(&args(Some("2"), 0), "").unwrap(), Role::Alone(gpu(2)));
        assert_eq!(role(&args(Some("1-2"), 0), "").unwrap(), Role::Starts(Some(vec![1, 2])));
        assert_eq!(role(&args(Some("all"), 0), "").unwrap(), Role::Starts(Some(vec![0, 1, 2, 3])));
        assert_eq!(role(&args(Some("2"), 3), "").unwrap(), Role::Starts(Some(vec![2])));
        assert_eq!(role(&args(None, 3), "").unwrap(), Role::Starts(None));
        // The processes that are started have the same command line.
        let rank = |args: &RankArgs, words: &str| match role(args, words).unwrap() {
            Role::Rank(started, device) => (started.rank, device),
            other => panic!("{other:?}"),
        };
        assert_eq!(rank(&args(Some("0,3"), 2), OURS), (1, gpu(3)));
        assert_eq!(rank(&args(None, 0), TORCH), (1, auto));
        let alone = "VGAN_CUDA_RANK=0 VGAN_CUDA_WORLD=1 VGAN_CUDA_LOCAL_RANK=0 VGAN_CUDA_LAUNCH=x";
        assert_eq!(role(&args(Some("2"), 3), alone).unwrap(), Role::Alone(gpu(2)));
        assert_eq!(role(&args(None, 3), alone).unwrap(), Role::Alone(auto));
    }

    #[test]
    fn what_can_not_be_is_refused() {
        for (args, words, parts) in [
            (args(Some("0-1"), 0), TORCH, ["rank 1 of 2 already, started by torchrun", "omit --devices"]),
            (args(None, 1), TORCH, ["--restart needs", "started by torchrun"]),
            (args(Some("3-4"), 0), "", ["there is no GPU 4", "shows 4"]),
        ] {
            let error = role(&args, words).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(parts.iter().all(|part| error.to_string().contains(part)), "{error}");
        }
    }
}
