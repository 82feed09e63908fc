//! A client's connection: requests go out in the order of the calls, answers come back in the same order.
//!
//! One task owns the socket. It writes all that is queued by one vectored write, reads answers meanwhile, and knows
//! the oldest request to be the one that is answered next: Kafka's brokers answer in order, and the correlation id is
//! checked against it. How many requests may be under way is the caller's to decide, and with it the memory that
//! they take.
//!
//! An [`Interlude`] has the connection for itself for a while: to authenticate anew is a talk of several requests, and
//! a broker takes no others meanwhile. What is sent by others waits, in its order.
//!
//! A request whose deadline passes ends the connection, as in Kafka's client: those behind it in the pipe could not
//! be answered before it, and its own answer would come to nobody.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream, lookup_host},
    sync::{Notify, mpsc, oneshot},
    time::{Instant, Sleep, sleep_until, timeout},
};

use crate::{
    FrameError, FrameLimits, FrameReader,
    diagnosis::FIRST_BYTES_SHOWN_MAX,
    tls::{self, TlsConnector, TlsReport},
    transport_error::{ANSWERS_TO_ANYBODY_MAX, Cause, TransportError},
    write_pieces,
};

/// Requests that are taken off the queue at once, and pieces beyond which no more are taken.
const GATHERED_MAX: usize = 64;
/// An answer that began is due by its request's deadline; the frame reader's own limit need only be some limit.
const FRAME_TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest wait that a deadline can mean: a hundred years stand for "never".
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// How a connection is made and kept.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Longest wait for each address of the host: Kafka's `socket.connection.setup.timeout.ms`. The handshake of TLS has
    /// the same once more.
    pub connect_timeout: Duration,
    /// Makes connections secure; `None` for plain text.
    pub tls: Option<Arc<TlsConnector>>,
    /// Time without traffic after which the connection is closed: Kafka's `connections.max.idle.ms`. A request that
    /// is under way keeps it open. `None` for never.
    pub idle: Option<Duration>,
    /// `SO_SNDBUF` in bytes; `None` leaves it to the system.
    pub send_buffer_bytes: Option<usize>,
    /// `SO_RCVBUF` in bytes; `None` leaves it to the system.
    pub receive_buffer_bytes: Option<usize>,
    /// Largest answer, in bytes.
    pub answer_bytes_max: usize,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            tls: None,
            idle: Some(Duration::from_secs(540)),
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            answer_bytes_max: 256 * 1024 * 1024,
        }
    }
}

/// A connection to one broker.
///
/// Dropping it lets what was sent be written and answered, and closes the socket then; [`Self::close`] does not wait.
#[derive(Debug)]
pub struct Connection {
    requests: mpsc::UnboundedSender<Queued>,
    shared: Arc<Shared>,
}

/// What is in a connection's queue.
#[derive(Debug)]
enum Queued {
    Request(Request),
    /// From here on these go first, until nobody can send any more of them.
    Interlude(mpsc::UnboundedReceiver<Self>),
}

/// Has a connection for itself: what is sent by [`Connection`] waits until this is dropped.
#[derive(Debug)]
pub struct Interlude {
    requests: mpsc::UnboundedSender<Queued>,
    shared: Arc<Shared>,
}

impl Interlude {
    /// As [`Connection::send`].
    pub fn send(&self, correlation_id: i32, pieces: Vec<Bytes>, deadline: Instant) -> Answer {
        enqueue(&self.requests, &self.shared, Some(correlation_id), pieces, deadline)
    }
}

/// What the task and its users both see.
#[derive(Debug)]
struct Shared {
    peer: Arc<str>,
    /// Why the connection ended; set before the queue is closed.
    ended: OnceLock<TransportError>,
    /// `close` was called.
    close: Notify,
}

impl Shared {
    fn error(&self) -> TransportError {
        self.ended.get().cloned().unwrap_or_else(|| TransportError::new(&self.peer, Cause::Closed))
    }
}

