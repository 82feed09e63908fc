//! A client's connection against real peers on the loopback: well-behaved, slow, rude and mistaken ones.

#![allow(clippy::unwrap_used, reason = "a test that fails shows where by the panic")]

use std::{future::Future, time::Duration};

use bytes::Bytes;
use ottla_transport::{
    Answer, Cause, ConnectOptions, Connection, FrameError, FrameLimits, FrameReader, TransportError,
};
use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::oneshot,
    task::JoinHandle,
    time::Instant,
};

/// Far enough not to matter.
const LONG: Duration = Duration::from_secs(60);

fn request(correlation_id: i32, body: &[u8]) -> Vec<Bytes> {
    let size = 4 + body.len() as i32;
    let head = [size.to_be_bytes(), correlation_id.to_be_bytes()].concat();
    vec![head.into(), Bytes::copy_from_slice(body)]
}

fn frame(correlation_id: i32, body: &[u8]) -> Vec<u8> {
    request(correlation_id, body).concat()
}

fn ask(connection: &Connection, correlation_id: i32, body: &[u8]) -> Answer {
    connection.send(correlation_id, request(correlation_id, body), Instant::now() + LONG)
}

/// A peer's side of one connection.
struct Peer {
    requests: FrameReader<OwnedReadHalf>,
    sink: OwnedWriteHalf,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        let (source, sink) = stream.into_split();
        Self { requests: FrameReader::new(source, FrameLimits::default()), sink }
    }

    /// The next request, its size taken off.
    async fn request(&mut self) -> Bytes {
        self.requests.next().await.unwrap().expect("a request").bytes
    }

    async fn says(&mut self, bytes: &[u8]) {
        self.sink.write_all(bytes).await.unwrap();
    }

    /// Answers each request with itself until the client closes.
    async fn echo(mut self) -> usize {
        let mut answered = 0;
        while let Some(request) = self.requests.next().await.unwrap() {
            let size = request.bytes.len() as i32;
            self.says(&[&size.to_be_bytes()[..], &request.bytes].concat()).await;
            answered += 1;
        }
        answered
    }
}

/// A connection to a peer that does as `script` says.
async fn against<F, T>(
    script: impl FnOnce(Peer) -> F,
    options: &ConnectOptions,
) -> (Connection, JoinHandle<T>)
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (connection, accepted) = tokio::join!(Connection::connect(&address, options), listener.accept());
    (connection.unwrap(), tokio::spawn(script(Peer::new(accepted.unwrap().0))))
}

/// The error of one request to a peer that answers it with `bytes` and keeps the connection open.
async fn error_of(bytes: &'static [u8]) -> TransportError {
    let script = async move |mut peer: Peer| {
        peer.request().await;
        peer.says(bytes).await;
        // Until the client hangs up; a reset is as good as an end.
        _ = peer.requests.next().await;
    };
    let (connection, peer) =
        against(script, &ConnectOptions { answer_bytes_max: 1000, ..Default::default() }).await;
    let error = ask(&connection, 7, b"x").await.unwrap_err();
    assert_eq!(connection.ended().await.to_string(), error.to_string());
    peer.await.unwrap();
    error
}

#[tokio::test]
async fn ten_thousand_requests_in_the_pipe_are_answered_in_order() {
    let (connection, peer) = against(Peer::echo, &ConnectOptions::default()).await;
    let answers: Vec<_> = (0..10_000).map(|i| (i, ask(&connection, i, &i.to_le_bytes()))).collect();
    for (i, answer) in answers {
        assert_eq!(answer.await.unwrap(), [i.to_be_bytes(), i.to_le_bytes()].concat());
    }
    drop(connection);
    assert_eq!(peer.await.unwrap(), 10_000);
}

/// Answers each request with itself, and gives the ids in the order in which they came.
async fn echo_in_order(mut peer: Peer) -> Vec<i32> {
    let mut ids = Vec::new();
    while let Some(request) = peer.requests.next().await.unwrap() {
        let size = request.bytes.len() as i32;
        peer.says(&[&size.to_be_bytes()[..], &request.bytes].concat()).await;
        ids.push(i32::from_be_bytes(*request.bytes.first_chunk().unwrap()));
    }
    ids
}

