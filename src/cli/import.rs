//! `import`: weights of another program as a safetensors file.

use std::path::PathBuf;

use clap::Args;

use super::output;
use super::target::{ForceArgs, file_of, require_new, target_parser};
use crate::error::{Error, Result, readable_path};
use crate::exchange::Weights;
use crate::run::{Tensor, tensors};

/// Convert weights from PyTorch (.pt, .pth) or NumPy (.npz) to safetensors
///
/// Nothing in the file is executed: a pickle is read by a machine that knows tensors and dicts, and refuses everything else by
/// name. Numbers become f32.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda import generator.pt --output generator.safetensors
  vgan-cuda import weights.pth --strip module. --prefix generator. --output weights.safetensors
  vgan-cuda train vgan-mnist --data data/mnist --init weights.safetensors --init-parts generator

`train --init` reads all these files directly, too. A dict in a dict gives names such as
`outer.inner`.")]
pub(super) struct ImportArgs {
    /// File of weights: an archive of torch.save, a .npz, or safetensors of any type
    #[arg(value_name = "PATH")]
    source: PathBuf,

    /// Safetensors file to write
    #[arg(long, value_name = "FILE", value_parser = target_parser())]
    output: PathBuf,

    /// Take only names that begin so, and remove this beginning
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    strip: String,

    /// Put this before every name, such as `generator.`
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,

    #[command(flatten)]
    force: ForceArgs,
}

/// The options of `import`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ImportOptions {
    /// File of weights.
    pub(crate) source: PathBuf,
    /// Safetensors file to write.
    pub(crate) output: PathBuf,
    /// Beginning of the names to take, which they lose.
    pub(crate) strip: String,
    /// The prefix of every name.
    pub(crate) prefix: String,
    /// Overwrite an existing file.
    pub(crate) force: ForceArgs,
}

impl ImportArgs {
    pub(super) fn resolve(self) -> Result<ImportOptions> {
        let ImportArgs { source, output, strip, prefix, force } = self;
        let output = file_of("--output", "safetensors", output)?;
        if prefix.chars().any(char::is_control) {
            return Err(Error::Usage("--prefix: expected plain text, such as `generator.`".into()));
        }
        Ok(ImportOptions { source, output, strip, prefix, force })
    }
}

/// Reads, renames, writes.
pub(super) fn run(options: ImportOptions) -> Result<()> {
    let ImportOptions { source, output, strip, prefix, force } = options;
    require_new(std::slice::from_ref(&output), force, "--output")?;
    let weights = Weights::read(&source)?;
    let all = weights.tensors.len();
    let renamed = weights.tensors.into_iter().filter_map(|tensor| {
        let name = tensor.name.strip_prefix(&strip).filter(|name| !name.is_empty())?;
        Some(Tensor { name: format!("{prefix}{name}"), ..tensor })
    });
    let renamed: Vec<Tensor> = renamed.collect();
    if renamed.is_empty() {
        let strip: String = strip.chars().flat_map(char::escape_default).collect();
        let expected = format!("names that begin with `{strip}`");
        return Err(Error::bad_data(source, expected, format!("none among {all} tensors")));
    }
    tensors::write(&output, &renamed)?;
    let mut text = format!(
        "{} of {all} tensors of {} ({}): {}\n",
        renamed.len(),
        readable_path(&source),
        weights.format,
        readable_path(&output)
    );
    for tensor in &renamed {
        text += &format!("  {} {:?}\n", tensor.name, tensor.shape);
    }
    for other in &weights.left_out {
        text += &format!("  left out: {} ({})\n", other.name, other.what);
    }
    output::print(&text)
}
