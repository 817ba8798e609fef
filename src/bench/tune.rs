//! The tile and the split of each matrix product, tried out on the GPU at hand: what src/device/product.rs chooses by its table, and
//! what is the fastest.

use std::time::Duration;

use super::measure;
use crate::Result;
use crate::device::kernels::TileSize;
use crate::device::trial::Plan;
use crate::device::{Accelerator, Real, Storage};
use crate::ops::pass::Pass;

/// Parts of the depth that are tried.
const PARTS: [usize; 10] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32];

/// A plan, and the time of a run in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timed {
    /// The plan.
    pub plan: Plan,
    /// The median of the samples.
    pub seconds: f64,
}

/// A product by the table, and by the fastest plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuned {
    /// The table's choice.
    pub chosen: Timed,
    /// The fastest: the table's where none is faster.
    pub best: Timed,
}

/// Times a pass by every plan; `None` where it has no product with a choice. A split product is timed with the launch that joins its
/// parts.
///
/// # Errors
/// If the device fails or has not the memory.
pub fn tune<T: Real, S: Storage<T>>(
    backend: &Accelerator<T, S>,
    pass: &Pass<Accelerator<T, S>>,
    budget: Duration,
) -> Result<Option<Tuned>> {
    let Some(chosen) = timed(backend, pass, None, &[], budget)? else { return Ok(None) };
    let mut all = vec![chosen];
    for tile in TileSize::ALL {
        for parts in PARTS {
            let done: Vec<Plan> = all.iter().map(|timed| timed.plan).collect();
            all.extend(timed(backend, pass, Some(Plan { tile, parts }), &done, budget)?);
        }
    }
    let best = all.iter().copied().min_by(|a, b| a.seconds.total_cmp(&b.seconds)).unwrap_or(chosen);
    Ok(Some(Tuned { chosen, best }))
}

/// A pass by one plan, or by the table's; `None` where it has no choice, or runs by one that is `done`.
fn timed<T: Real, S: Storage<T>>(
    backend: &Accelerator<T, S>,
    pass: &Pass<Accelerator<T, S>>,
    wanted: Option<Plan>,
    done: &[Plan],
    budget: Duration,
) -> Result<Option<Timed>> {
    let (backend, trial) = backend.on_trial(wanted);
    let mut work = pass.prepare(&backend)?;
    work()?;
    let Some(plan) = trial.ran().filter(|plan| !done.contains(plan)) else { return Ok(None) };
    Ok(Some(Timed { plan, seconds: measure::seconds(&backend, &mut work, budget)? }))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::device::{DeviceMemory, Launch, Launcher, Recording};
    use crate::ops;

    /// A device on which a launch of `wide` tiles in three parts takes one second, and each part more or less a second more; the narrow tile
    /// ten more. Nothing is computed.
    #[derive(Default)]
    struct Imagined {
        seconds: Mutex<f64>,
    }

    struct Nowhere;

    impl DeviceMemory for Nowhere {
        fn address(&self) -> u64 {
            256
        }
    }

    impl Launcher for Imagined {
        fn describe(&self) -> String {
            "an imagined device".into()
        }
        fn free_memory(&self) -> Option<u64> {
            None
        }
        fn alloc(&self, _: usize) -> Result<Box<dyn DeviceMemory>> {
            Ok(Box::new(Nowhere))
        }
        fn upload(&self, _: &[u8], _: u64) -> Result<()> {
            Ok(())
        }
        fn download(&self, _: u64, _: &mut [u8]) -> Result<()> {
            Ok(())
        }
        fn copy(&self, _: u64, _: u64, _: usize) -> Result<()> {
            Ok(())
        }
        fn zero(&self, _: u64, _: usize) -> Result<()> {
            Ok(())
        }
        fn synchronize(&self) -> Result<()> {
            Ok(())
        }
        fn timed(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
            *self.seconds.lock().unwrap() = 0.0;
            work()?;
            Ok(Duration::from_secs_f64(*self.seconds.lock().unwrap()))
        }
        fn stride_blocks(&self) -> u32 {
            1
        }
        fn launch(&self, launch: &Launch<'_>) -> Result<()> {
            let name = launch.kernel.name();
            if name.starts_with("linear_forward") {
                let narrow = if name.contains("wide") { 0.0 } else { 10.0 };
                *self.seconds.lock().unwrap() += 1.0 + narrow + (f64::from(launch.grid[2]) - 3.0).abs();
            }
            Ok(())
        }
        fn record(&self, _: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>> {
            unreachable!("nothing is recorded")
        }
    }

    #[test]
    fn the_fastest_plan_is_found_beside_the_tables() {
        let backend = Accelerator::<f32>::new(Imagined::default());
        let passes = ops::passes::<Accelerator<f32>>();
        let of =
            |shape: &str| passes.iter().find(|pass| pass.shape == shape && pass.pass == "forward").expect("a pass");
        let tuned = |shape| tune(&backend, of(shape), Duration::from_millis(1)).expect("no errors");
        let found = tuned("n128 c6272 k1024").expect("a product with a choice");
        assert_eq!(found.best, Timed { plan: Plan { tile: TileSize::Wide, parts: 3 }, seconds: 1.0 });
        assert_ne!(found.chosen.plan, found.best.plan);
        assert!(found.chosen.seconds > 1.0);
        // A column alone is a product of rows, which knows no tiles.
        assert_eq!(tuned("n128 c1024 k1"), None);
    }
}
