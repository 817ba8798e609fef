//! `dataset fetch`: downloads with mirrors, resume and pinned checksums. The only code that opens a connection.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::downloads::{DATASETS, RemoteFile, dataset};
use crate::error::{Error, Result};

/// Attempts at one mirror, as long as each brings the download forward.
const ATTEMPTS: u32 = 8;

/// Downloads data set `name` into the folder `target`, which [`load`](super::load) then takes, and returns that folder.
///
/// `mirrors` replaces the built-in addresses. `progress` gets the bytes that are there and their final number. Files
/// that are whole already are left alone, and a download that was cut off goes on where it stopped.
///
/// # Errors
/// [`Error::Usage`] for an unknown name; [`Error::Io`] where no mirror gives the right bytes (all of them are listed),
/// or the disk refuses.
pub fn fetch(
    name: &str,
    target: &Path,
    mirrors: Option<&[String]>,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<PathBuf> {
    let Some(dataset) = dataset(name) else {
        let names: Vec<&str> = DATASETS.iter().map(|dataset| dataset.name).collect();
        return Err(Error::Usage(format!("there is no data set {name:?} to fetch: choose {}", names.join(", "))));
    };
    let built_in: Vec<String> = dataset.mirrors.iter().map(ToString::to_string).collect();
    fetch_files(dataset.files, mirrors.unwrap_or(&built_in), target, progress)?;
    Ok(target.to_path_buf())
}

/// Downloads `files` from the first of `mirrors` that has them into the folder `target`; see [`fetch`].
///
/// # Errors
/// As [`fetch`].
pub fn fetch_files(
    files: &[RemoteFile<'_>],
    mirrors: &[String],
    target: &Path,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<()> {
    fs::create_dir_all(target).map_err(|e| Error::io(target, "create the folder", e))?;
    let total = files.iter().map(|file| file.bytes).sum();
    let mut done = 0;
    for file in files {
        progress(done, Some(total));
        let path = target.join(file.name);
        if !is_good(&path, file)? {
            download(file, mirrors, &path, &mut |bytes| progress(done + bytes, Some(total)))?;
        }
        done += file.bytes;
    }
    progress(done, Some(total));
    Ok(())
}

/// Returns true if `path` already holds the right bytes.
fn is_good(path: &Path, file: &RemoteFile<'_>) -> Result<bool> {
    match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io(path, "read", e)),
        Ok(metadata) => Ok(metadata.len() == file.bytes && digest(path)? == file.sha256),
    }
}

fn digest(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = file.read(&mut buffer).map_err(|e| Error::io(path, "read", e))?;
        if length == 0 {
            break;
        }
        hasher.update(&buffer[..length]);
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The reason that an attempt failed.
enum Failure {
    /// The connection broke, or an old part was of no use: the same mirror may well do better next time.
    Broken(String),
    /// This mirror does not have the file.
    Refused(String),
    /// The trouble is on this machine, so other mirrors can't help.
    Local(Error),
}

/// Downloads one file, mirror by mirror, and moves it to `path` when it is whole and right.
fn download(file: &RemoteFile<'_>, mirrors: &[String], path: &Path, progress: &mut dyn FnMut(u64)) -> Result<()> {
    let part = path.with_file_name(format!("{}.part", file.name));
    let mut reasons = Vec::new();
    for mirror in mirrors {
        let url = format!("{}/{}", mirror.trim_end_matches('/'), file.name);
        let agent = agent(&url);
        let mut before = part_length(&part)?;
        for attempt in 1..=ATTEMPTS {
            match attempt_download(&agent, &url, file, &part, progress) {
                Ok(()) => return fs::rename(&part, path).map_err(|e| Error::io(path, "rename the download to", e)),
                Err(Failure::Local(error)) => return Err(error),
                Err(Failure::Refused(reason)) => {
                    reasons.push(format!("{url}: {reason}"));
                    break;
                }
                Err(Failure::Broken(reason)) => {
                    let after = part_length(&part)?;
                    if attempt == ATTEMPTS || after == before {
                        reasons.push(format!("{url}: {reason}"));
                        break;
                    }
                    before = after;
                    std::thread::sleep(Duration::from_millis(100) * attempt);
                }
            }
        }
    }
    let advice = "run the command again to continue, or pass another mirror with --mirror URL";
    let reasons = if reasons.is_empty() { "no mirror was given".to_string() } else { reasons.join("; ") };
    Err(Error::io(path, "download", io::Error::other(format!("{reasons}; {advice}"))))
}

fn part_length(part: &Path) -> Result<u64> {
    match fs::metadata(part) {
        Ok(metadata) => Ok(metadata.len()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(Error::io(part, "read", e)),
    }
}

fn agent(url: &str) -> ureq::Agent {
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("vgan-cuda/", env!("CARGO_PKG_VERSION")))
        // The pinned bytes are the file's own, so the server must not pack them once more.
        .accept_encoding("identity")
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_per_read(Some(Duration::from_secs(60)));
    let host = url.split("://").nth(1).unwrap_or_default();
    if ["127.0.0.1", "localhost", "[::1]"].iter().any(|loopback| host.starts_with(loopback)) {
        // No proxy can reach this machine's own servers.
        config = config.proxy(None);
    }
    config.build().new_agent()
}

/// One request: takes up the part that is there, appends what comes, and checks the whole.
fn attempt_download(
    agent: &ureq::Agent,
    url: &str,
    file: &RemoteFile<'_>,
    part: &Path,
    progress: &mut dyn FnMut(u64),
) -> std::result::Result<(), Failure> {
    let mut resumed_at = part_length(part).map_err(Failure::Local)?;
    if resumed_at > file.bytes {
        remove(part)?;
        resumed_at = 0;
    }
    if resumed_at < file.bytes {
        let mut request = agent.get(url);
        if resumed_at > 0 {
            request = request.header("Range", format!("bytes={resumed_at}-"));
        }
        let response = request.call().map_err(|e| Failure::Broken(e.to_string()))?;
        resumed_at = start_of_answer(&response, file, resumed_at, part)?;
        append(response.into_body().into_reader(), file, part, resumed_at, progress)?;
    }
    let found = digest(part).map_err(Failure::Local)?;
    if found == file.sha256 {
        return Ok(());
    }
    remove(part)?;
    let reason = format!("its SHA-256 is {found}, and {} was expected", file.sha256);
    // The fault may lie in the part that was there before, so that a fresh start is worth a try.
    Err(if resumed_at > 0 { Failure::Broken(reason) } else { Failure::Refused(reason) })
}

/// The offset that the answer's body starts at: that of the part where the server resumes, 0 where it starts anew.
fn start_of_answer(
    response: &ureq::http::Response<ureq::Body>,
    file: &RemoteFile<'_>,
    resumed_at: u64,
    part: &Path,
) -> std::result::Result<u64, Failure> {
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    match response.status().as_u16() {
        200 => match header("content-length").and_then(|length| length.parse::<u64>().ok()) {
            Some(length) if length != file.bytes => {
                Err(Failure::Refused(format!("it has {length} bytes, and {} were expected", file.bytes)))
            }
            _ => Ok(0),
        },
        206 => {
            let range = header("content-range").unwrap_or_default();
            if range == format!("bytes {resumed_at}-{}/{}", file.bytes - 1, file.bytes) {
                return Ok(resumed_at);
            }
            remove(part)?;
            Err(Failure::Broken(format!(
                "it answers with the range {range:?}, and the rest from {resumed_at} was asked"
            )))
        }
        416 => {
            remove(part)?;
            Err(Failure::Broken(format!("HTTP status 416: it can't resume at {resumed_at}")))
        }
        status => Err(Failure::Refused(format!("HTTP status {status}"))),
    }
}

/// Writes the body to the part file from `offset` on; the file is on disk, whole, when this returns `Ok`.
fn append(
    mut body: impl Read,
    file: &RemoteFile<'_>,
    part: &Path,
    offset: u64,
    progress: &mut dyn FnMut(u64),
) -> std::result::Result<(), Failure> {
    let local = |e: io::Error| Failure::Local(Error::io(part, "write", e));
    let mut options = OpenOptions::new();
    options.create(true).write(true);
    let mut output =
        if offset > 0 { options.append(true) } else { options.truncate(true) }.open(part).map_err(local)?;
    let mut length = offset;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = body.read(&mut buffer).map_err(|e| Failure::Broken(format!("{e} after {length} bytes")))?;
        if count == 0 {
            break;
        }
        length += count as u64;
        if length > file.bytes {
            remove(part)?;
            return Err(Failure::Refused(format!("it sends more than the expected {} bytes", file.bytes)));
        }
        output.write_all(&buffer[..count]).map_err(local)?;
        progress(length);
    }
    output.sync_all().map_err(local)?;
    if length < file.bytes {
        return Err(Failure::Broken(format!("the connection ended after {length} of {} bytes", file.bytes)));
    }
    Ok(())
}

fn remove(part: &Path) -> std::result::Result<(), Failure> {
    match fs::remove_file(part) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Failure::Local(Error::io(part, "remove", e))),
        _ => Ok(()),
    }
}
