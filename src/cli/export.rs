//! `export`: the weights of a run for other programs.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::output;
use super::output::to_stderr;
use super::survey::named;
use super::target::{ForceArgs, file_of, require_new, target_parser};
use crate::config::Settings;
use crate::device::DryRun;
use crate::error::{Error, Result, readable_path};
use crate::exchange::{npy, onnx};
use crate::nn::Generator;
use crate::run::{Tensor, tensors, write_file};
use crate::train::load::Found;

/// Export the weights of a run: safetensors, ONNX, or NumPy
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda export latest
  vgan-cuda export runs/00003-vgan-mnist-b128 --format onnx --output generator.onnx
  vgan-cuda export latest --part discriminator --output d.safetensors
  vgan-cuda export latest --format npy --output generator.npz

Names and layouts are those of PyTorch's state_dict. The ONNX model (operator set 13) takes
`latents` [N, z], and `classes` [N] where the generator is told classes, and gives `images`
[N, C, H, W] in the interval of data.range. --format npy writes one .npz archive with an array for
each tensor.")]
pub(super) struct ExportArgs {
    /// Folder of a run (its newest checkpoint is used) or of a checkpoint; `latest` is the run in runs/ that was trained
    /// last
    #[arg(value_name = "RUN|CHECKPOINT")]
    source: PathBuf,

    /// Format [default: by the name of --output, or safetensors]
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// Network [default: the generator's moving average, if the run has one, or else the generator]
    #[arg(long, value_enum)]
    part: Option<Part>,

    /// File to write [default: the part's name with the format's ending]
    #[arg(long, value_name = "FILE", value_parser = target_parser())]
    output: Option<PathBuf>,

    #[command(flatten)]
    force: ForceArgs,
}

/// The formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// PyTorch, and most others: safetensors.torch.load_file
    Safetensors,
    /// A generator for ONNX's runtimes
    Onnx,
    /// NumPy: a .npz archive with an array for each tensor
    #[value(alias = "npz")]
    Npy,
}

impl Format {
    /// The ending of its files.
    fn ending(self) -> &'static str {
        match self {
            Format::Safetensors => "safetensors",
            Format::Onnx => "onnx",
            Format::Npy => "npz",
        }
    }
}

/// A network of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The generator's moving average
    Average,
    /// The generator as it was trained
    Generator,
    /// The discriminator
    Discriminator,
    /// The encoder of mode regularisation
    Encoder,
}

impl Part {
    /// The prefix of the names of its tensors in a checkpoint, and the name of the default output.
    fn name(self) -> &'static str {
        match self {
            Part::Average => "average",
            Part::Generator => "generator",
            Part::Discriminator => "discriminator",
            Part::Encoder => "encoder",
        }
    }
}

/// The options of `export`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExportOptions {
    /// A run's folder or a checkpoint's.
    pub(crate) source: PathBuf,
    /// The format.
    pub(crate) format: Format,
    /// The network; `None` stands for the weights that samples are drawn with.
    pub(crate) part: Option<Part>,
    /// The file to write; `None` for the default name.
    pub(crate) output: Option<PathBuf>,
    /// Overwrite an existing file.
    pub(crate) force: ForceArgs,
}

impl ExportArgs {
    pub(super) fn resolve(self) -> Result<ExportOptions> {
        let ExportArgs { source, format, part, output, force } = self;
        let by_name = output.as_deref().and_then(Path::extension).and_then(|ending| {
            Format::value_variants().iter().copied().find(|format| ending.eq_ignore_ascii_case(format.ending()))
        });
        let format = format.or(by_name).unwrap_or(Format::Safetensors);
        let output = output.map(|output| file_of("--output", format.ending(), output)).transpose()?;
        if format == Format::Onnx && matches!(part, Some(Part::Discriminator | Part::Encoder)) {
            return Err(Error::Usage(
                "--format onnx exports generators alone: pass --format safetensors for other networks".into(),
            ));
        }
        let source = named(source, Path::new("runs"))?;
        Ok(ExportOptions { source, format, part, output, force })
    }
}

