//! `dataset export`: the images as training sees them, as PNG files in a folder for each class.

use std::fs;
use std::path::{Path, PathBuf};

use super::output;
use crate::data::{self, Images, LoadOptions};
use crate::error::{Error, Result, readable_path};
use crate::run::{Temporary, picture};

/// Writes the images into a new folder, which appears whole or not at all.
///
/// # Errors
/// Those of [`data::load`]; [`Error::Usage`] where the folder is there already; [`Error::Io`] where something can't be written.
pub(super) fn export(source: &str, options: &LoadOptions, limit: Option<usize>, outdir: &Path) -> Result<()> {
    // A link that leads nowhere is there, too.
    if outdir.symlink_metadata().is_ok() {
        let message = format!("{} is there already: pass another --outdir, or move it away", readable_path(outdir));
        return Err(Error::Usage(message));
    }
    let images = data::load(source, options)?;
    let count = images.count.min(limit.unwrap_or(images.count));
    let above = outdir.parent().filter(|above| !above.as_os_str().is_empty());
    if let Some(above) = above {
        fs::create_dir_all(above).map_err(|error| Error::io(above, "create the folder", error))?;
    }
    let folder = Temporary::folder(outdir)?;
    write(&images, count, folder.path())?;
    folder.rename_to(outdir)?;
    let classes = match &images.labels {
        Some(labels) => format!(" in folders of {} classes", labels.names.len()),
        None => String::new(),
    };
    output::print(&format!(
        "{count} images of {}×{}×{}{classes}: {}\n",
        images.height,
        images.width,
        images.channels,
        readable_path(outdir)
    ))
}

/// The first `count` images, numbered from 0 with as many digits as all together need.
fn write(images: &Images, count: usize, folder: &Path) -> Result<()> {
    let digits = images.count.saturating_sub(1).to_string().len();
    let place = |index: usize| -> PathBuf {
        let class = images.labels.as_ref().map(|labels| labels.names[usize::from(labels.classes[index])].as_str());
        class.map_or(folder.to_path_buf(), |class| folder.join(class)).join(format!("{index:0digits$}.png"))
    };
    if let Some(labels) = &images.labels {
        for name in &labels.names {
            let path = folder.join(name);
            fs::create_dir_all(&path).map_err(|error| Error::io(&path, "create the folder", error))?;
        }
    }
    let shape = images.shape();
    for (index, pixels) in images.pixels.chunks_exact(shape.len()).take(count).enumerate() {
        let path = place(index);
        // Without this program's name, by which its own pictures are left out of a data set.
        fs::write(&path, picture::plain_png(shape, pixels)?)
            .map_err(|error| Error::io(&path, "write the file", error))?;
    }
    Ok(())
}
