//! The driver's interface as programs see it: each test runs in a process of its own, which loads the library under the name
//! that a real driver has, through cudarc.

mod capture;
mod child;
mod contexts;
mod cuda;
mod faults;
mod graphs;
mod launches;
mod memory;
mod misuse;
mod order;
mod program;
mod streams;
mod tensor_maps;
mod written;
