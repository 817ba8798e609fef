//! `completions`: prints the completion script of a shell.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, output};
use crate::error::Result;

/// Print the completion script for a shell
///
/// Commands, flags, presets, data sets, dtypes, devices, the settings of --set with their words, and paths are completed.
#[derive(Debug, Args)]
#[command(after_help = INSTALL)]
pub(super) struct CompletionsArgs {
    /// The shell
    pub(super) shell: Shell,
}

const INSTALL: &str = "\
To install, once:
  bash  with the package bash-completion:
          mkdir -p ~/.local/share/bash-completion/completions
          vgan-cuda completions bash > ~/.local/share/bash-completion/completions/vgan-cuda
        or without it, a line in ~/.bashrc:
          source <(vgan-cuda completions bash)
  zsh   a line in ~/.zshrc, behind the one that calls compinit:
          source <(vgan-cuda completions zsh)
        or a file _vgan-cuda in a folder of $fpath:
          vgan-cuda completions zsh > ~/.zfunc/_vgan-cuda
  fish  mkdir -p ~/.config/fish/completions
        vgan-cuda completions fish > ~/.config/fish/completions/vgan-cuda.fish
Then start a new shell. These scripts ask the program, so an update does not change them. Those for
elvish and powershell know only commands and flags: print them again after an update.";

/// Prints the script for `shell`.
pub(super) fn run(shell: Shell) -> Result<()> {
    let script = match shell {
        Shell::Bash => include_str!("completions/vgan-cuda.bash").to_string(),
        Shell::Zsh => include_str!("completions/_vgan-cuda").to_string(),
        Shell::Fish => include_str!("completions/vgan-cuda.fish").to_string(),
        other => {
            // The generator panics where its writer fails, so it writes into memory.
            let mut script = Vec::new();
            clap_complete::generate(other, &mut Cli::command(), "vgan-cuda", &mut script);
            String::from_utf8_lossy(&script).into_owned()
        }
    };
    output::print(&script)
}
