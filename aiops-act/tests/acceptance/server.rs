//! A local HTTP server that answers as told, for tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How the server answers a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Status and body.
    Status(u16, &'static str),
    /// 429 with `Retry-After`.
    Busy { seconds: u64 },
    /// 202 after a while.
    Slow(Duration),
    /// It takes the request and closes the connection without an answer.
    Hangs,
}

/// A request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }
}

/// The server; it ends with the test's process.
#[derive(Clone)]
pub(crate) struct Server {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    replies: Arc<Mutex<Vec<Reply>>>,
}

impl Server {
    /// Answers with `replies` in order, and then with 202.
    pub(crate) fn answering(replies: impl IntoIterator<Item = Reply>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut replies: Vec<Reply> = replies.into_iter().collect();
        replies.reverse();
        let server = Server {
            address: listener.local_addr().unwrap(),
            got: Arc::default(),
            replies: Arc::new(Mutex::new(replies)),
        };
        let serving = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut headers = Vec::new();
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let Some((name, value)) = header.trim().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok()?;
            }
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body = String::from_utf8_lossy(&body).into_owned();
        self.got.lock().unwrap().push(Got { line: line.trim().to_owned(), headers, body });
        let reply = self.replies.lock().unwrap().pop().unwrap_or(Reply::Status(202, "{}"));
        let mut stream = stream;
        let mut answer = |status: u16, extra: &str, body: &str| {
            let head = format!(
                "HTTP/1.1 {status} Test\r\nContent-Length: {}\r\nConnection: close\r\n{extra}\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).ok()
        };
        match reply {
            Reply::Status(status, body) => answer(status, "", body),
            Reply::Busy { seconds } => answer(429, &format!("Retry-After: {seconds}\r\n"), "busy"),
            Reply::Slow(pause) => {
                std::thread::sleep(pause);
                answer(202, "", "{}")
            }
            Reply::Hangs => None,
        }
    }
}
