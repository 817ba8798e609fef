//! One text of a handler, compiled for several instruction sets. The crate's unit tests run no kernel and compile it for one, in a
//! third of the time; tests/ptx/tests runs all.

use super::{Block, Decoded, Flow, Warp};

/// The execution of an instruction by the active lanes of a warp.
pub(crate) trait Handler {
    /// `WHOLE`: all 32 lanes are active.
    ///
    /// # Safety
    /// The instruction's operands lie inside of the warp's registers, as lowering laid them out for this handler.
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow;
}

/// A compiled handler.
pub(crate) type Run = unsafe fn(&Decoded, &mut Warp, &mut Block<'_>) -> Flow;

/// A handler for a full and for a partial mask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) whole: Run,
    pub(crate) partial: Run,
}

/// The capabilities of the host's processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// The compiler's default target: right everywhere.
    Baseline,
    /// AVX2 with fused multiplication and addition.
    #[cfg(all(target_arch = "x86_64", not(test)))]
    Avx2,
    /// AVX-512.
    #[cfg(all(target_arch = "x86_64", not(test)))]
    Avx512,
}

impl Level {
    /// The best that this processor has. `PTX_MACHINE_LEVEL=baseline` or `avx2` holds it down.
    pub(crate) fn detect() -> Level {
        #[cfg(all(target_arch = "x86_64", not(test)))]
        {
            let wanted = std::env::var("PTX_MACHINE_LEVEL").unwrap_or_default();
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt")
                && is_x86_feature_detected!("popcnt")
                && is_x86_feature_detected!("f16c");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if avx512 && wanted.is_empty() {
                return Level::Avx512;
            }
            if avx2 && wanted != "baseline" {
                return Level::Avx2;
            }
        }
        Level::Baseline
    }

    /// The two functions of a handler for this processor.
    pub(crate) fn pair<H: Handler>(self) -> Pair {
        match self {
            Level::Baseline => Pair { whole: baseline::<H, true>, partial: baseline::<H, false> },
            #[cfg(all(target_arch = "x86_64", not(test)))]
            Level::Avx2 => Pair { whole: avx2::<H, true>, partial: avx2::<H, false> },
            #[cfg(all(target_arch = "x86_64", not(test)))]
            Level::Avx512 => Pair { whole: avx512::<H, true>, partial: avx512::<H, false> },
        }
    }
}

unsafe fn baseline<H: Handler, const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
    // SAFETY: the caller's promise is the handler's.
    unsafe { H::run::<WHOLE>(i, w, b) }
}

#[cfg(all(target_arch = "x86_64", not(test)))]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,f16c")]
unsafe fn avx2<H: Handler, const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
    // SAFETY: the caller's promise is the handler's.
    unsafe { H::run::<WHOLE>(i, w, b) }
}

#[cfg(all(target_arch = "x86_64", not(test)))]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt,f16c")]
unsafe fn avx512<H: Handler, const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
    // SAFETY: the caller's promise is the handler's.
    unsafe { H::run::<WHOLE>(i, w, b) }
}