#[tokio::test]
async fn an_interlude_is_alone_between_what_was_sent_before_and_after() {
    let (connection, peer) = against(echo_in_order, &ConnectOptions::default()).await;
    let mut answers: Vec<_> = (0..100).map(|i| ask(&connection, i, b"before")).collect();
    let first = connection.interlude();
    answers.extend((200..300).map(|i| ask(&connection, i, b"between")));
    let second = connection.interlude();
    answers.extend((400..500).map(|i| ask(&connection, i, b"after")));
    // A talk: the next question comes when the last is answered.
    for (interlude, ids) in [(first, 100..103), (second, 300..303)] {
        for i in ids {
            let answer = interlude.send(i, request(i, b"talk"), Instant::now() + LONG).await.unwrap();
            assert_eq!(answer, [&i.to_be_bytes()[..], b"talk"].concat());
        }
    }
    for answer in answers {
        answer.await.unwrap();
    }
    drop(connection);
    let expected: Vec<i32> = (0..103).chain(200..303).chain(400..500).collect();
    assert_eq!(peer.await.unwrap(), expected);
}

#[tokio::test]
async fn what_waits_for_an_interlude_fails_with_its_connection() {
    let (connection, peer) = against(Peer::echo, &ConnectOptions::default()).await;
    let interlude = connection.interlude();
    let waiting = ask(&connection, 1, b"waits");
    interlude.send(2, request(2, b"talk"), Instant::now() + LONG).await.unwrap();
    connection.close();
    assert!(matches!(waiting.await.unwrap_err().cause(), Cause::Closed));
    let error = interlude.send(3, request(3, b"late"), Instant::now() + LONG).await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Closed));
    assert_eq!(peer.await.unwrap(), 1);
}

#[tokio::test]
async fn large_frames_go_both_ways_at_once() {
    // More than both sockets' buffers hold: a side that only wrote, or only read, would stand still.
    let (connection, _peer) = against(Peer::echo, &ConnectOptions::default()).await;
    let bodies: Vec<_> = (0..8).map(|i| vec![i as u8; 4 * 1024 * 1024]).collect();
    let answers: Vec<_> = bodies.iter().zip(0..).map(|(body, i)| ask(&connection, i, body)).collect();
    for (answer, body) in answers.into_iter().zip(bodies) {
        assert_eq!(answer.await.unwrap()[4..], body);
    }
}

#[tokio::test]
async fn answers_that_come_byte_by_byte_are_whole() {
    let script = async |mut peer: Peer| {
        let mut answers = Vec::new();
        for i in 0..3 {
            peer.request().await;
            answers.extend(frame(i, b"hello"));
        }
        for byte in answers {
            peer.says(&[byte]).await;
            tokio::task::yield_now().await;
        }
        _ = peer.requests.next().await;
    };
    let (connection, _peer) = against(script, &ConnectOptions::default()).await;
    for answer in [0, 1, 2].map(|i| (i, ask(&connection, i, b""))) {
        assert_eq!(answer.1.await.unwrap(), frame(answer.0, b"hello")[4..]);
    }
}

#[tokio::test]
async fn a_dropped_answer_neither_unsends_nor_shifts_the_others() {
    let (connection, peer) = against(Peer::echo, &ConnectOptions::default()).await;
    for i in 0..100 {
        if i % 3 == 0 {
            assert_eq!(ask(&connection, i, b"kept").await.unwrap()[..4], i.to_be_bytes());
        } else {
            drop(ask(&connection, i, b"dropped"));
        }
    }
    drop(connection);
    assert_eq!(peer.await.unwrap(), 100);
}

#[tokio::test]
async fn what_was_sent_is_answered_though_the_connection_is_dropped() {
    let (connection, peer) = against(Peer::echo, &ConnectOptions::default()).await;
    let answers = [1, 2, 3].map(|i| ask(&connection, i, &[0; 100_000]));
    drop(connection);
    for answer in answers {
        assert_eq!(answer.await.unwrap().len(), 100_004);
    }
    assert_eq!(peer.await.unwrap(), 3);
}

