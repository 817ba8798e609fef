//! `--serve`: the report of a run as a live page, while it trains.

use std::fs;

use clap::Args;

use super::output::to_stderr;
use super::report::{Pictures, gather, page};
use crate::error::Result;
use crate::run::RunFolder;
use crate::run::report::{Page, listed};
use crate::run::serve::{Address, Bound, Server, Site};

/// The flag of the commands that train one run.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(super) struct ServeArgs {
    /// Show the run as a live page in the browser, at this address; without ADDR on a free port, for this machine alone
    #[arg(long, value_name = "ADDR", num_args = 0..=1, require_equals = true, default_missing_value = Address::DEFAULT)]
    pub(super) serve: Option<Address>,
}

impl ServeArgs {
    /// Takes the port, if one is asked for: a port in use is told before training starts.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) where the address can't be had.
    pub(super) fn bind(&self) -> Result<Option<Bound>> {
        self.serve.as_ref().map(Bound::new).transpose()
    }
}

/// Serves the page of the run in this folder, and says where.
///
/// # Errors
/// Those of [`Bound::serve`].
pub(super) fn serve(bound: Bound, folder: &RunFolder) -> Result<Server> {
    let (url, is_public) = (bound.url(), bound.is_public());
    let server = bound.serve(LiveRun { folder: folder.clone() })?;
    to_stderr(&format!("live page: {url}"));
    if is_public {
        to_stderr("warning: --serve: whoever can reach this machine on that port can see the run, without a password");
    }
    Ok(server)
}

/// A run that is read from its folder whenever somebody asks.
struct LiveRun {
    folder: RunFolder,
}

impl LiveRun {
    fn live(&self) -> Page {
        Page { live: true, ..page(vec![gather(&self.folder, Pictures::Served)], &[]) }
    }
}

impl Site for LiveRun {
    fn page(&self) -> Result<String> {
        self.live().html()
    }

    fn data(&self) -> Result<String> {
        self.live().json()
    }

    fn samples(&self, step: u64) -> Option<Vec<u8>> {
        // One of those that are there: a number makes no path.
        let (_, path) = listed(&self.folder).into_iter().find(|(of, _)| *of == step)?;
        fs::read(path).ok()
    }

    fn reals(&self) -> Option<Vec<u8>> {
        fs::read(self.folder.reals_path()).ok()
    }
}
