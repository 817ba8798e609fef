//! Hints, completion, settings, and what commands print.
