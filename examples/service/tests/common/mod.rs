//! A service on loopback whose time the test moves.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "helpers of tests; not every test uses all"
)]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiops_act::executor::BoxFuture;
use aiops_act::{Timekeeper, WaitFor};
use aiops_core::{Clock, ManualClock, Store, Timestamp};
use aiops_service::{Config, Role, Stages, Token, web};

/// Time that only the test moves; whoever waits for it waits until it has been moved.
#[derive(Clone)]
pub struct TestClock(pub Arc<ManualClock>);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

impl Timekeeper for TestClock {
    fn sleep_until(&self, at: Timestamp, _: WaitFor) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            while self.0.now() < at {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
    }
}

/// What runs, and what the test may reach into.
pub struct Service {
    pub to: SocketAddr,
    pub clock: Arc<ManualClock>,
    pub stages: Arc<Mutex<Stages>>,
    pub web: web::Service,
    pub runtime: tokio::runtime::Runtime,
}

impl Service {
    /// It ends with the test.
    pub fn start(config: &Config, store: Arc<dyn Store>, now: Timestamp) -> Service {
        let clock = Arc::new(ManualClock::new(now));
        let given = Arc::new(TestClock(clock.clone()));
        let web = web::Service::open(config, store, given).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let to = listener.local_addr().unwrap();
        let (served, stages) = (web.clone(), web.stages().clone());
        runtime.spawn(async move { served.serve(listener, std::future::pending()).await });
        Service { to, clock, stages, web, runtime }
    }

    /// What the service does every second by itself, now.
    pub fn tick(&self) {
        self.runtime.block_on(self.web.tick()).unwrap();
    }
}

/// Status, headers and body of one request.
pub fn ask(to: SocketAddr, request: &str, headers: &str, body: &str) -> (u16, String, String) {
    let mut stream = std::net::TcpStream::connect(to).unwrap();
    let length = body.len();
    let text = format!(
        "{request} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\ncontent-length: {length}\r\n\
         {headers}\r\n{body}"
    );
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

pub fn token(name: &str, role: Role, token: &str) -> Token {
    Token { name: name.to_owned(), role, token: token.to_owned() }
}

/// The value of a hidden field of a form.
pub fn hidden(page: &str, name: &str) -> String {
    let (_, after) = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
    let value = after.split_once('"').unwrap().0;
    value.replace("&quot;", "\"").replace("&amp;", "&")
}

/// A text as it stands in the body of a form.
pub fn form_value(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let encode =
        |byte: u8| if plain(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}
