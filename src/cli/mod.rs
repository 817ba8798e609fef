//! The command line: one file a subcommand.
//!
//! Each file holds the subcommand's arguments as clap parses them (`…Args`), the options that they resolve to
//! (`…Options`: complete, checked, free of clap), and `run`, which does the work. The program prints results to
//! standard output and everything else to standard error.

mod animate;
mod arguments;
mod bench;
mod bench_plan;
mod bench_tune;
mod compare;
mod complete;
mod completions;
mod dataset;
mod dataset_export;
mod details;
mod doctor;
mod dry_run;
mod eval;
mod experiment;
mod export;
mod generate;
mod gradcheck;
mod import;
mod interpolate;
mod latents;
mod list;
mod load_options;
mod outcome;
mod output;
mod ranks;
mod report;
mod resume;
mod resuming;
mod serve;
mod settings;
mod survey;
mod target;
mod text_table;
mod trace;
mod train;
mod train_options;
mod training;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::{Error, Result};
use crate::run::messages::{Verbosity, set_verbosity};

/// Train GANs with a Variational Discriminator Bottleneck (VGAN, Peng et al. 2018).
#[derive(Debug, Parser)]
#[command(name = "vgan-cuda", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Quiet: only warnings and errors on standard error; results still go to standard output
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = 900)]
    quiet: bool,

    /// Verbose: also show settings that differ from the preset, the device, the memory, and the time of each save
    #[arg(short, long, global = true, display_order = 901)]
    verbose: bool,
}

impl Cli {
    /// Verbosity by the flags, before the command and after it.
    fn verbosity(&self) -> Result<Verbosity> {
        match (self.quiet, self.verbose) {
            (true, true) => Err(Error::Usage("--quiet and --verbose exclude each other: pass only one of them".into())),
            (true, false) => Ok(Verbosity::Quiet),
            (false, true) => Ok(Verbosity::Verbose),
            (false, false) => Ok(Verbosity::Normal),
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  vgan-cuda train                            a first look: digits within two minutes
  vgan-cuda train vgan-mnist --data FILE     the article's VGAN on your copy of MNIST
  vgan-cuda resume runs/00000-quick-b64      continue a run that was stopped
  vgan-cuda generate runs/00000-quick-b64    draw samples from it

Exit codes: 0 done, 1 failed, 2 usage, 3 bad data, 4 device or memory, 5 diverged, 128 + n signal n.";

#[derive(Debug, Subcommand)]
enum Command {
    Train(Box<train::TrainArgs>),
    Resume(resume::ResumeArgs),
    Generate(generate::GenerateArgs),
    Interpolate(interpolate::InterpolateArgs),
    Animate(animate::AnimateArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    Eval(eval::EvalArgs),
    List(list::ListArgs),
    Compare(compare::CompareArgs),
    Report(report::ReportArgs),
    Experiment(experiment::ExperimentArgs),
    Trace(trace::TraceArgs),
    Gradcheck(gradcheck::GradcheckArgs),
    Bench(bench::BenchArgs),
    Dataset(dataset::DatasetArgs),
    Settings(settings::ListSettingsArgs),
    Doctor(doctor::DoctorArgs),
    Completions(completions::CompletionsArgs),
    Complete(complete::CompleteArgs),
}

impl Command {
    fn run(self) -> Result<()> {
        match self {
            Command::Train(args) => train::run(args.resolve()?),
            Command::Resume(args) => resume::run(args.resolve()?),
            Command::Generate(args) => generate::run(args.resolve()?),
            Command::Animate(args) => animate::run(args.resolve()?),
            Command::Interpolate(args) => interpolate::run(args.resolve()?),
            Command::Export(args) => export::run(args.resolve()?),
            Command::Import(args) => import::run(args.resolve()?),
            Command::Eval(args) => eval::run(args.resolve()?),
            Command::List(args) => list::run(args.resolve()),
            Command::Compare(args) => compare::run(args.resolve()),
            Command::Report(args) => report::run(args.resolve()?),
            Command::Experiment(args) => experiment::run(args.resolve()?),
            Command::Trace(args) => trace::run(args.resolve()?),
            Command::Gradcheck(args) => gradcheck::run(args.resolve()),
            Command::Bench(args) => bench::run(args.resolve()),
            Command::Dataset(args) => dataset::run(args.resolve()),
            Command::Settings(args) => settings::run(args.resolve()),
            Command::Doctor(args) => doctor::run(args.resolve()),
            Command::Completions(args) => completions::run(args.shell),
            Command::Complete(args) => complete::run(args),
        }
    }
}

/// Runs the program on the process's own arguments.
///
/// An error goes to standard error as `error: …`, and its kind decides the exit code ([`Error::exit_code`]). Where
/// the reader of standard output has gone away (`vgan-cuda … | head`), the program ends quietly with code 0.
pub fn main() -> ExitCode {
    crate::train::interrupt::survive_file_limit();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version arrive here too, with code 0. A closed pipe is no reason to complain.
        Err(error) => {
            let _ = error.print();
            return exit_code(error.exit_code());
        }
    };
    let outcome = cli.verbosity().and_then(|verbosity| {
        set_verbosity(verbosity);
        cli.command.run()
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::reader_is_gone(&error) => ExitCode::SUCCESS,
        Err(error) if ranks::is_said_elsewhere(&error) => exit_code(error.exit_code()),
        Err(error) => {
            report(&error);
            exit_code(error.exit_code())
        }
    }
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// Prints the chain of errors, leaving out causes that the message before them tells already.
fn report(error: &Error) {
    let mut stderr = std::io::stderr().lock();
    let mut shown = error.to_string();
    let _ = writeln!(stderr, "error: {shown}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !shown.contains(&text) {
            let _ = writeln!(stderr, "  caused by: {text}");
            shown = text;
        }
        cause = error.source();
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_and_flag_is_documented() {
        fn check(command: &clap::Command) {
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                assert!(sub.get_about().is_some(), "{} has no description", sub.get_name());
                check(sub);
            }
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {} has no help", command.get_name(), argument.get_id());
            }
        }
        check(&Cli::command());
    }
}