#[tokio::test]
async fn requests_without_answer_are_done_when_written_and_keep_their_place() {
    let script = async |mut peer: Peer| {
        let mut order = Vec::new();
        for _ in 0..4 {
            order.push(peer.request().await[3]);
        }
        peer.says(&frame(2, b"")).await;
        peer.says(&frame(4, b"")).await;
        order
    };
    let (connection, peer) = against(script, &ConnectOptions::default()).await;
    let deadline = Instant::now() + LONG;
    let first = connection.send_unanswered(request(1, b"a"), deadline);
    let second = ask(&connection, 2, b"b");
    let third = connection.send_unanswered(request(3, b"c"), deadline);
    let fourth = ask(&connection, 4, b"d");
    assert!(first.await.unwrap().is_empty() && third.await.unwrap().is_empty());
    assert_eq!(second.await.unwrap(), 2i32.to_be_bytes()[..]);
    assert_eq!(fourth.await.unwrap(), 4i32.to_be_bytes()[..]);
    assert_eq!(peer.await.unwrap(), [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_deadline_ends_the_connection_and_tells_everybody() {
    let script = async |mut peer: Peer| {
        peer.request().await;
        peer.says(&frame(1, b"")).await;
        _ = peer.requests.next().await;
        _ = peer.requests.next().await;
        peer.requests.next().await.unwrap().is_none()
    };
    let (connection, peer) = against(script, &ConnectOptions::default()).await;
    ask(&connection, 1, b"").await.unwrap();
    let patient = ask(&connection, 2, b"");
    let soon = Instant::now() + Duration::from_millis(50);
    let hasty = connection.send(3, request(3, b""), soon);
    let error = hasty.await.unwrap_err();
    assert!(Instant::now() >= soon);
    assert!(
        matches!(error.cause(), Cause::Deadline { waited } if *waited >= Duration::from_millis(40)),
        "{error}"
    );
    assert!(matches!(patient.await.unwrap_err().cause(), Cause::Deadline { .. }));
    assert!(matches!(ask(&connection, 4, b"").await.unwrap_err().cause(), Cause::Deadline { .. }));
    assert!(connection.is_ended());
    assert!(peer.await.unwrap(), "the socket is closed");
}

#[tokio::test]
async fn a_deadline_also_ends_a_write_that_nobody_reads() {
    let script = async |peer: Peer| {
        // Holds the connection open without reading, until the client is done with it.
        let (done, waiting) = oneshot::channel::<()>();
        tokio::spawn(async move {
            _ = waiting.await;
            drop(peer);
        });
        done
    };
    let (connection, peer) = against(script, &ConnectOptions::default()).await;
    let done = peer.await.unwrap();
    let soon = Instant::now() + Duration::from_millis(50);
    let stuck = connection.send_unanswered(vec![Bytes::from(vec![0; 64 * 1024 * 1024])], soon);
    assert!(matches!(stuck.await.unwrap_err().cause(), Cause::Deadline { .. }));
    drop(done);
}

#[tokio::test]
async fn a_peer_that_closes_is_told_from_one_that_never_spoke() {
    let script = async |mut peer: Peer| drop(peer.request().await);
    let (connection, _peer) = against(script, &ConnectOptions::default()).await;
    let answers = [ask(&connection, 1, b""), ask(&connection, 2, b"")];
    for answer in answers {
        let error = answer.await.unwrap_err();
        assert!(matches!(error.cause(), Cause::ClosedByPeer { answered: 0 }), "{error}");
        assert!(error.to_string().contains("TLS or SASL"), "{error}");
    }

    let script = async |mut peer: Peer| {
        peer.request().await;
        peer.says(&frame(1, b"")).await;
    };
    let (connection, _peer) = against(script, &ConnectOptions::default()).await;
    ask(&connection, 1, b"").await.unwrap();
    let error = connection.ended().await;
    assert!(matches!(error.cause(), Cause::ClosedByPeer { answered: 1 }), "{error}");
}

#[tokio::test]
async fn a_peer_that_closes_within_an_answer_is_noticed() {
    let script = async |mut peer: Peer| {
        peer.request().await;
        peer.says(&frame(1, b"half of it")[..9]).await;
    };
    let (connection, _peer) = against(script, &ConnectOptions::default()).await;
    let error = ask(&connection, 1, b"").await.unwrap_err();
    assert!(
        matches!(error.cause(), Cause::Frame(e) if matches!(**e, FrameError::Truncated { received: 5, size: 14 })),
        "{error}"
    );
}

#[tokio::test]
async fn strangers_and_their_first_words_are_named() {
    for (bytes, words) in [
        (&b"\x15\x03\x01\x00\x02\x02\x46"[..], "speaks TLS"),
        (b"HTTP/1.1 400 Bad Request\r\n", "speaks HTTP"),
        (b"\x7f\xff\xff\xff", "it begins with `\\x7f\\xff\\xff\\xff`"),
        (b"\xff\xff\xff\xfe", "it begins with `\\xff\\xff\\xff\\xfe`"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "it begins with `SSH-2.0-OpenSSH_9.6\\r\\n`"),
        (b"\0\0\0\x04\0\0\0\x08", "answered request 8 where request 7 was due"),
        (b"\0\0\0\x03abc", "to nothing that was asked"),
    ] {
        let error = error_of(bytes).await;
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.to_string().contains(error.peer()), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_ends_the_connection() {
    let script = async |mut peer: Peer| {
        peer.says(&frame(1, b"")).await;
        _ = peer.requests.next().await;
    };
    let (connection, _peer) = against(script, &ConnectOptions::default()).await;
    assert!(matches!(connection.ended().await.cause(), Cause::Unasked));
}

#[tokio::test]
async fn closing_fails_what_is_pending_and_closes_the_socket() {
    // The request may or may not be written before the end.
    let script =
        async |mut peer: Peer| while peer.requests.next().await.is_ok_and(|frame| frame.is_some()) {};
    let (connection, peer) = against(script, &ConnectOptions::default()).await;
    let answer = ask(&connection, 1, b"");
    connection.close();
    assert!(matches!(answer.await.unwrap_err().cause(), Cause::Closed));
    assert!(matches!(ask(&connection, 2, b"").await.unwrap_err().cause(), Cause::Closed));
    peer.await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_closed_but_not_one_that_waits_for_an_answer() {
    let idle = Duration::from_millis(40);
    let script = async move |mut peer: Peer| {
        peer.request().await;
        tokio::time::sleep(4 * idle).await;
        peer.says(&frame(1, b"late")).await;
        peer.requests.next().await.unwrap().is_none()
    };
    let (connection, peer) =
        against(script, &ConnectOptions { idle: Some(idle), ..Default::default() }).await;
    ask(&connection, 1, b"").await.unwrap();
    assert!(matches!(connection.ended().await.cause(), Cause::Idle(time) if *time == idle));
    assert!(peer.await.unwrap());
}

#[tokio::test]
async fn why_there_is_no_connection_is_said() {
    // A port that was just free.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error =
        Connection::connect(&format!("127.0.0.1:{port}"), &ConnectOptions::default()).await.unwrap_err();
    assert!(error.is_unconnected());
    assert_eq!(
        error.to_string(),
        format!(
            "`127.0.0.1:{port}` refused the connection; check that a broker runs there and listens on this port"
        )
    );
    let error = Connection::connect("no port", &ConnectOptions::default()).await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Unresolved(_)), "{error}");
}

#[tokio::test]
async fn small_socket_buffers_carry_large_frames() {
    let options = ConnectOptions {
        send_buffer_bytes: Some(64 * 1024),
        receive_buffer_bytes: Some(64 * 1024),
        ..Default::default()
    };
    let (connection, _peer) = against(Peer::echo, &options).await;
    assert_eq!(ask(&connection, 1, &[9; 1_000_000]).await.unwrap().len(), 1_000_004);
}

#[test]
fn an_answer_does_not_hang_when_the_runtime_is_gone() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let (connection, answer) = first.block_on(async {
        let script =
            async |mut peer: Peer| while peer.requests.next().await.is_ok_and(|frame| frame.is_some()) {};
        let (connection, _peer) = against(script, &ConnectOptions::default()).await;
        let answer = ask(&connection, 1, b"");
        (connection, answer)
    });
    drop(first);
    let error = runtime().block_on(answer).unwrap_err();
    assert!(matches!(error.cause(), Cause::Closed), "{error}");
    assert!(connection.is_ended());
}