#[derive(Debug)]
struct Request {
    /// The frame: its size first.
    pieces: Vec<Bytes>,
    sent_at: Instant,
    deadline: Instant,
    /// The correlation id of the answer; `None` if there is none.
    correlation_id: Option<i32>,
    answer: oneshot::Sender<Result<Bytes, TransportError>>,
}

impl Connection {
    /// Connects to `address`, a `host:port`. Each address of the host is tried in turn.
    ///
    /// Must be called in a tokio runtime, on which the connection's task then runs.
    pub async fn connect(address: &str, options: &ConnectOptions) -> Result<Self, TransportError> {
        let found = Self::resolve(address).await?;
        let mut last = None;
        for one in found {
            let error = match Self::dial(one, address, options).await {
                Ok(stream) => match Self::secure(stream, address, options).await {
                    Ok((connection, _)) => return Ok(connection),
                    // Another address of the same host would say the same.
                    Err(error) if matches!(error.cause(), Cause::Tls(_)) => return Err(error),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            last = Some(error);
        }
        Err(last.unwrap_or_else(|| unresolved(address, io::ErrorKind::NotFound.into())))
    }

    /// The first step of [`Self::connect`]: the addresses of a `host:port`.
    ///
    /// # Errors
    /// If it has none.
    pub async fn resolve(address: &str) -> Result<Vec<SocketAddr>, TransportError> {
        let found: Vec<_> = lookup_host(address).await.map_err(|error| unresolved(address, error))?.collect();
        if found.is_empty() {
            return Err(unresolved(address, io::ErrorKind::NotFound.into()));
        }
        Ok(found)
    }

    /// The second step: a socket that is open. `peer` names it in errors.
    ///
    /// # Errors
    /// If the address does not take it within [`ConnectOptions::connect_timeout`].
    pub async fn dial(
        address: SocketAddr,
        peer: &str,
        options: &ConnectOptions,
    ) -> Result<TcpStream, TransportError> {
        let cause = match timeout(options.connect_timeout, connect_one(address, options)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => Cause::NotConnected(Arc::new(error)),
            Err(_) => Cause::ConnectTimeout(options.connect_timeout),
        };
        Err(TransportError::new(&peer.into(), cause))
    }

    /// The third step: TLS over it, if that is asked for, and what was agreed on. `peer`, a `host:port`, is who the server
    /// must be.
    ///
    /// # Errors
    /// If it is not, or says something else than TLS, or nothing within [`ConnectOptions::connect_timeout`].
    pub async fn secure(
        stream: TcpStream,
        peer: &str,
        options: &ConnectOptions,
    ) -> Result<(Self, Option<TlsReport>), TransportError> {
        let Some(connector) = &options.tls else {
            let (source, sink) = stream.into_split();
            return Ok((Self::over(source, sink, peer, options), None));
        };
        let cause = match timeout(options.connect_timeout, connector.connect(host_of(peer), stream)).await {
            Ok(Ok(stream)) => {
                let report = TlsReport::of(&stream);
                let (source, sink) = tokio::io::split(stream);
                return Ok((Self::over(source, sink, peer, options), Some(report)));
            }
            Ok(Err(error)) if tls::is_refusal(&error) => Cause::Tls(Arc::new(error)),
            Ok(Err(error)) => Cause::Handshake(Arc::new(error)),
            Err(_) => Cause::HandshakeTimeout(options.connect_timeout),
        };
        Err(TransportError::new(&peer.into(), cause))
    }

    /// A connection over a stream that is open already: TLS, or a pipe of a test. `peer` names it in errors.
    pub fn over<R, W>(source: R, sink: W, peer: impl Into<Arc<str>>, options: &ConnectOptions) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Arc::new(Shared { peer: peer.into(), ended: OnceLock::new(), close: Notify::new() });
        let limits = FrameLimits {
            frame_bytes_max: options.answer_bytes_max,
            idle: options.idle.unwrap_or(NEVER),
            frame: FRAME_TIME_MAX,
        };
        let (requests, queue) = mpsc::unbounded_channel();
        let pipe = Pipe {
            reader: FrameReader::new(source, limits),
            sink,
            queue: Some(queue),
            interlude: None,
            arrived: VecDeque::new(),
            taken: Vec::new(),
            writing: Batch::default(),
            next: Batch::default(),
            pending: VecDeque::new(),
            timer: Box::pin(sleep_until(Instant::now() + NEVER)),
            answered: 0,
            shared: Arc::clone(&shared),
        };
        tokio::spawn(pipe.run());
        Self { requests, shared }
    }

    /// Sends a frame, its size first, and gives its answer: the frame that came, its size taken off, so that it
    /// begins with `correlation_id`.
    ///
    /// The order of the calls is the order on the wire. Dropping the answer does not take the request back. A
    /// `deadline` that passes closes the connection.
    pub fn send(&self, correlation_id: i32, pieces: Vec<Bytes>, deadline: Instant) -> Answer {
        enqueue(&self.requests, &self.shared, Some(correlation_id), pieces, deadline)
    }

    /// Sends a frame to which the peer gives no answer, as a produce request with `acks=0`. The answer is empty,
    /// and comes when the frame was handed to the system.
    pub fn send_unanswered(&self, pieces: Vec<Bytes>, deadline: Instant) -> Answer {
        enqueue(&self.requests, &self.shared, None, pieces, deadline)
    }

    /// Begins an interlude behind all that was sent before.
    pub fn interlude(&self) -> Interlude {
        let (requests, queue) = mpsc::unbounded_channel();
        _ = self.requests.send(Queued::Interlude(queue));
        Interlude { requests, shared: Arc::clone(&self.shared) }
    }

    /// Closes the socket now. What is pending fails.
    pub fn close(&self) {
        self.shared.close.notify_one();
    }

    /// Waits until the connection has ended, and says why.
    pub async fn ended(&self) -> TransportError {
        self.requests.closed().await;
        self.shared.error()
    }

    /// Whether the connection has ended: what is sent now fails.
    pub fn is_ended(&self) -> bool {
        self.requests.is_closed()
    }

    /// The address, as the connection was asked for.
    pub fn peer(&self) -> &str {
        &self.shared.peer
    }
}

fn enqueue(
    requests: &mpsc::UnboundedSender<Queued>,
    shared: &Arc<Shared>,
    correlation_id: Option<i32>,
    pieces: Vec<Bytes>,
    deadline: Instant,
) -> Answer {
    let (answer, answered) = oneshot::channel();
    let request = Request { pieces, sent_at: Instant::now(), deadline, correlation_id, answer };
    // A queue that is closed drops the request; the answer then finds out why by itself.
    _ = requests.send(Queued::Request(request));
    Answer { answered, shared: Arc::clone(shared) }
}

fn unresolved(address: &str, error: io::Error) -> TransportError {
    TransportError::new(&address.into(), Cause::Unresolved(Arc::new(error)))
}

/// The host of `host:port`, an IPv6 address without its brackets.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

async fn connect_one(address: SocketAddr, options: &ConnectOptions) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    if let Some(bytes) = options.send_buffer_bytes {
        socket.set_send_buffer_size(size(bytes))?;
    }
    if let Some(bytes) = options.receive_buffer_bytes {
        socket.set_recv_buffer_size(size(bytes))?;
    }
    socket.set_nodelay(true)?;
    socket.set_keepalive(true)?;
    socket.connect(address).await
}

