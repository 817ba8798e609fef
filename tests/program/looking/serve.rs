//! `--serve`: the live page of a run, and a run that does not notice it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};

use serde_json::Value;

use super::html::data;
use crate::whole_runs::{Run, TestFolder, assert_same_checkpoint, exit_with, send, stderr, succeed};

/// Starts a command with `--serve`; the child and the host and port of its page.
fn started(mut command: Command) -> (Child, String) {
    let mut child = command.spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stderr.take().expect("standard error"));
    let mut said = String::new();
    let address = loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).expect("a line") > 0, "ended without an address: {said}");
        if let Some(url) = line.strip_prefix("live page: http://") {
            break url.trim().trim_end_matches('/').to_string();
        }
        said += &line;
    };
    // What else it says is read, so that it does not wait for a reader.
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    (child, address)
}

/// The status and the content that a path has.
fn get(address: &str, path: &str) -> (u16, Vec<u8>) {
    let mut connection = TcpStream::connect(address).expect("a connection");
    write!(connection, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("sending");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).expect("an answer");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let status = String::from_utf8_lossy(&answer[9..12]).parse().expect("a status");
    (status, answer[end + 4..].to_vec())
}

fn json(address: &str) -> Value {
    let (status, content) = get(address, "/data.json");
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&content));
    serde_json::from_slice(&content).expect("JSON")
}

#[test]
fn the_page_follows_the_run_and_ends_with_it() {
    let place = TestFolder::new();
    let (mut child, address) = started(place.train("a", "quick --steps 1000000 --tick 1 --snap 5 --serve"));
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    let (status, page) = get(&address, "/");
    assert_eq!(status, 200);
    let page = data(&String::from_utf8(page).expect("UTF-8"));
    assert_eq!((&page["live"], &page["runs"][0]["name"]), (&true.into(), &"00000-quick-b8".into()));
    let step = |data: &Value| {
        data["runs"][0]["series"]["loss_d"]["x"].as_array().and_then(|steps| steps.last()?.as_u64()).unwrap_or(0)
    };
    let first = step(&json(&address));
    let mut newest = json(&address);
    for _ in 0..600 {
        if step(&newest) > first && newest["runs"][0]["snapshots"].as_array().is_some_and(|all| all.len() > 2) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        newest = json(&address);
    }
    assert!(step(&newest) > first, "no news");
    assert_eq!(newest["runs"][0]["state"], "running");
    let run = place.run("a");
    for (src, file) in
        [("reals.png", "reals.png"), ("samples/0.png", "fakes_init.png"), ("samples/5.png", "fakes000005.png")]
    {
        let (status, content) = get(&address, &format!("/{src}"));
        assert!(status == 200 && content == run.bytes(file), "{src}");
    }
    assert_eq!(newest["runs"][0]["reals"], "reals.png");
    assert_eq!(newest["runs"][0]["snapshots"][1], serde_json::json!({"step": 5, "src": "samples/5.png"}));
    for path in ["/config.toml", "/samples/6.png", "/../config.toml", "/samples/..%2Fconfig.toml", "/log.txt"] {
        assert_eq!(get(&address, path).0, 404, "{path}");
    }
    // A connection that says nothing does not hold the end up.
    let idle = TcpStream::connect(&address).expect("a connection");
    send(&child, "INT");
    assert_eq!(child.wait().expect("a child").code(), Some(130));
    assert!(TcpStream::connect(&address).is_err());
    drop(idle);

    // Resumed, it is served again.
    let (mut child, address) = started(run.resume("--serve=127.0.0.1"));
    assert!(step(&json(&address)) > first);
    send(&child, "TERM");
    assert_eq!(child.wait().expect("a child").code(), Some(143));
}

/// The same bytes, whoever looks.
#[test]
fn a_run_that_is_watched_is_the_same_run() {
    let place = TestFolder::new();
    let words = "quick --steps 120 --tick 5 --snap 20 --seed 5";
    let alone = place.trained("alone", words);
    let (mut child, address) = started(place.train("watched", &format!("{words} --serve")));
    let mut answers = 0;
    while child.try_wait().expect("a child").is_none() {
        // Its end may come at any moment.
        if let Ok(mut connection) = TcpStream::connect(&address) {
            let path = ["/", "/data.json", "/samples/20.png", "/nothing"][answers % 4];
            let asked = write!(connection, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
            answers += usize::from(asked.is_ok() && connection.read_to_end(&mut Vec::new()).is_ok());
        }
    }
    assert!(child.wait().expect("a child").success() && answers > 3, "{answers} answers");
    let watched = place.run("watched");
    let same = |run: &Run| (run.numbers(), run.bytes("config.toml"), run.bytes("fakes000120.png"));
    assert!(same(&watched) == same(&alone));
    assert_same_checkpoint(&watched.checkpoint(120), &alone.checkpoint(120), "watched and alone");
}

#[test]
fn an_address_that_is_not_to_be_had_is_told_before_training() {
    let place = TestFolder::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let output = exit_with(place.train("a", &format!("quick --steps 2 --serve={port}")), 2);
    assert!(
        stderr(&output).contains(&format!("error: --serve=127.0.0.1:{port}: can't listen: ")),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("another program has this port"), "{}", stderr(&output));
    assert!(!place.path("a").exists(), "no run was begun");
    for wrong in ["--serve=a:b", "--serve=", "--serve=127.0.0.1:99999"] {
        exit_with(place.train("a", &format!("quick --steps 2 {wrong}")), 2);
    }
    // The word behind it is the preset, and no address.
    succeed(place.train("a", "--serve quick --steps 1"));
    // Reachable from elsewhere: a warning.
    let output = succeed(place.train("b", "quick --steps 1 --serve=0.0.0.0:0"));
    assert!(stderr(&output).contains("warning: --serve: whoever can reach this machine"), "{}", stderr(&output));
    assert!(fs::read_dir(place.path("b")).expect("runs").count() == 1);
}
