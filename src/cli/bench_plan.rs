//! `bench --plan`: a training step of a preset, taken apart without a GPU.

use crate::device::Precision;
use crate::error::{Error, Result};

/// The options of `--plan`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlanOptions {
    /// The preset.
    pub(crate) preset: String,
    /// Images of a batch, where the preset's is not meant.
    pub(crate) batch: Option<usize>,
    /// The GPU to predict for.
    pub(crate) gpu: String,
    /// GPUs that share each batch.
    pub(crate) world: usize,
}

/// Counts, predicts and prints.
#[cfg(feature = "plan")]
pub(super) fn run(options: &PlanOptions, dtype: Precision, json: bool) -> Result<()> {
    use super::output;
    use crate::bench::plan::ranks::plan_for_ranks;
    use crate::bench::plan::{find_gpu, plan};
    use crate::config::{image_shape, preset, validate};

    let PlanOptions { preset: name, batch, gpu, world } = options;
    let gpu = find_gpu(gpu)?;
    let mut settings = preset(name)?;
    settings.train.batch = batch.unwrap_or(settings.train.batch);
    settings.train.dtype = dtype;
    validate(&settings)?;
    let shape = image_shape(name).ok_or_else(|| Error::Internal(format!("{name} has no images")))?;
    if *world > 1 {
        let plan = plan_for_ranks(&settings, shape, gpu, *world)?;
        return output::print(&if json { plan.json()? } else { plan.text() });
    }
    let plan = plan(&settings, shape, gpu)?;
    output::print(&if json { plan.json()? } else { plan.text() })
}

/// Refuses.
#[cfg(not(feature = "plan"))]
pub(super) fn run(_options: &PlanOptions, _dtype: Precision, _json: bool) -> Result<()> {
    Err(Error::Usage(
        "this program was built without bench --plan: build it with the default features, or with --features plan"
            .into(),
    ))
}