/// The answer to a request, in time. May be dropped: the pipe goes on.
#[derive(Debug)]
#[must_use = "the request is sent, but nobody will know what came of it"]
pub struct Answer {
    answered: oneshot::Receiver<Result<Bytes, TransportError>>,
    shared: Arc<Shared>,
}

impl Future for Answer {
    type Output = Result<Bytes, TransportError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answered).poll(cx));
        Poll::Ready(answer.unwrap_or_else(|_| Err(self.shared.error())))
    }
}

/// The task that owns the socket.
struct Pipe<R, W> {
    reader: FrameReader<R>,
    sink: W,
    /// Requests that are not taken yet; `None` once nobody can send any more.
    queue: Option<mpsc::UnboundedReceiver<Queued>>,
    /// What is sent before the queue's, as long as somebody can send there.
    interlude: Option<mpsc::UnboundedReceiver<Queued>>,
    /// Where requests are taken to. Empty between two turns, but for those that an interlude keeps waiting.
    arrived: VecDeque<Queued>,
    /// Where the queue puts them; empty otherwise.
    taken: Vec<Queued>,
    /// What is being written.
    writing: Batch,
    /// What is written next, by one call.
    next: Batch,
    /// Requests that wait for an answer, written or not, oldest first.
    pending: VecDeque<Pending>,
    /// Fires at the earliest deadline or before; then the deadlines are looked at.
    timer: Pin<Box<Sleep>>,
    /// Answers that came.
    answered: u64,
    shared: Arc<Shared>,
}

