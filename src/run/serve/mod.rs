//! A page on a run over HTTP, while it trains: read-only, on a few threads of its own.
//!
//! The requests of browsers are all that it understands: GET, a few fixed paths, bounded in size and time. No path of a request reaches
//! the file system. The `Host` of a request must be an address or a name of this machine, so that a web page elsewhere can't read
//! the run through a name that it lets point here (DNS rebinding).

#[doc(hidden)]
pub mod request;

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::request::{Refusal, Target, read};
use super::report::policy;
use crate::error::{Error, Result};

/// Connections at once; more are closed unanswered.
const MOST_CONNECTIONS: usize = 24;
/// Time that a client has for its request, and for taking the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The data are read from the run's folder at most so often, whoever asks for them.
const AGE: Duration = Duration::from_secs(1);

/// The content of a server.
pub trait Site: Send + Sync + 'static {
    /// The page, in HTML.
    ///
    /// # Errors
    /// Whatever keeps it from being made.
    fn page(&self) -> Result<String>;

    /// The page's data, as JSON.
    ///
    /// # Errors
    /// Whatever keeps them from being made.
    fn data(&self) -> Result<String>;

    /// The grid of samples of this step as a PNG, if there is one.
    fn samples(&self, step: u64) -> Option<Vec<u8>>;

    /// The grid of real images as a PNG, if there is one.
    fn reals(&self) -> Option<Vec<u8>>;
}

/// An address to listen on: a name or an IP address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A name, or an IP address without brackets.
    pub host: String,
    /// The port; 0 takes a free one.
    pub port: u16,
}

impl Address {
    /// This machine alone, on a free port.
    pub const DEFAULT: &str = "127.0.0.1:0";
}

impl std::fmt::Display for Address {
    /// As it is read.
    fn fmt(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Address { host, port } = self;
        if host.contains(':') { write!(text, "[{host}]:{port}") } else { write!(text, "{host}:{port}") }
    }
}

impl std::str::FromStr for Address {
    type Err = String;

    /// `8080`, `127.0.0.1:8080`, `[::1]:8080`, `node7:8080`, or any of these hosts without a port.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || "expected a port, or an address such as 127.0.0.1:8080".to_string();
        let port = |text: &str| text.parse::<u16>().map_err(|_| wrong());
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Address { host: Ipv4Addr::LOCALHOST.to_string(), port: port(text)? });
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Address { host: address.to_string(), port: 0 });
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Address { host: address.ip().to_string(), port: address.port() });
        }
        let (host, number) = text.split_once(':').map_or((text, Ok(0)), |(host, number)| (host, port(number)));
        let is_name = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
        if is_name { Ok(Address { host: host.into(), port: number? }) } else { Err(wrong()) }
    }
}

/// A port that is taken, before there is anything to serve.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    at: SocketAddr,
    /// Names by which clients may call this machine.
    names: Vec<String>,
}

impl Bound {
    /// Takes the port.
    ///
    /// # Errors
    /// [`Error::Usage`] where the address is not one of this machine, or its port is in use.
    pub fn new(address: &Address) -> Result<Bound> {
        let Address { host, port } = address;
        let refused = |error: io::Error| {
            let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
            let advice = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    "another program has this port: pass another one, or 0 for any that is free"
                }
                io::ErrorKind::PermissionDenied => "ports below 1024 are for root: pass another one",
                _ => "pass an address of this machine, such as 127.0.0.1",
            };
            Error::Usage(format!("--serve={shown}: can't listen: {error}: {advice}"))
        };
        let addresses: Vec<SocketAddr> = (host.as_str(), *port).to_socket_addrs().map_err(refused)?.collect();
        let listener = TcpListener::bind(&addresses[..]).map_err(refused)?;
        let at = listener.local_addr().map_err(refused)?;
        let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let names = ["localhost", host, machine.trim()].map(str::to_ascii_lowercase);
        Ok(Bound { listener, at, names: names.into_iter().filter(|name| !name.is_empty()).collect() })
    }

    /// The page's address for a browser on this machine.
    pub fn url(&self) -> String {
        let at = self.at;
        let ip = if at.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { at.ip() };
        format!("http://{}/", SocketAddr::new(ip, at.port()))
    }

    /// Returns true if other machines can reach it.
    pub fn is_public(&self) -> bool {
        !self.at.ip().is_loopback()
    }

    /// Answers from now on, until the server is dropped.
    ///
    /// # Errors
    /// [`Error::Failed`] where the system gives no thread.
    pub fn serve(self, site: impl Site) -> Result<Server> {
        let Bound { listener, at, names } = self;
        let stop = Arc::new(AtomicBool::new(false));
        let shared =
            Arc::new(Shared { site: Box::new(site), names, fresh: Mutex::new(None), connections: AtomicUsize::new(0) });
        let stopped = Arc::clone(&stop);
        let thread =
            std::thread::Builder::new().name("serve".into()).spawn(move || accept(&listener, &shared, &stopped));
        let thread = thread.map_err(|error| Error::Failed(format!("--serve: no thread: {error}")))?;
        Ok(Server { at, stop, thread: Some(thread) })
    }
}

