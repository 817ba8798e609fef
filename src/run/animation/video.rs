//! MP4 by ffmpeg, which is given the frames as they are.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::super::atomic::{Temporary, sync_parent};
use super::frames::Animation;
use crate::error::{Error, Result, readable_path};

const FFMPEG: &str = "ffmpeg";

/// Refuses to begin what needs ffmpeg where it is not installed. `path` is the file to be written.
///
/// # Errors
/// [`Error::Usage`] with what to do.
pub fn require_ffmpeg(path: &Path) -> Result<()> {
    let found =
        Command::new(FFMPEG).arg("-version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match found {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Error::Usage(format!(
            "{}: MP4 is written by ffmpeg, which is not installed or does not start: install it (`apt install ffmpeg`), \
             or pass a name that ends in .gif or .apng",
            readable_path(path)
        ))),
    }
}

/// Writes the frames as MP4.
pub(super) fn write(animation: &Animation, path: &Path) -> Result<()> {
    require_ffmpeg(path)?;
    let temporary = Temporary::file(path)?;
    let size = animation.shown();
    let pixels = if size.c == 1 { "gray" } else { "rgb24" };
    // Without a name that could be taken for an option or another protocol.
    let mut target = std::ffi::OsString::from("file:");
    target.push(temporary.path());
    let mut command = Command::new(FFMPEG);
    command
        .args(["-nostdin", "-loglevel", "error", "-f", "rawvideo", "-pixel_format", pixels])
        .args([
            "-video_size",
            &format!("{}x{}", size.w, size.h),
            "-framerate",
            &animation.fps.to_string(),
            "-i",
            "pipe:0",
        ])
        // Players want an even size, and this order of colours.
        .args([
            "-vf",
            "pad=ceil(iw/2)*2:ceil(ih/2)*2",
            "-pix_fmt",
            "yuv420p",
            "-movflags",
            "+faststart",
            "-f",
            "mp4",
            "-y",
        ])
        .arg(target)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let failed = |why: String| Error::Failed(format!("{}: ffmpeg failed: {why}", readable_path(path)));
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let fed = child.stdin.take().map(|stdin| feed(animation, stdin));
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed(said.lines().last().map_or_else(|| output.status.to_string(), str::to_string)));
    }
    if let Some(Err(error)) = fed {
        return Err(failed(error.to_string()));
    }
    temporary.rename_to(path)?;
    sync_parent(path)
}

/// Sends all frames; a frame that is shown longer is sent again.
fn feed(animation: &Animation, mut stdin: impl Write) -> std::io::Result<()> {
    for (frame, length) in animation.frames().zip(animation.lengths()) {
        let frame = animation.magnified(frame, animation.shape.c);
        (0..length).try_for_each(|_| stdin.write_all(&frame))?;
    }
    stdin.flush()
}
