//! One connection: frames in, answers out in the order of their requests.
//!
//! Produce requests overlap: each is validated and handed to its shards as it is read, while those before it are
//! still being written. Everything else runs alone, when all before it are answered, as Kafka does it: whoever
//! creates a topic and asks for it in the next frame must find it.
//!
//! Reading goes on, up to [`PIPELINE_MAX`] requests, while an answer is awaited: that is how a peer that went away
//! ends a fetch that waits for it.

use std::{collections::VecDeque, future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use ottla_protocol::{frame::RequestFrame, messages::ApiKey, types::Str, wire::Malformed};
use ottla_transport::{Budget, Frame, FrameError, FrameLimits, FrameReader};
use tokio::{
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{OwnedSemaphorePermit, watch},
    time::Instant,
};

use super::{
    answer::{Answer, WRITE_STALL_MAX},
    dispatch::{self, Producing, Refused, Request},
};
use crate::handlers::{Context, RequestContext};

/// Requests of one connection that are read and not answered; past that, TCP makes the client wait.
const PIPELINE_MAX: usize = 64;
/// Characters of a client id that are shown in the log.
const CLIENT_ID_SHOWN_MAX: usize = 64;

type Answering = Pin<Box<dyn Future<Output = Result<Option<Answer>, Refused>> + Send>>;

/// One client's connection.
pub(crate) struct Connection {
    reader: FrameReader<OwnedReadHalf>,
    sink: OwnedWriteHalf,
    /// How long the peer may take nothing of an answer.
    stall_max: Duration,
    peer: SocketAddr,
    local: SocketAddr,
    cx: Arc<Context>,
    /// Requests behind the one that is being answered.
    waiting: VecDeque<Waiting>,
    /// The request that is being answered.
    answering: Option<(Answering, Turn)>,
    /// What the client calls itself, for the log.
    client_id: Option<Str>,
}

/// A request that waits for its turn.
struct Waiting {
    state: State,
    key: ApiKey,
    /// When its last byte had come.
    came: Instant,
    permit: Option<OwnedSemaphorePermit>,
}

enum State {
    /// A produce request whose batches are with their shards.
    Begun(Producing),
    /// Anything that runs alone, or comes after such.
    NotBegun(Request, RequestContext),
}

/// What is kept while a request is being answered.
struct Turn {
    /// A produce request was begun before, so the next one may begin too.
    overlaps: bool,
    /// Of which API it is; a fetch can be given up when the broker stops.
    key: ApiKey,
    came: Instant,
    /// The frame's part of the byte budget.
    _permit: Option<OwnedSemaphorePermit>,
}

/// Why a connection ended, other than by the client's wish.
#[derive(Debug)]
enum Ended {
    Frame(FrameError),
    Header(Malformed),
    Refused(Refused),
    Write(io::Error),
}

impl Connection {
    /// A connection over `stream`.
    pub(crate) fn new(
        stream: TcpStream,
        limits: FrameLimits,
        budget: Budget,
        cx: Arc<Context>,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
        let (source, sink) = stream.into_split();
        // Neither direction moves then, which is what Kafka calls idle.
        let stall_max = limits.idle.min(WRITE_STALL_MAX);
        let reader = FrameReader::new(source, limits).with_budget(budget);
        Ok(Self {
            reader,
            sink,
            stall_max,
            peer,
            local,
            cx,
            waiting: VecDeque::new(),
            answering: None,
            client_id: None,
        })
    }

    /// Serves it until either side closes it, or the broker stops.
    pub(crate) async fn serve(mut self, stop: watch::Receiver<bool>) {
        let result = self.run(stop).await;
        let client = self.client_id.as_deref().map(shown).unwrap_or_default();
        let peer = self.peer;
        match result {
            Ok(()) => tracing::debug!(%peer, client, "connection closed"),
            Err(Ended::Frame(FrameError::Idle(idle))) => {
                tracing::debug!(%peer, client, idle_s = idle.as_secs(), "idle connection closed");
            }
            Err(Ended::Write(error)) if error.kind() == io::ErrorKind::TimedOut => {
                tracing::warn!(%peer, client, %error, "connection closed");
            }
            Err(Ended::Frame(FrameError::Io(error)) | Ended::Write(error)) => {
                tracing::debug!(%peer, client, %error, "connection broke");
            }
            Err(Ended::Frame(error)) => tracing::warn!(%peer, client, %error, "connection closed"),
            Err(Ended::Header(error)) => {
                tracing::warn!(%peer, client, %error, "connection closed: a request's header is malformed");
            }
            Err(Ended::Refused(error)) => tracing::warn!(%peer, client, %error, "connection closed"),
        }
    }

    async fn run(&mut self, mut stop: watch::Receiver<bool>) -> Result<(), Ended> {
        loop {
            let room = self.waiting.len() < PIPELINE_MAX;
            tokio::select! {
                // Answers first: they make room.
                biased;
                answered = next_answer(&mut self.answering), if self.answering.is_some() => {
                    self.answered(answered).await?;
                    self.begin_next();
                }
                frame = self.reader.next(), if room => match frame.map_err(Ended::Frame)? {
                    Some(frame) => self.take(frame)?,
                    // Nobody is left to read an answer. What was handed to the shards is written all the same.
                    None => return Ok(()),
                },
                () = stopping(&mut stop) => return self.drain().await,
            }
        }
    }

    /// Takes a request in: begins it if nothing before it stands in the way.
    fn take(&mut self, frame: Frame) -> Result<(), Ended> {
        let request = RequestFrame::parse(frame.bytes).map_err(Ended::Header)?;
        if self.client_id != request.client_id {
            self.client_id = request.client_id.as_ref().map(Str::detached);
        }
        let rq = RequestContext {
            version: request.version,
            client_id: request.client_id.clone(),
            local: self.local,
            peer: self.peer,
        };
        let request = dispatch::admit(request).map_err(Ended::Refused)?;
        let (key, came) = (request.key, Instant::now());
        let overlaps = self.answering.as_ref().is_none_or(|(_, turn)| turn.overlaps)
            && self.waiting.iter().all(|w| matches!(w.state, State::Begun(_)));
        let state = if request.key == ApiKey::Produce && overlaps {
            State::Begun(dispatch::begin_produce(request, &rq, &self.cx).map_err(Ended::Refused)?)
        } else {
            State::NotBegun(request, rq)
        };
        self.waiting.push_back(Waiting { state, key, came, permit: frame.permit });
        if self.answering.is_none() {
            self.begin_next();
        }
        Ok(())
    }

    /// Sends what became of the request whose turn it was.
    async fn answered(&mut self, answered: Result<Option<Answer>, Refused>) -> Result<(), Ended> {
        let turn = self.answering.take();
        if let Some(answer) = answered.map_err(Ended::Refused)? {
            answer.send(&mut self.sink, self.stall_max).await.map_err(Ended::Write)?;
        }
        if let Some((_, turn)) = turn {
            self.cx.metrics.core().answered(turn.key as i16, turn.came.elapsed());
        }
        Ok(())
    }

    /// Begins to answer the request whose turn it is.
    fn begin_next(&mut self) {
        let Some(Waiting { state, key, came, permit }) = self.waiting.pop_front() else { return };
        let mut turn = Turn { overlaps: true, key, came, _permit: permit };
        let answering: Answering = match state {
            State::Begun(producing) => Box::pin(producing.finish()),
            State::NotBegun(request, rq) => {
                turn.overlaps = false;
                Box::pin(dispatch::answer(request, rq, Arc::clone(&self.cx)))
            }
        };
        self.answering = Some((answering, turn));
    }

    /// The broker stops: what was begun is answered, what was not is left to the client's next broker.
    async fn drain(&mut self) -> Result<(), Ended> {
        self.waiting.retain(|w| matches!(w.state, State::Begun(_)));
        if self.answering.as_ref().is_some_and(|(_, turn)| turn.key == ApiKey::Fetch) {
            self.answering = None;
            self.begin_next();
        }
        while self.answering.is_some() {
            let answered = next_answer(&mut self.answering).await;
            self.answered(answered).await?;
            self.begin_next();
        }
        Ok(())
    }
}

/// Returns when the broker stops, or is gone.
async fn stopping(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn next_answer(answering: &mut Option<(Answering, Turn)>) -> Result<Option<Answer>, Refused> {
    match answering {
        Some((answering, _)) => answering.await,
        None => std::future::pending().await,
    }
}

/// A client id as it may stand in a log: short, and without characters that a terminal would obey.
fn shown(client_id: &str) -> String {
    client_id.chars().take(CLIENT_ID_SHOWN_MAX).map(|c| if c.is_control() { '?' } else { c }).collect()
}
