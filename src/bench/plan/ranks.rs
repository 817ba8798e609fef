//! A training step of several GPUs, on paper: each rank's own work as [`plan`] predicts it for its part of the batch, and what
//! the ranks tell each other, as a dry run of the same step notes it, each collective at the time of [`network`](super::network).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ptx_machine::gpus::Gpu;
use serde::Serialize;

use super::network::{GPUS_OF_A_MACHINE, Network};
use super::table::{line, microseconds, short};
use super::{Plan, plan};
use crate::config::Settings;
use crate::data::Extent;
use crate::device::ranks::Collective;
use crate::image::ImageShape;
use crate::train::predict::predict_for_ranks;
use crate::{Error, Result};

/// GPUs whose links are known: on their machines, eight are joined by NVLink of the fourth generation, and each has an InfiniBand
/// adapter of 400 Gbit/s (data sheets of DGX H100 and H200).
const KNOWN: [&str; 2] = ["h100", "h200"];

/// A step of several GPUs.
#[derive(Debug, Clone)]
pub struct RanksPlan {
    /// The GPUs.
    pub network: Network,
    /// Images of the whole batch.
    pub batch: usize,
    /// The work that each rank does by itself.
    pub own: Plan,
    /// The work of one GPU with the whole batch.
    pub alone: Plan,
    /// The collectives of a step, each with its count.
    pub collectives: BTreeMap<Collective, usize>,
}

/// Takes apart a step of so many GPUs that share each batch.
///
/// # Errors
/// Those of [`plan`]; [`Error::Usage`] for a GPU whose links are not known, and where the batch can't be divided.
pub fn plan_for_ranks(settings: &Settings, image: ImageShape, gpu: &'static Gpu, world: usize) -> Result<RanksPlan> {
    if !KNOWN.contains(&gpu.key) {
        return Err(Error::Usage(format!(
            "bench --plan --world knows the links between GPUs of {}, and not between those of {}: pass --gpu h200",
            KNOWN.join(" and "),
            gpu.key
        )));
    }
    let batch = settings.train.batch;
    if !settings.micro_batch().is_multiple_of(world) || settings.micro_batch() / world < 2 {
        let found = settings.micro_batch();
        return Err(Error::Usage(format!(
            "bench --plan --world {world}: expected a batch with at least 2 images for each rank, and as many for each, found {found}: \
             pass --batch {}",
            world * 64
        )));
    }
    let mut part = settings.clone();
    part.train.batch = batch / world;
    let images = Extent { count: batch, shape: image };
    let collectives = told(settings, &images, world)?;
    Ok(RanksPlan {
        network: Network { world },
        batch,
        own: plan(&part, image, gpu)?,
        alone: plan(settings, image, gpu)?,
        collectives,
    })
}

/// The collectives of a rank in a step, each with its count.
fn told(settings: &Settings, images: &Extent, world: usize) -> Result<BTreeMap<Collective, usize>> {
    let mut counted = BTreeMap::new();
    for one in predict_for_ranks(settings, images, world)?.collectives {
        *counted.entry(one).or_default() += 1;
    }
    Ok(counted)
}

impl RanksPlan {
    /// Seconds that all collectives take, one after the other.
    pub fn telling(&self) -> f64 {
        self.collectives.iter().map(|(&one, &times)| times as f64 * self.network.seconds(one)).sum()
    }

    /// Bytes that each rank sends in a step, and receives.
    pub fn sent(&self) -> f64 {
        self.collectives.iter().map(|(&one, &times)| times as f64 * self.network.sent(one)).sum()
    }

    /// The step with the collectives behind one another and behind the work, as the program does them; and with all of them hidden
    /// behind the work, as far as there is any.
    pub fn seconds(&self) -> (f64, f64) {
        let (own, telling) = (self.own.total().seconds, self.telling());
        (own + telling, own.max(telling))
    }

