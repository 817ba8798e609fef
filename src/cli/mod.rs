//! The command line.

/// Runs the program on the process's own arguments.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