/// A server that answers until it is dropped.
#[derive(Debug)]
pub struct Server {
    at: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread, which waits for the next connection.
        let ip = match self.at.ip() {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        let woken = TcpStream::connect_timeout(&SocketAddr::new(ip, self.at.port()), Duration::from_secs(1));
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            // A thread that panicked has nothing left to end.
            let _ = thread.join();
        }
    }
}

/// The state that the threads share.
struct Shared {
    site: Box<dyn Site>,
    names: Vec<String>,
    /// The newest data, and when they were made.
    fresh: Mutex<Option<(Instant, Arc<str>)>>,
    connections: AtomicUsize,
}

/// One of the connections that there may be, until it is dropped.
struct Connection(Arc<Shared>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, stop: &AtomicBool) {
    for connection in listener.incoming() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // Out of files, say: there is nothing to do but to wait.
        let Ok(connection) = connection else {
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        if shared.connections.fetch_add(1, Ordering::Relaxed) >= MOST_CONNECTIONS {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let place = Connection(Arc::clone(shared));
        // A client that goes away, or says nothing, is its own affair; where there is no thread, the connection is closed.
        let answer = move || {
            let Connection(shared) = &place;
            drop(shared.answer(connection));
        };
        drop(std::thread::Builder::new().name("serve".into()).spawn(answer));
    }
}

/// An answer: status, kind of content, content.
type Answer = (&'static str, &'static str, Vec<u8>);

const TEXT: &str = "text/plain; charset=utf-8";

impl Shared {
    fn answer(&self, mut connection: TcpStream) -> io::Result<()> {
        connection.set_write_timeout(Some(PATIENCE))?;
        let request = read(&mut connection, Instant::now() + PATIENCE, &self.names)?;
        let (only_head, answer) = match request {
            Ok(request) => (request.only_head, self.content(request.target)),
            Err(refusal) => (false, refused(refusal)),
        };
        let (status, kind, content) = answer;
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nContent-Security-Policy: {}; frame-ancestors 'none'\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nCross-Origin-Resource-Policy: same-origin\r\n\
             Referrer-Policy: no-referrer\r\nAllow: GET, HEAD\r\nConnection: close\r\n\r\n",
            content.len(),
            policy(true)
        );
        connection.write_all(head.as_bytes())?;
        if !only_head {
            connection.write_all(&content)?;
        }
        // What the client has sent beyond its request would otherwise reset the connection before it has read the answer.
        connection.shutdown(Shutdown::Write)?;
        connection.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut rest = [0; 4096];
        for _ in 0..16 {
            if connection.read(&mut rest)? == 0 {
                break;
            }
        }
        Ok(())
    }

    fn content(&self, target: Target) -> Answer {
        let missing = ("404 Not Found", TEXT, b"no such page: the page of the run is /\n".to_vec());
        let png = |png: Option<Vec<u8>>| png.map_or(missing.clone(), |png| ("200 OK", "image/png", png));
        let made = |kind, text: Result<Vec<u8>>| match text {
            Ok(text) => ("200 OK", kind, text),
            Err(error) => ("500 Internal Server Error", TEXT, format!("{error}\n").into_bytes()),
        };
        match target {
            Target::Page => made("text/html; charset=utf-8", self.site.page().map(String::into_bytes)),
            Target::Data => made("application/json", self.data().map(|text| text.as_bytes().to_vec())),
            Target::Samples(step) => png(self.site.samples(step)),
            Target::Reals => png(self.site.reals()),
            Target::Other => missing.clone(),
        }
    }

    /// The data, made anew where they are older than a second.
    fn data(&self) -> Result<Arc<str>> {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, text)) = &*fresh
            && made.elapsed() < AGE
        {
            return Ok(Arc::clone(text));
        }
        let text: Arc<str> = self.site.data()?.into();
        *fresh = Some((Instant::now(), Arc::clone(&text)));
        Ok(text)
    }
}

fn refused(refusal: Refusal) -> Answer {
    let (status, text) = match refusal {
        Refusal::Malformed => ("400 Bad Request", "this is no HTTP request\n"),
        Refusal::TooLarge => ("431 Request Header Fields Too Large", "the request is larger than 16 KiB\n"),
        Refusal::Method => ("405 Method Not Allowed", "this page can only be read: use GET\n"),
        Refusal::Host => (
            "421 Misdirected Request",
            "this server is reached by an IP address, by `localhost`, by this machine's name, or by the name in --serve=NAME:PORT\n",
        ),
    };
    (status, TEXT, text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests;
