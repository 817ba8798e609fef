//! Cases from the field: what users of image tools, GAN trainers and cluster jobs ran into, each as a test on the real program with
//! its right value. A test's name begins with the number of its case; further members of the same kind stand beside it.

mod building;
mod command_line;
mod completion;
mod layouts;
mod look;
mod numbers;
mod pictures;
mod runs;
mod runs_changes;
mod runs_drawing;
mod sets;
mod signals;
mod terminal;
