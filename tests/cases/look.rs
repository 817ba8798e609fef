//! What people look at: curves, progress, the console line.
