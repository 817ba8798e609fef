//! Downloads against a small HTTP server on the loopback interface.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use sha2::{Digest, Sha256};
use tempfile::tempdir;
use vgan_cuda::data::{DATASETS, RemoteFile, fetch, fetch_files};

/// How a server misbehaves.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// Answers ranges with 206.
    Good,
    /// Answers every request with the whole file.
    NoRange,
    /// Closes the connection after this many bytes of each body.
    CutAfter(usize),
    /// The same, and answers every request with the whole file.
    NoRangeCutAfter(usize),
    /// Answers 404.
    Missing,
    /// Answers a range with another one.
    WrongRange,
    /// Answers a range with 416.
    RefusesRange,
    /// Sends without a length, then closes: the length must be checked against the pinned one.
    NoLength,
}

/// A server for one file at any path; `requests` collects the `Range` of each request, or "".
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(content: Vec<u8>, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/folder", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        // The thread ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = answer(stream.unwrap(), &content, manner, &log);
            }
        });
        Server { address, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, content: &[u8], manner: Manner, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut range = String::new();
    for line in BufReader::new(&stream).lines() {
        let line = line?;
        if let Some(value) = line.to_lowercase().strip_prefix("range: ") {
            range = value.to_string();
        }
        if line.is_empty() {
            break;
        }
    }
    log.lock().unwrap().push(range.clone());
    let from: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap_or(0);
    let whole = range.is_empty() || matches!(manner, Manner::NoRange | Manner::NoRangeCutAfter(_) | Manner::NoLength);
    let body = if whole { content } else { &content[from..] };
    let shown = if manner == Manner::WrongRange { 0 } else { from };
    let last = content.len() - 1;
    let head = match manner {
        Manner::Missing => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_string(),
        Manner::RefusesRange if !whole => {
            "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_string()
        }
        Manner::NoLength => "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n".to_string(),
        _ if whole => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()),
        _ => format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {shown}-{last}/{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            content.len(),
            body.len()
        ),
    };
    stream.write_all(head.as_bytes())?;
    match manner {
        Manner::Missing => Ok(()),
        Manner::RefusesRange if !whole => Ok(()),
        Manner::CutAfter(length) | Manner::NoRangeCutAfter(length) => stream.write_all(&body[..length.min(body.len())]),
        _ => stream.write_all(body),
    }
}

/// 300,000 bytes, in which no two stretches are alike.
fn content() -> Vec<u8> {
    (0u32..75_000).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// Fetches the file from these servers; returns the outcome and the progress that was told.
fn get(folder: &Path, servers: &[&Server]) -> (vgan_cuda::Result<()>, Vec<(u64, Option<u64>)>) {
    let content = content();
    let sha256: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    let file = RemoteFile { name: "data.bin", bytes: content.len() as u64, sha256: &sha256 };
    let mirrors: Vec<String> = servers.iter().map(|server| server.address.clone()).collect();
    let mut told = Vec::new();
    let result = fetch_files(&[file], &mirrors, folder, &mut |done, total| told.push((done, total)));
    (result, told)
}

fn assert_complete(folder: &Path) {
    assert!(fs::read(folder.join("data.bin")).unwrap() == content(), "wrong bytes");
    assert!(!folder.join("data.bin.part").exists(), "a part is left");
}

#[test]
fn a_file_is_downloaded_once_with_progress() {
    let folder = tempdir().unwrap();
    let target = folder.path().join("made/on/the/way");
    let server = Server::start(content(), Manner::Good);
    let (result, told) = get(&target, &[&server]);
    result.unwrap();
    assert_complete(&target);
    assert_eq!((told.first(), told.last()), (Some(&(0, Some(300_000))), Some(&(300_000, Some(300_000)))));
    assert!(told.len() > 3 && told.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    get(&target, &[&server]).0.unwrap();
    assert_eq!(server.requests(), [""], "what is there is not fetched again");
    fs::write(target.join("data.bin"), b"damaged").unwrap();
    get(&target, &[&server]).0.unwrap();
    assert_complete(&target);
    // As long as it should be, and with one other byte.
    let mut other = content();
    other[1000] ^= 1;
    fs::write(target.join("data.bin"), other).unwrap();
    get(&target, &[&server]).0.unwrap();
    assert_complete(&target);
}

#[test]
fn a_part_is_resumed() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("data.bin.part"), &content()[..123_456]).unwrap();
    let server = Server::start(content(), Manner::Good);
    get(folder.path(), &[&server]).0.unwrap();
    assert_complete(folder.path());
    assert_eq!(server.requests(), ["bytes=123456-"]);
}

