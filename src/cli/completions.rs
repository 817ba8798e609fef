//! `completions`: prints the completion script of a shell.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, output};
use crate::error::Result;

/// Print the completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda completions bash > ~/.local/share/bash-completion/completions/vgan-cuda
  vgan-cuda completions fish > ~/.config/fish/completions/vgan-cuda.fish")]
pub(super) struct CompletionsArgs {
    /// The shell
    pub(super) shell: Shell,
}

/// Prints the script for `shell`.
pub(super) fn run(shell: Shell) -> Result<()> {
    // The generator panics where its writer fails, so it writes into memory.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "vgan-cuda", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
