//! Says, before a binary's tests, what they need beside a Rust and a C++ compiler, whether it is here, and how long they take. It goes
//! past the capture of test output, so that `cargo test` shows what a green line leaves out.

// Each binary takes what it needs of this, and none is a library.
#![allow(dead_code, unreachable_pub)]

use std::io::Write;
use std::path::Path;

/// Something that tests look for, and whether they find it.
pub struct Need {
    name: String,
    found: bool,
}

impl Need {
    /// Whether it is here.
    pub fn is_found(&self) -> bool {
        self.found
    }
}

/// A program on the path.
pub fn program(name: &str) -> Need {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    Need { name: name.into(), found }
}

/// The real data set that is read as `vgan-cuda --data NAME`, in $VGAN_DATA or in ../shared/data.
pub fn data_set(folder: &str) -> Need {
    let place = std::env::var_os("VGAN_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).join("shared/data"),
        Into::into,
    );
    Need { name: format!("the data set {folder}"), found: place.join(folder).exists() }
}

/// Anything else.
pub fn other(name: &str, found: bool) -> Need {
    Need { name: name.into(), found }
}

/// Prints it. `seconds` are those of the tests on two cores with nothing beside them; what cargo does before is not in them.
pub fn say(part: &str, seconds: u32, needs: &[Need]) {
    let mut text = format!("{part}: about {seconds} s on two cores.");
    for Need { name, found } in needs {
        text += &format!(" {name}: {}.", if *found { "found" } else { "not found, SKIPPED" });
    }
    // `eprintln!` would be captured.
    let _ = writeln!(std::io::stderr(), "{text}");
}