    /// The table for people.
    pub fn text(&self) -> String {
        let Network { world } = self.network;
        let mut text = format!(
            "A step of {world} {} on {} of {GPUS_OF_A_MACHINE} GPUs each, on paper; nothing here was measured on a GPU.\n\
             Collectives: bytes as a dry run notes them, times by the constants of NCCL's tuner, NVLink at 370 and InfiniBand at 47 GB/s a\n\
             GPU (docs/distributed.md). A rank's own work: by the model of bench --plan.\n\n\
             {:<16} {:>6} {:>8} {:>9} {:>9}\n",
            self.own.gpu.name,
            counted(self.network.machines(), "machine"),
            "collective",
            "times",
            "bytes",
            "each µs",
            "all µs"
        );
        for (&one, &times) in &self.collectives {
            let seconds = self.network.seconds(one);
            let (each, all) = (microseconds(seconds), microseconds(times as f64 * seconds));
            let _ = writeln!(text, "{:<16} {times:>6} {:>8} {each:>9} {all:>9}", one.kind.word(), short(one.bytes));
        }
        let (step, hidden) = self.seconds();
        let (own, alone) = (self.own.total().seconds, self.alone.total().seconds);
        let times = |seconds: f64| alone / seconds;
        let percent = |seconds: f64| format!("{:.0} %", 100.0 * times(seconds) / world as f64);
        let _ = write!(
            text,
            "\nbatch                   {}: {} on each rank\n\
             each rank sends         {} bytes a step\n\
             a rank's own work       {} µs\n\
             its collectives         {} µs\n\
             the step                {} µs, one after the other; {} µs if collectives ran beside the work as far as there is work\n\
             one GPU, whole batch    {} µs: {world} are {:.1} times as fast, an efficiency of {}; beside the work {:.1} times, {}\n\
             one GPU, {:<6} images  {} µs: with as many on each of {world}, an efficiency of {:.0} %; beside the work {:.0} %\n",
            self.batch,
            self.batch / world,
            short(self.sent() as u64),
            microseconds(own),
            microseconds(self.telling()),
            microseconds(step),
            microseconds(hidden),
            microseconds(alone),
            times(step),
            percent(step),
            times(hidden),
            percent(hidden),
            self.batch / world,
            microseconds(own),
            100.0 * own / step,
            100.0 * own / hidden,
        );
        text
    }

    /// A line of JSON.
    ///
    /// # Errors
    /// [`Error::Internal`] for what JSON can't hold.
    pub fn json(&self) -> Result<String> {
        let (step, hidden) = self.seconds();
        let collective = |(&one, &times): (&Collective, &usize)| JsonCollective {
            collective: one.kind.word(),
            times,
            bytes: one.bytes,
            microseconds: self.network.seconds(one) * 1e6,
        };
        line(&JsonRanks {
            step: "predicted",
            gpu: self.own.gpu.name,
            dtype: self.own.precision.word(),
            world: self.network.world,
            machines: self.network.machines(),
            batch: self.batch,
            collectives: self.collectives.iter().map(collective).collect(),
            sent_bytes: self.sent() as u64,
            own_microseconds: self.own.total().seconds * 1e6,
            collectives_microseconds: self.telling() * 1e6,
            step_microseconds: step * 1e6,
            step_microseconds_if_hidden: hidden * 1e6,
            one_gpu_microseconds: self.alone.total().seconds * 1e6,
        })
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[derive(Serialize)]
struct JsonCollective {
    collective: &'static str,
    times: usize,
    bytes: u64,
    microseconds: f64,
}

#[derive(Serialize)]
struct JsonRanks {
    step: &'static str,
    gpu: &'static str,
    dtype: &'static str,
    world: usize,
    machines: usize,
    batch: usize,
    collectives: Vec<JsonCollective>,
    sent_bytes: u64,
    own_microseconds: f64,
    collectives_microseconds: f64,
    step_microseconds: f64,
    step_microseconds_if_hidden: f64,
    one_gpu_microseconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::preset;
    use crate::device::ranks::Kind;
    use crate::train::predict::predict;

    /// The gradients of both networks are summed once, whole; verdicts are gathered: logits and KL of real and of generated images for
    /// D, logits of generated ones for G. Batch normalisation of all ranks together adds sums.
    #[test]
    fn what_the_ranks_tell_each_other_is_what_the_step_needs() {
        let image = ImageShape { h: 28, w: 28, c: 1 };
        let mut settings = preset("quick").expect("a preset");
        settings.train.batch = 32;
        settings.train.sync_batch_norm = false;
        let images = Extent { count: 32, shape: image };
        let parts = predict(&settings, &images).expect("fits");
        let gradients = [&parts.generator, &parts.discriminator].map(|parts| 4 * parts.params.len() as u64);
        let counted = told(&settings, &images, 4).expect("four ranks");
        let verdicts = Collective { kind: Kind::AllGather, bytes: 4 * 32 };
        let mut expected = BTreeMap::from([(verdicts, 5)]);
        expected.extend(gradients.map(|bytes| (Collective { kind: Kind::AllReduce, bytes }, 1)));
        assert_eq!(counted, expected);
        settings.train.sync_batch_norm = true;
        let synchronised = told(&settings, &images, 4).expect("four ranks");
        assert!(synchronised.len() > counted.len(), "{synchronised:?}");
        assert!(counted.iter().all(|(one, times)| synchronised[one] >= *times), "{synchronised:?}");
        assert!(told(&settings, &images, 1).expect("one rank").is_empty());
    }
}
