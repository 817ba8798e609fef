//! NCCL's interface as programs see it: each test runs in a process of its own, which loads the two stand-ins under the names that the
//! real libraries have. Ranks are threads there, or processes where one dies.

mod child;
mod collectives;
mod failures;
mod nccl;
mod order;
