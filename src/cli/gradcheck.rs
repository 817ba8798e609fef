//! `gradcheck`: holds every backward pass against central differences.

use clap::Args;

use super::arguments::DeviceChoice;
use crate::error::{Error, Result};

/// Check every backward pass against central differences, and print the table
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda gradcheck
  vgan-cuda gradcheck --filter batch_norm --json")]
pub(super) struct GradcheckArgs {
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,

    /// Only operations whose name or case contains this text [default: all]
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,

    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: DeviceChoice,
}

/// What to check, and how to print it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GradcheckOptions {
    /// JSON lines instead of a table.
    pub(crate) json: bool,
    /// Only operations whose name or case contains this text.
    pub(crate) filter: Option<String>,
    /// Where to compute.
    pub(crate) device: DeviceChoice,
}

impl GradcheckArgs {
    pub(super) fn resolve(self) -> GradcheckOptions {
        GradcheckOptions { json: self.json, filter: self.filter, device: self.device }
    }
}

/// Checks, and prints op, case, worst error and where.
pub(super) fn run(_options: GradcheckOptions) -> Result<()> {
    // WIRE: walk the cases of ops and the losses of train; exit 1 if one fails.
    Err(Error::Internal("not wired yet".into()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    #[test]
    fn options() {
        let cli = Cli::try_parse_from("vgan-cuda gradcheck --json --filter conv --device cuda".split(' ')).unwrap();
        let Command::Gradcheck(args) = cli.command else { panic!("{cli:?}") };
        let (filter, device) = (Some("conv".into()), DeviceChoice::Cuda(0));
        assert_eq!(args.resolve(), GradcheckOptions { json: true, filter, device });
    }
}