#[test]
fn a_whole_part_is_only_checked() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("data.bin.part"), content()).unwrap();
    let server = Server::start(content(), Manner::Good);
    get(folder.path(), &[&server]).0.unwrap();
    assert_complete(folder.path());
    assert!(server.requests().is_empty());
}

#[test]
fn a_part_that_is_wrong_or_too_long_is_thrown_away() {
    for part in [vec![7; 1000], vec![7; 300_000], vec![7; 300_001]] {
        let folder = tempdir().unwrap();
        fs::write(folder.path().join("data.bin.part"), part).unwrap();
        let server = Server::start(content(), Manner::Good);
        get(folder.path(), &[&server]).0.unwrap();
        assert_complete(folder.path());
    }
}

#[test]
fn a_cut_connection_is_resumed_where_it_stopped() {
    let folder = tempdir().unwrap();
    let server = Server::start(content(), Manner::CutAfter(120_000));
    get(folder.path(), &[&server]).0.unwrap();
    assert_complete(folder.path());
    assert_eq!(server.requests(), ["", "bytes=120000-", "bytes=240000-"]);
}

#[test]
fn servers_without_ranges_start_anew() {
    for manner in [Manner::NoRange, Manner::WrongRange, Manner::RefusesRange, Manner::NoLength] {
        let folder = tempdir().unwrap();
        fs::write(folder.path().join("data.bin.part"), &content()[..5000]).unwrap();
        get(folder.path(), &[&Server::start(content(), manner)]).0.unwrap();
        assert_complete(folder.path());
    }
}

#[test]
fn the_next_mirror_helps_out() {
    let mut wrong = content();
    wrong[150_000] ^= 1;
    let bad = [
        ("missing", Server::start(content(), Manner::Missing)),
        ("wrong bytes", Server::start(wrong.clone(), Manner::Good)),
        ("wrong length", Server::start(content()[..299_999].to_vec(), Manner::Good)),
        ("too short, no length", Server::start(content()[..200_000].to_vec(), Manner::NoLength)),
        ("too long, no length", Server::start([content(), vec![0; 9]].concat(), Manner::NoLength)),
        ("always cut", Server::start(content(), Manner::NoRangeCutAfter(100_000))),
        ("nobody there", Server { address: "http://127.0.0.1:1/x".into(), requests: Arc::default() }),
    ];
    for (name, server) in &bad {
        let folder = tempdir().unwrap();
        let good = Server::start(content(), Manner::Good);
        get(folder.path(), &[server, &good]).0.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_complete(folder.path());
        assert!(!good.requests().is_empty(), "{name}: the good mirror was not needed");
    }
}

#[test]
fn when_no_mirror_helps_each_is_named_with_its_reason() {
    let folder = tempdir().unwrap();
    let mut wrong = content();
    wrong[0] ^= 1;
    let servers = [Server::start(content(), Manner::Missing), Server::start(wrong, Manner::Good)];
    let error = get(folder.path(), &[&servers[0], &servers[1]]).0.unwrap_err();
    let message = error.to_string();
    for part in [&*servers[0].address, "HTTP status 404", &servers[1].address, "its SHA-256 is", "data.bin"] {
        assert!(message.contains(part), "{part:?} is not in {message}");
    }
    assert_eq!(error.exit_code(), 1);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing wrong is left behind");
    assert_eq!(servers[1].requests().len(), 1, "wrong bytes are not fetched twice");
}

#[test]
fn unknown_names_and_bad_folders_are_refused() {
    let folder = tempdir().unwrap();
    let error = fetch("cifar11", folder.path(), None, &mut |_, _| {}).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let names: Vec<&str> = DATASETS.iter().map(|set| set.name).collect();
    assert!(error.to_string().contains(&names.join(", ")), "{error}");
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    let mirrors = ["http://127.0.0.1:1".to_string()];
    let error = fetch("mnist", &file, Some(&mirrors), &mut |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("create the folder"), "{error}");
    assert!(fetch("mnist", &folder.path().join("new"), Some(&[]), &mut |_, _| {}).is_err());
}

#[test]
fn pinned_files_are_the_real_ones() {
    for dataset in DATASETS {
        assert!(!dataset.mirrors.is_empty());
        for file in dataset.files {
            assert!(
                file.sha256.len() == 64
                    && file.sha256.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
            );
            let root = std::env::var_os("VGAN_DATA")
                .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), Into::into);
            let path = root.join(dataset.name).join(file.name);
            let Ok(bytes) = fs::read(&path) else {
                eprintln!("SKIPPED: {} is not there (set VGAN_DATA)", path.display());
                continue;
            };
            let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!((bytes.len() as u64, sha256.as_str()), (file.bytes, file.sha256), "{}", path.display());
        }
    }
}
