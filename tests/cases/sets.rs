//! Data sets: which files are taken, what is left out, and what is said of it.
