//! tests/gpu.sh, shortened, so that the first machine with a GPU finds a script that has run.
