//! Parses the command line, runs the subcommand, and turns its outcome into an exit code.

fn main() -> std::process::ExitCode {
    vgan_cuda::cli::main()
}