/// Frames that are written together.
#[derive(Default)]
struct Batch {
    pieces: Vec<Bytes>,
    /// Those of its requests that are done when it is written.
    unanswered: Vec<Pending>,
}

struct Pending {
    /// 0 if there will be no answer.
    correlation_id: i32,
    sent_at: Instant,
    deadline: Instant,
    answer: oneshot::Sender<Result<Bytes, TransportError>>,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Pipe<R, W> {
    async fn run(mut self) {
        let cause = self.serve().await;
        let error = TransportError::new(&self.shared.peer, cause);
        // First the cause, then the queue's end: whoever finds it closed finds the cause.
        _ = self.shared.ended.set(error.clone());
        let mut answers: Vec<_> = self.pending.drain(..).map(|pending| pending.answer).collect();
        for batch in [self.writing, self.next] {
            answers.extend(batch.unanswered.into_iter().map(|pending| pending.answer));
        }
        // First what is kept waiting, then the queues; closed ones take no more.
        let mut left: Vec<Queued> = self.arrived.into_iter().collect();
        for mut queue in [self.interlude.take(), self.queue.take()].into_iter().flatten() {
            queue.close();
            left.extend(std::iter::from_fn(|| queue.try_recv().ok()));
        }
        answers.extend(left.into_iter().filter_map(|queued| match queued {
            Queued::Request(request) => Some(request.answer),
            // Those in it find out by themselves.
            Queued::Interlude(_) => None,
        }));
        for answer in answers {
            _ = answer.send(Err(error.clone()));
        }
    }

    /// Reads, writes and keeps deadlines, until there is a reason to end.
    async fn serve(&mut self) -> Cause {
        let shared = Arc::clone(&self.shared);
        loop {
            if self.writing.pieces.is_empty() {
                std::mem::swap(&mut self.writing, &mut self.next);
            }
            let idle = self.writing.pieces.is_empty() && self.pending.is_empty();
            if idle && self.queue.is_none() && self.interlude.is_none() && self.arrived.is_empty() {
                return Cause::Closed;
            }
            let gathers = self.next.pieces.len() < GATHERED_MAX;
            let source = if self.interlude.is_some() { &mut self.interlude } else { &mut self.queue };
            let takes = gathers && source.is_some();
            // Each of these can be dropped half done: frames read in part stay in the reader, pieces written in part
            // are shortened in place.
            tokio::select! {
                biased;
                () = shared.close.notified() => return Cause::Closed,
                written = write_pieces(&mut self.sink, &mut self.writing.pieces), if !self.writing.pieces.is_empty() => {
                    if let Err(error) = written {
                        return self.broken(error);
                    }
                    for done in self.writing.unanswered.drain(..) {
                        _ = done.answer.send(Ok(Bytes::new()));
                    }
                }
                frame = self.reader.next() => match frame {
                    Ok(Some(frame)) => {
                        if let Err(cause) = self.answer(frame.bytes) {
                            return cause;
                        }
                    }
                    Ok(None) => return Cause::ClosedByPeer { answered: self.answered },
                    Err(FrameError::Idle(time)) if idle => return Cause::Idle(time),
                    Err(FrameError::Idle(_)) => {}
                    Err(FrameError::Io(error)) => return self.broken(error),
                    Err(error) => return self.unreadable(error),
                },
                taken = take(source, &mut self.taken), if takes => {
                    if taken == 0 {
                        *source = None;
                    }
                    self.file();
                }
                () = &mut self.timer => {
                    if let Some(cause) = self.overdue() {
                        return cause;
                    }
                }
            }
        }
    }

    /// Puts what has arrived where it is written and waited for, up to where an interlude begins.
    fn file(&mut self) {
        let is_interlude = self.interlude.is_some();
        while self.interlude.is_none()
            && let Some(queued) = self.arrived.pop_front()
        {
            self.file_one(queued);
        }
        let mut taken = std::mem::take(&mut self.taken);
        for queued in taken.drain(..) {
            match self.interlude {
                // It begins before this one.
                Some(_) if !is_interlude => self.arrived.push_back(queued),
                _ => self.file_one(queued),
            }
        }
        self.taken = taken;
    }

    fn file_one(&mut self, queued: Queued) {
        let mut request = match queued {
            Queued::Request(request) => request,
            Queued::Interlude(queue) => {
                self.interlude = Some(queue);
                return;
            }
        };
        self.next.pieces.append(&mut request.pieces);
        let Request { correlation_id, sent_at, deadline, answer, .. } = request;
        if deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
        }
        let pending = |correlation_id| Pending { correlation_id, sent_at, deadline, answer };
        match correlation_id {
            Some(id) => self.pending.push_back(pending(id)),
            None => self.next.unanswered.push(pending(0)),
        }
    }

