//! The server as a client sees it that sends what browsers send, and what they don't.

use std::sync::mpsc;

use super::request::{Refusal, Request, Target, parse};
use super::*;

struct Fixed;

impl Site for Fixed {
    fn page(&self) -> Result<String> {
        Ok("<p>page</p>".into())
    }
    fn data(&self) -> Result<String> {
        Err(Error::Failed("nothing to read".into()))
    }
    fn samples(&self, step: u64) -> Option<Vec<u8>> {
        (step == 40).then(|| b"forty".to_vec())
    }
    fn reals(&self) -> Option<Vec<u8>> {
        None
    }
}

fn bound() -> Bound {
    Bound::new(&Address::DEFAULT.parse().unwrap()).unwrap()
}

/// Sends bytes and returns the whole answer.
fn ask(at: SocketAddr, bytes: &[u8]) -> String {
    let mut connection = TcpStream::connect(at).unwrap();
    connection.write_all(bytes).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

/// It holds a thread no longer than it may.
#[test]
fn a_client_that_sends_half_a_request_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let (mut connection, _) = listener.accept().unwrap();
    let (end, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let found = read(&mut connection, Instant::now() + Duration::from_millis(50), &[]);
        end.send(found.map_err(|error| error.kind()))
    });
    let found = ended.recv_timeout(Duration::from_secs(10)).expect("an end");
    assert!(matches!(found, Err(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)), "{found:?}");
}

#[test]
fn pages_and_nothing_else() {
    let bound = bound();
    let (at, url) = (bound.at, bound.url());
    assert_eq!(url, format!("http://127.0.0.1:{}/", at.port()));
    assert!(!bound.is_public());
    let server = bound.serve(Fixed).unwrap();
    let get = |target: &str| ask(at, format!("GET {target} HTTP/1.1\r\nHost: {at}\r\nAccept: */*\r\n\r\n").as_bytes());
    for (target, status, end) in [
        ("/", "200 OK", "\r\n\r\n<p>page</p>"),
        ("/?x=1", "200 OK", "<p>page</p>"),
        ("/samples/40.png", "200 OK", "\r\n\r\nforty"),
        ("/samples/41.png", "404 Not Found", "/\n"),
        ("/samples/040.png", "404 Not Found", "/\n"),
        ("/samples/../../etc/passwd", "404 Not Found", "/\n"),
        ("/config.toml", "404 Not Found", "/\n"),
        ("/reals.png", "404 Not Found", "/\n"),
        ("/data.json", "500 Internal Server Error", "nothing to read\n"),
        ("http://elsewhere/", "404 Not Found", "/\n"),
    ] {
        let answer = get(target);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")) && answer.ends_with(end), "{target}: {answer}");
        for part in
            ["Content-Security-Policy: default-src 'none'; ", "nosniff", "Connection: close", "Cache-Control: no-store"]
        {
            assert!(answer.contains(part), "{answer}");
        }
        assert!(!answer.contains("Access-Control"), "{answer}");
    }
    let head = ask(at, format!("HEAD / HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", at.port()).as_bytes());
    assert!(head.contains("Content-Length: 11\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    for (request, status) in [
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", "405"),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "421"),
        ("GET /\r\n\r\n", "400"),
        ("\u{0}\r\n\r\n", "400"),
        (&format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(40_000)), "431"),
    ] {
        let answer = ask(at, request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{}: {answer}", &request[..20.min(request.len())]);
    }
    drop(server);
    assert!(TcpStream::connect(at).is_err(), "nobody listens any more");
}

/// Clients that say nothing hold neither the others up nor the end of the server.
#[test]
fn idle_connections_stand_in_nobodys_way() {
    let bound = bound();
    let at = bound.at;
    let server = bound.serve(Fixed).unwrap();
    let idle: Vec<TcpStream> = (0..MOST_CONNECTIONS - 1).map(|_| TcpStream::connect(at).unwrap()).collect();
    assert!(ask(at, b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").starts_with("HTTP/1.1 200"));
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        drop(server);
        sender.send(()).unwrap();
    });
    receiver.recv_timeout(Duration::from_secs(5)).expect("an end without waiting for them");
    thread.join().unwrap();
    drop(idle);
}

#[test]
fn a_port_in_use_is_told() {
    let first = bound();
    let port = first.at.port();
    let error = Bound::new(&port.to_string().parse().unwrap()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().starts_with(&format!("--serve=127.0.0.1:{port}: can't listen: ")), "{error}");
    assert!(error.to_string().ends_with("another program has this port: pass another one, or 0 for any that is free"));
    assert_eq!(Bound::new(&"192.0.2.1:0".parse().unwrap()).unwrap_err().exit_code(), 2);
}

#[test]
fn addresses() {
    for (text, host, port) in [
        ("8080", "127.0.0.1", 8080),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("0.0.0.0", "0.0.0.0", 0),
        ("[::1]:80", "::1", 80),
        ("::1", "::1", 0),
        ("node-7.cluster:6006", "node-7.cluster", 6006),
        ("localhost", "localhost", 0),
    ] {
        assert_eq!(text.parse(), Ok(Address { host: host.into(), port }), "{text}");
    }
    for wrong in ["", ":", "70000", "a:b", "a:70000", "a b", "http://a", "[::1", "ü"] {
        assert!(wrong.parse::<Address>().is_err(), "{wrong}");
    }
}

#[test]
fn hosts_that_are_ours_and_others() {
    let names = ["localhost".to_string(), "node7".to_string()];
    let with = |host: &str| parse(format!("GET / HTTP/1.1\r\nHost: {host}").as_bytes(), &names);
    for host in ["127.0.0.1", "127.0.0.1:80", "[::1]:80", "192.168.0.7:6006", "LocalHost:1", "node7", " node7:80 "] {
        assert_eq!(with(host), Ok(Request { target: Target::Page, only_head: false }), "{host}");
    }
    for host in [
        "",
        "evil.example",
        "node7.evil.example",
        "localhost.evil.example:80",
        "127.0.0.1.evil.example",
        "node7:x",
        "[::1",
        "a@node7",
    ] {
        assert_eq!(with(host), Err(Refusal::Host), "{host}");
    }
    assert_eq!(parse(b"GET / HTTP/1.1", &names), Err(Refusal::Host));
    assert_eq!(parse(b"GET / HTTP/1.1\r\nHost: node7\r\nhost: node7", &names), Err(Refusal::Host), "two of them");
    for wrong in [
        &b"GET / HTTP/2\r\nHost: node7"[..],
        b"GET  / HTTP/1.1",
        b"",
        b"GET / HTTP/1.1\r\nHost node7",
        b"\xff\xff",
        b"GET / HTTP/1.1\r\nA B: c",
    ] {
        assert_eq!(parse(wrong, &names), Err(Refusal::Malformed), "{}", wrong.escape_ascii());
    }
}