/// Reads the checkpoint, and writes the part.
pub(super) fn run(options: ExportOptions) -> Result<()> {
    let found = Found::find(&options.source)?;
    found.notes.iter().for_each(|note| to_stderr(note));
    let has_average = found.settings.generator.is_averaged();
    let part = options.part.unwrap_or(if has_average { Part::Average } else { Part::Generator });
    let output = options.output.unwrap_or_else(|| format!("{}.{}", part.name(), options.format.ending()).into());
    require_new(std::slice::from_ref(&output), options.force, "--output")?;
    let tensors = tensors_of(&found, part)?;
    match options.format {
        Format::Safetensors => tensors::write(&output, &tensors)?,
        Format::Npy => npy::write_npz(&output, &tensors)?,
        Format::Onnx => write_file(&output, &model(&found, part, &tensors)?)?,
    }
    let weights: usize = tensors.iter().map(|tensor| tensor.values.len()).sum();
    let count = tensors.len();
    output::print(&format!(
        "{} of {}, {count} tensors, {weights} values: {}\n",
        part.name(),
        readable_path(&found.path),
        readable_path(&output)
    ))
}

/// The tensors of a part, under the names of its own `state_dict`.
fn tensors_of(found: &Found, part: Part) -> Result<Vec<Tensor>> {
    let prefix = format!("{}.", part.name());
    let own = found.model.iter().filter_map(|tensor| {
        let name = tensor.name.strip_prefix(&prefix)?;
        Some(Tensor { name: name.to_string(), ..tensor.clone() })
    });
    let own: Vec<Tensor> = own.collect();
    if own.is_empty() {
        let parts = found.model.iter().filter_map(|tensor| Some(tensor.name.split_once('.')?.0));
        let mut parts: Vec<&str> = parts.collect();
        parts.dedup();
        let expected = format!("tensors of `{}`", part.name());
        return Err(Error::bad_data(
            found.path.join("model.safetensors"),
            expected,
            format!("only {}", parts.join(", ")),
        ));
    }
    Ok(own)
}

/// A generator as an ONNX model.
fn model(found: &Found, part: Part, tensors: &[Tensor]) -> Result<Vec<u8>> {
    let (settings, image) = (&found.settings, found.state.image);
    let (generator, parts) = Generator::new(&DryRun::<f32>::default(), settings, image, 1)?;
    let operations = generator
        .net()
        .operations()
        .map_err(|layer| Error::Usage(format!("ONNX has no layer `{layer}`: pass --format safetensors")))?;
    let Settings { data, generator, nets, .. } = settings;
    let metadata = [
        ("preset", found.state.preset.clone()),
        ("step", found.state.step.to_string()),
        ("weights", part.name().to_string()),
        ("image_range", data.range.word().to_string()),
        ("latent_prior", generator.prior.word().to_string()),
    ];
    let model = onnx::Generator {
        operations: &operations,
        parts: &parts,
        tensors,
        latent: generator.latent,
        conditional: nets.is_conditional(),
        image,
        metadata: &metadata,
    };
    model.encode()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    fn options(words: &str) -> Option<ExportOptions> {
        match Cli::try_parse_from(["vgan-cuda", "export"].into_iter().chain(words.split(' '))).ok()?.command {
            Command::Export(args) => args.resolve().ok(),
            _ => None,
        }
    }

    #[test]
    fn the_format_follows_the_name() {
        for (words, format) in [
            ("run", Format::Safetensors),
            ("run --output g.onnx", Format::Onnx),
            ("run --output g.ONNX", Format::Onnx),
            ("run --output g.npz", Format::Npy),
            ("run --format npz", Format::Npy),
            ("run --format npy", Format::Npy),
            ("run --part discriminator --output d.safetensors", Format::Safetensors),
        ] {
            assert_eq!(options(words).map(|options| options.format), Some(format), "{words}");
        }
        for wrong in [
            "run --output g.bin",
            "run --format onnx --output g.npz",
            "run --part encoder --format onnx",
            "run --part x",
        ] {
            assert_eq!(options(wrong), None, "{wrong}");
        }
    }
}
