//! Memory and launch.
