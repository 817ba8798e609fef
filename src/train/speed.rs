//! The speed of a device, measured in a moment, so that `--dry-run` can say how long the predicted work would take.

use std::time::{Duration, Instant};

use super::predict::Work;
use crate::Result;
use crate::ops::Executor;
use crate::ops::layers::activation::Activation;
use crate::ops::layers::linear::Linear;

/// The work that a device does in a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Multiplications and additions of matrix products.
    pub flops: f64,
    /// Bytes read and written.
    pub moved: f64,
}

impl Speed {
    /// Measures for about 0.3 s: a matrix product of middling size, and an activation over more than the caches hold.
    ///
    /// # Errors
    /// Those of the device.
    pub fn measure<B: Executor>(backend: &B) -> Result<Speed> {
        const SIDE: usize = 512;
        const LONG: usize = 1 << 23;
        let linear = Linear { n: SIDE, c: SIDE, k: SIDE };
        let (x, w, mut y) = (backend.alloc(SIDE * SIDE)?, backend.alloc(SIDE * SIDE)?, backend.alloc(SIDE * SIDE)?);
        let product = rate(backend, || {
            let y = backend.view_mut(&mut y);
            backend.linear_forward(&linear, backend.view(&x), backend.view(&w), None, y)
        })?;
        let (x, mut y) = (backend.alloc(LONG)?, backend.alloc(LONG)?);
        let pass =
            rate(backend, || backend.activation_forward(Activation::Relu, backend.view(&x), backend.view_mut(&mut y)))?;
        Ok(Speed { flops: product * 2.0 * SIDE.pow(3) as f64, moved: pass * (8 * LONG) as f64 })
    }

    /// Seconds that this much work takes, if arithmetic and memory wait for each other.
    pub fn seconds(&self, work: &Work) -> f64 {
        work.flops as f64 / self.flops + work.moved as f64 / self.moved
    }
}

/// Measures how often a second `work` can be done, after one time that is not counted.
fn rate<B: Executor>(backend: &B, mut work: impl FnMut() -> Result<()> + Send) -> Result<f64> {
    backend.run(|| {
        work()?;
        let (start, mut times) = (Instant::now(), 0.0);
        while start.elapsed() < Duration::from_millis(150) {
            work()?;
            times += 1.0;
        }
        Ok(times / start.elapsed().as_secs_f64())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Cpu;

    #[test]
    fn speed_is_measured_and_turned_into_time() {
        let speed = Speed::measure(&Cpu::<f32>::new(Some(1)).unwrap()).unwrap();
        assert!(speed.flops > 1e8 && speed.moved > 1e8, "{speed:?}");
        let speed = Speed { flops: 1e9, moved: 1e8 };
        assert_eq!(speed.seconds(&Work { flops: 2_000_000_000, moved: 50_000_000 }), 2.5);
    }
}
