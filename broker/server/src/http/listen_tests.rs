//! The public listener over TCP: slow, greedy and lying callers.

use std::{io, net::SocketAddr, time::Duration};

use axum_server::Handle;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_util::task::TaskTracker;

use super::{bind, public};
use crate::testing;

const FORM: &str = "Host: 127.0.0.1:8420\r\nContent-Type: application/x-www-form-urlencoded";

/// Longer than every limit of the listener, where time is paused.
const FOR_EVER: Duration = Duration::from_secs(300);

struct Served {
    address: SocketAddr,
    handle: Handle<SocketAddr>,
    _folder: TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

/// The real routes behind the real listener.
async fn serve() -> Served {
    let (broker, folder) = testing::broker().await;
    let routes = public(broker.app(&testing::ISSUER.parse().expect("url"), None), "/");
    let listener = bind(([127, 0, 0, 1], 0).into()).expect("bound");
    let (address, handle) = (listener.address(), Handle::new());
    let tasks = TaskTracker::new();
    tasks.spawn(listener.serve(routes, None, handle.clone()));
    Served {
        address,
        handle,
        _folder: folder,
    }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connected")
    }

    /// Everything that is answered to these bytes until the connection is closed.
    async fn answers(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = Vec::new();
        // Bytes that nobody read make the end of a connection a reset.
        let ended = timeout(FOR_EVER, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the connection stays open");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn statuses(answer: &str) -> Vec<&str> {
    let lines = answer.match_indices("HTTP/1.1 ");
    lines.map(|(at, start)| &answer[at + start.len()..][..3]).collect()
}

#[tokio::test]
async fn attack_068_a_header_that_does_not_end_is_given_up() {
    let served = serve().await;
    tokio::time::pause();
    let answer = served
        .answers("POST /token HTTP/1.1\r\nHost: 127.0.0.1:8420\r\nX-Slow: ")
        .await;
    assert!(!answer.contains(" 200 "), "{answer}");
}

#[tokio::test]
async fn attack_068_a_body_that_stops_is_408_and_the_connection_ends() {
    let served = serve().await;
    tokio::time::pause();
    let answer = served
        .answers(&format!(
            "POST /token HTTP/1.1\r\n{FORM}\r\nContent-Length: 10\r\n\r\na=b"
        ))
        .await;
    assert_eq!(statuses(&answer), ["408"], "{answer}");
    assert!(
        answer.contains("connection: close") && answer.contains("http.slow"),
        "{answer}"
    );
}

#[tokio::test]
async fn attack_068_a_connection_between_two_requests_is_not_kept_for_ever() {
    let served = serve().await;
    tokio::time::pause();
    let answer = served
        .answers("GET /jwks.json HTTP/1.1\r\nHost: 127.0.0.1:8420\r\n\r\n")
        .await;
    assert_eq!(statuses(&answer), ["200"], "{answer}");
}

#[tokio::test]
async fn attack_067_an_announced_length_over_the_limit_is_413_before_the_body() {
    let served = serve().await;
    let head = format!("POST /token HTTP/1.1\r\n{FORM}\r\nContent-Length: 300000\r\n");
    for expect in ["", "Expect: 100-continue\r\n"] {
        let answer = served.answers(&format!("{head}{expect}\r\n")).await;
        assert_eq!(statuses(&answer), ["413"], "{answer}");
        assert!(answer.contains("http.too_large"), "{answer}");
    }
}

#[tokio::test]
async fn attack_067_chunks_without_end_are_413() {
    let served = serve().await;
    let mut stream = served.connect().await;
    let head = format!("POST /token HTTP/1.1\r\n{FORM}\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("written");
    let chunk = format!("1000\r\n{}\r\n", "a".repeat(0x1000));
    let mut sent = 0;
    while sent < 64 << 20 && stream.write_all(chunk.as_bytes()).await.is_ok() {
        sent += chunk.len();
    }
    assert!(sent < 64 << 20, "everything was taken");
}

#[tokio::test]
async fn attack_067_expect_100_continue_is_told_to_go_on() {
    let served = serve().await;
    let mut stream = served.connect().await;
    let head = format!(
        "POST /token HTTP/1.1\r\n{FORM}\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.expect("read");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"a=b").await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    assert_eq!(statuses(&answer), ["401"], "{answer}");
}

#[tokio::test]
async fn attack_067_what_stands_behind_a_short_length_is_no_body() {
    let served = serve().await;
    let post = format!("POST /token HTTP/1.1\r\n{FORM}\r\nContent-Length");
    let answer = served
        .answers(&format!("{post}: 3\r\n\r\na=b&client_id=tickets\r\n\r\n"))
        .await;
    assert_eq!(statuses(&answer), ["401", "400"], "{answer}");
    for lie in [": 3\r\nContent-Length: 4", ": -3", ": 3, 4", ": x"] {
        let answer = served.answers(&format!("{post}{lie}\r\n\r\na=b")).await;
        assert_eq!(statuses(&answer), ["400"], "{lie}: {answer}");
    }
}

/// RFC 9112 section 6.1.
#[tokio::test]
async fn attack_067_beside_a_length_chunks_count_and_nothing_behind_them_is_a_request() {
    let served = serve().await;
    let head = format!("POST /token HTTP/1.1\r\n{FORM}\r\n");
    let hidden = "GET /jwks.json HTTP/1.1\r\nHost: 127.0.0.1:8420\r\n\r\n";
    for both in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
    ] {
        let answer = served
            .answers(&format!("{head}{both}\r\n\r\n3\r\na=b\r\n0\r\n\r\n{hidden}"))
            .await;
        assert_eq!(statuses(&answer), ["401"], "{both}: {answer}");
    }
}

#[tokio::test]
async fn attack_074_requests_behind_a_4xx_are_answered_in_their_order_or_not_at_all() {
    let served = serve().await;
    let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:8420\r\n{more}\r\n");
    let requests = [
        get("/nowhere", ""),
        get("/jwks.json", ""),
        get("/token", "Connection: close\r\n"),
    ];
    let answer = served.answers(&requests.concat()).await;
    assert_eq!(statuses(&answer), ["404", "200", "405"], "{answer}");
    let greedy = format!("POST /token HTTP/1.1\r\n{FORM}\r\nContent-Length: 300000\r\n\r\n");
    let answer = served.answers(&(greedy + &get("/jwks.json", ""))).await;
    assert_eq!(statuses(&answer), ["413"], "what follows may be the body: {answer}");
}

#[tokio::test]
async fn attack_068_a_header_over_the_limit_is_refused() {
    let served = serve().await;
    let answer = served
        .answers(&format!(
            "GET /jwks.json HTTP/1.1\r\nX: {}\r\n\r\n",
            "a".repeat(100_000)
        ))
        .await;
    assert!(!answer.contains(" 200 "), "{answer}");
    let many = "X: a\r\n".repeat(200);
    let answer = served
        .answers(&format!(
            "GET /jwks.json HTTP/1.1\r\nHost: 127.0.0.1:8420\r\n{many}\r\n"
        ))
        .await;
    assert_eq!(statuses(&answer), ["431"], "{answer}");
}

/// An HTTP/2 frame (RFC 9113 section 4.1).
fn frame(ty: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("length").to_be_bytes();
    [&length[1..], &[ty, flags], &stream.to_be_bytes(), payload].concat()
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ENHANCE_YOUR_CALM: u8 = 0xb;

/// `GET /jwks.json` (RFC 7541, without table).
fn get_keys() -> Vec<u8> {
    let literal = |name: u8, value: &str| {
        let length = u8::try_from(value.len()).expect("length");
        [&[name, length], value.as_bytes()].concat()
    };
    let pseudo = [0x82, 0x86];
    [&pseudo[..], &literal(4, "/jwks.json"), &literal(1, "127.0.0.1:8420")].concat()
}

/// What the listener answers to these frames until it closes the connection or has said this one.
async fn frames(served: &Served, sent: &[u8], until: u8) -> Vec<(u8, Vec<u8>)> {
    let stream = served.connect().await;
    let (mut read, mut write) = stream.into_split();
    let opening = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &frame(SETTINGS, 0, 0, &[])[..],
        sent,
    ]
    .concat();
    // The other end may close before it has read all of it.
    let writing = TaskTracker::new().spawn(async move {
        let _ = write.write_all(&opening).await;
        write
    });
    let mut found = Vec::new();
    let mut head = [0; 9];
    while read.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if read.read_exact(&mut payload).await.is_err() {
            break;
        }
        found.push((head[3], payload));
        if head[3] == until {
            break;
        }
    }
    writing.abort();
    found
}

fn is_told_to_calm_down(found: &[(u8, Vec<u8>)]) -> bool {
    found
        .iter()
        .any(|(ty, payload)| *ty == GOAWAY && payload[7] == ENHANCE_YOUR_CALM)
}

#[tokio::test]
async fn http_2_is_served_at_all() {
    let served = serve().await;
    let get = frame(HEADERS, END_HEADERS | END_STREAM, 1, &get_keys());
    let found = frames(&served, &get, HEADERS).await;
    let (_, status) = found.last().expect("an answer");
    assert_eq!(status[0], 0x88, ":status 200");
}

#[tokio::test]
async fn attack_068_requests_that_are_taken_back_at_once_end_the_connection() {
    let served = serve().await;
    let mut flood = Vec::new();
    for stream in (1..20_000).step_by(2) {
        flood.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &get_keys()));
        flood.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    assert!(is_told_to_calm_down(&frames(&served, &flood, GOAWAY).await));
}

#[tokio::test]
async fn attack_068_continuations_without_end_end_the_connection() {
    let served = serve().await;
    let mut flood = frame(HEADERS, END_STREAM, 1, &get_keys());
    for _ in 0..10_000 {
        flood.extend(frame(CONTINUATION, 0, 1, &[]));
    }
    assert!(is_told_to_calm_down(&frames(&served, &flood, GOAWAY).await));
}

#[tokio::test]
async fn attack_068_a_header_that_unpacks_to_more_than_the_limit_is_refused() {
    let served = serve().await;
    // One entry of 4,000 bytes goes into the table, then each byte is one more of it: 240 kB out of 4.
    let mut block = get_keys();
    block.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    block.extend([b'a'; 4000]);
    block.extend([0xbe; 60]);
    let bomb = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block);
    let found = frames(&served, &bomb, HEADERS).await;
    let answered = found.iter().find(|(ty, _)| *ty == HEADERS);
    assert!(answered.is_none_or(|(_, status)| status[0] != 0x88), "served with 200");
}

#[tokio::test]
async fn attack_068_who_floods_and_does_not_read_is_not_read_either() {
    for flood in [frame(SETTINGS, 0, 0, &[]), frame(PING, 0, 0, &[0; 8])] {
        let served = serve().await;
        tokio::time::pause();
        let mut stream = served.connect().await;
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .expect("written");
        let many = flood.repeat(10_000);
        let mut taken = 0;
        // Each answer waits for a reader, and no more is read before it is on its way.
        while taken < 256 << 20 {
            let written: Result<io::Result<()>, _> = timeout(Duration::from_secs(5), stream.write_all(&many)).await;
            if !matches!(written, Ok(Ok(()))) {
                break;
            }
            taken += many.len();
        }
        assert!(taken < 256 << 20, "everything was taken");
        tokio::time::resume();
    }
}