    /// Hands a frame to the oldest request.
    fn answer(&mut self, frame: Bytes) -> Result<(), Cause> {
        let (Some(&id), Some(oldest)) = (frame.first_chunk(), self.pending.front()) else {
            return Err(Cause::Unasked);
        };
        let (wanted, found) = (oldest.correlation_id, i32::from_be_bytes(id));
        if wanted != found {
            return Err(Cause::Correlation { wanted, found });
        }
        self.answered += 1;
        if let Some(oldest) = self.pending.pop_front() {
            _ = oldest.answer.send(Ok(frame));
        }
        Ok(())
    }

    /// A request whose deadline has passed; sets the timer for the next one if there is none.
    fn overdue(&mut self) -> Option<Cause> {
        let now = Instant::now();
        let waiting = self.pending.iter().chain(&self.writing.unanswered).chain(&self.next.unanswered);
        let earliest = waiting.min_by_key(|pending| pending.deadline);
        match earliest {
            Some(pending) if pending.deadline <= now => {
                Some(Cause::Deadline { waited: now.duration_since(pending.sent_at) })
            }
            Some(pending) => {
                self.timer.as_mut().reset(pending.deadline);
                None
            }
            None => {
                self.timer.as_mut().reset(now + NEVER);
                None
            }
        }
    }

    fn unreadable(&self, error: FrameError) -> Cause {
        match error {
            // A size that cannot be is a stranger's first words.
            FrameError::TooLarge { .. } | FrameError::NegativeSize(_) if self.answered == 0 => {
                let first = self.reader.unread();
                Cause::Foreign { first: first.get(..FIRST_BYTES_SHOWN_MAX).unwrap_or(first).into() }
            }
            error => Cause::Frame(Arc::new(error)),
        }
    }

    fn broken(&self, error: io::Error) -> Cause {
        match error.kind() {
            // A peer that closes while bytes are on their way to it is seen as either.
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
                if self.answered <= ANSWERS_TO_ANYBODY_MAX =>
            {
                Cause::ClosedByPeer { answered: self.answered }
            }
            // With TLS 1.3 a server looks at the client's certificate when the client is done with the handshake.
            _ if tls::is_refusal(&error) => Cause::Tls(Arc::new(error)),
            _ => Cause::Broken(Arc::new(error)),
        }
    }
}

/// Takes requests off the queue; 0 if there will be none any more.
async fn take(queue: &mut Option<mpsc::UnboundedReceiver<Queued>>, taken: &mut Vec<Queued>) -> usize {
    match queue {
        Some(queue) => queue.recv_many(taken, GATHERED_MAX).await,
        None => 0,
    }
}
