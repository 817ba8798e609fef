//! Runs that move, change, go back in time, and are listed.
