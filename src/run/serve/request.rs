//! Reading a request, and no more of it than is needed.

use std::io::{self, Read};
use std::net::{IpAddr, TcpStream};
use std::time::Instant;

/// The most bytes of a request.
const MOST_BYTES: usize = 16 << 10;

/// The requested page or file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The page.
    Page,
    /// Its data.
    Data,
    /// The grid of this step.
    Samples(u64),
    /// The grid of real images.
    Reals,
    /// Nothing that there is.
    Other,
}

/// A request that can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The resource that is asked for.
    pub target: Target,
    /// HEAD in the place of GET.
    pub only_head: bool,
}

/// The reason that a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is no request.
    Malformed,
    /// It is too long.
    TooLarge,
    /// It is neither GET nor HEAD.
    Method,
    /// It is for another host, or for none.
    Host,
}

/// Reads a request up to its empty line, until `deadline`; `names` are this machine's.
///
/// # Errors
/// Those of the connection, and its end before the request's.
pub(super) fn read(
    connection: &mut TcpStream,
    deadline: Instant,
    names: &[String],
) -> io::Result<Result<Request, Refusal>> {
    let mut bytes = Vec::new();
    let mut part = [0; 2048];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        connection.set_read_timeout(Some(left))?;
        let count = connection.read(&mut part)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // The end may lie on both sides of what has just been read.
        let from = bytes.len().saturating_sub(3);
        bytes.extend_from_slice(&part[..count]);
        if let Some(end) = bytes[from..].windows(4).position(|four| four == b"\r\n\r\n") {
            return Ok(parse(&bytes[..from + end], names));
        }
        if bytes.len() > MOST_BYTES {
            return Ok(Err(Refusal::TooLarge));
        }
    }
}

/// Reads the lines of a request, without its empty line.
///
/// # Errors
/// Why it is not answered.
pub fn parse(head: &[u8], names: &[String]) -> Result<Request, Refusal> {
    let head = std::str::from_utf8(head).map_err(|_| Refusal::Malformed)?;
    let mut lines = head.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, "HTTP/1.1" | "HTTP/1.0"] = words[..] else { return Err(Refusal::Malformed) };
    let mut hosts = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(Refusal::Malformed)?;
        if name.is_empty() || name.contains(|c: char| c.is_ascii_whitespace() || c.is_ascii_control()) {
            return Err(Refusal::Malformed);
        }
        if name.eq_ignore_ascii_case("host") {
            hosts.push(value.trim());
        }
    }
    let [host] = hosts[..] else { return Err(Refusal::Host) };
    if !is_ours(host, names) {
        return Err(Refusal::Host);
    }
    let only_head = match method {
        "GET" => false,
        "HEAD" => true,
        _ => return Err(Refusal::Method),
    };
    Ok(Request { target: target_of(target), only_head })
}

/// Returns true for a host that is an IP address or one of this machine's names, with a port or without.
///
/// Whoever makes a name of theirs point to this machine can't make it an address: a page under that name is another host.
fn is_ours(host: &str, names: &[String]) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => (address, port),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let has_port = port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    if !port.is_empty() && !has_port {
        return false;
    }
    name.parse::<IpAddr>().is_ok() || names.iter().any(|one| one.eq_ignore_ascii_case(name))
}

/// The path decides alone; a step is a number as it is usually written.
fn target_of(target: &str) -> Target {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let step = |path: &str| {
        let digits = path.strip_prefix("/samples/")?.strip_suffix(".png")?;
        let step: u64 = digits.parse().ok()?;
        (step.to_string() == digits).then_some(step)
    };
    match path {
        "/" => Target::Page,
        "/data.json" => Target::Data,
        "/reals.png" => Target::Reals,
        path => step(path).map_or(Target::Other, Target::Samples),
    }
}
