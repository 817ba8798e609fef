//! `gradcheck`: holds every backward pass against central differences.

use clap::{Args, ValueEnum};

use super::arguments::DeviceChoice;
use super::output;
use crate::device::{Accelerator, Cpu, cuda};
use crate::error::{Error, Result};
use crate::ops::{self, Case, Executor};
use crate::proof;
use crate::proof::gradient_check::{Finding, TOLERANCE, check};

/// Check every backward pass against central differences, and print the table
///
/// In f64: each operation by each of its inputs, and the whole losses of both nets by every parameter and input. A
/// relative error above 1e-6 fails, and then the exit code is 1.
#[derive(Debug, Args)]
#[command(after_help = "\
The error is relative to the element, or to 1e-2 of the tensor's largest element, 1e-3 of the case's
largest, or 1e-8, whichever is largest.

Examples:
  vgan-cuda gradcheck
  vgan-cuda gradcheck --filter batch_norm --json
  vgan-cuda gradcheck --only losses --filter 'residual blocks' --filter began")]
pub(super) struct GradcheckArgs {
    /// Print JSON, one object per line
    #[arg(long)]
    json: bool,

    /// Only cases whose operation or name contains this text; can be repeated [default: all]
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,

    /// Only operations, or only whole losses and penalties, which take longest on a GPU [default: both]
    #[arg(long, value_name = "KIND")]
    only: Option<Kind>,

    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: DeviceChoice,
}

/// Kinds of cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Single operations.
    Operations,
    /// Whole losses and whole gradient penalties.
    Losses,
}

/// The options of `gradcheck`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GradcheckOptions {
    /// JSON lines instead of a table.
    pub(crate) json: bool,
    /// Only cases whose operation or own name contains any of these texts; empty for all.
    pub(crate) filter: Vec<String>,
    /// Only cases of this kind.
    pub(crate) only: Option<Kind>,
    /// The device to compute on.
    pub(crate) device: DeviceChoice,
}

impl GradcheckArgs {
    pub(super) fn resolve(self) -> GradcheckOptions {
        GradcheckOptions { json: self.json, filter: self.filter, only: self.only, device: self.device }
    }
}

/// Checks, and prints op, case, worst error and where.
pub(super) fn run(options: GradcheckOptions) -> Result<()> {
    output::warn_if_unoptimised();
    match options.device {
        DeviceChoice::Cuda(number) => check_on(Accelerator::<f64>::new(cuda::open(number)?), &options),
        DeviceChoice::Auto | DeviceChoice::Cpu => check_on(Cpu::<f64>::new(None)?, &options),
    }
}

fn check_on<B: Executor<Real = f64>>(backend: B, options: &GradcheckOptions) -> Result<()> {
    let cases = chosen_cases(&backend, options)?;
    if !options.json {
        output::print(&format!("{:<18} {:<38} {:<22} {:>8} {:>9}  at\n", "op", "case", "of", "elements", "worst"))?;
    }
    let (mut total, mut failed) = (0, 0);
    for case in cases {
        for finding in backend.run(|| check(&backend, &case))? {
            total += 1;
            failed += usize::from(!finding.passes(TOLERANCE));
            output::print(&if options.json { json_line(&finding)? } else { table_line(&finding) })?;
        }
    }
    match failed {
        0 if options.json => Ok(()),
        0 => output::print(&format!("{total} derivatives, none off by more than {TOLERANCE:.0e}\n")),
        _ => Err(Error::Failed(format!("{failed} of {total} derivatives are off by more than {TOLERANCE:.0e}"))),
    }
}

/// Operations first, then the whole losses.
fn chosen_cases<B: Executor<Real = f64>>(backend: &B, options: &GradcheckOptions) -> Result<Vec<Case<B>>> {
    let GradcheckOptions { filter, only, .. } = options;
    let mut cases = Vec::new();
    if *only != Some(Kind::Losses) {
        cases.extend(ops::cases());
    }
    if *only != Some(Kind::Operations) {
        cases.extend(proof::cases(backend)?);
    }
    let mut names: Vec<&str> = cases.iter().map(|case| case.op()).collect();
    names.sort_unstable();
    names.dedup();
    let names = names.join(", ");
    // Each text must be of use, so that a misspelt one among several does not pass for a check.
    let matches = |case: &Case<B>, text: &str| case.op().contains(text) || case.name().contains(text);
    if let Some(text) = filter.iter().find(|text| !cases.iter().any(|case| matches(case, text))) {
        return Err(Error::Usage(format!("--filter {text} matches no case; the operations are {names}")));
    }
    cases.retain(|case| filter.is_empty() || filter.iter().any(|text| matches(case, text)));
    Ok(cases)
}

fn table_line(finding: &Finding) -> String {
    let Finding { op, case, of, elements, worst, at, analytic, numeric } = finding;
    let verdict = match finding.passes(TOLERANCE) {
        true => String::new(),
        false => format!("  FAIL: backward pass {analytic:.9e}, differences {numeric:.9e}"),
    };
    format!("{op:<18} {case:<38} {of:<22} {elements:>8} {worst:>9.1e}  {at}{verdict}\n")
}

fn json_line(finding: &Finding) -> Result<String> {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        #[serde(flatten)]
        finding: &'a Finding,
        tolerance: f64,
        passes: bool,
    }
    let line = Line { finding, tolerance: TOLERANCE, passes: finding.passes(TOLERANCE) };
    output::json(&line)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    fn options_of(words: &str) -> GradcheckOptions {
        let cli = Cli::try_parse_from(format!("vgan-cuda gradcheck {words}").split_whitespace()).unwrap();
        let Command::Gradcheck(args) = cli.command else { panic!("{cli:?}") };
        args.resolve()
    }

    #[test]
    fn options() {
        let (filter, device) = (vec!["conv".into()], DeviceChoice::Cuda(0));
        let expected = GradcheckOptions { json: true, filter, only: Some(Kind::Losses), device };
        assert_eq!(options_of("--json --filter conv --only losses --device cuda"), expected);
    }

    #[test]
    fn cases_are_chosen_by_kind_and_by_text() {
        let cpu = Cpu::<f64>::new(Some(1)).unwrap();
        let chosen = |words: &str| chosen_cases(&cpu, &options_of(words)).map(|cases| cases.len());
        let (all, operations, losses) = (chosen("").unwrap(), chosen("--only operations"), chosen("--only losses"));
        assert_eq!(
            (operations.unwrap(), losses.unwrap()),
            (ops::cases::<Cpu<f64>>().len(), proof::cases(&cpu).unwrap().len())
        );
        assert_eq!(all, chosen("--only operations").unwrap() + chosen("--only losses").unwrap());
        let two = chosen("--filter linear").unwrap() + chosen("--filter adam").unwrap();
        assert_eq!(chosen("--filter linear --filter adam").unwrap(), two);
        assert!(two > 2 && chosen("--only losses --filter residual").unwrap() > 1);
        for words in
            ["--filter linear --filter lineer", "--only losses --filter linear", "--only operations --filter loss_d"]
        {
            let message = chosen(words).unwrap_err().to_string();
            assert!(message.contains("matches no case; the operations are "), "{message}");
        }
    }
}
