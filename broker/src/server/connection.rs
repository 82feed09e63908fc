//! One connection: frames in, answers out in the order of their requests.
//!
//! Produce requests overlap: each is validated and handed to its shards as it is read, while those before it are
//! still being written. Everything else runs alone, when all before it are answered, as Kafka does it: whoever
//! creates a topic and asks for it in the next frame must find it.
//!
//! Where clients log in, nothing else is heard before: small frames, one at a time, and not for long
//! ([`crate::authentication::sasl`]).
//!
//! A client that has used up a quota is told so, and left alone for that long: nothing more is begun, and nothing read beyond the
//! next request ([`crate::quota`]).
//!
//! Reading goes on, up to [`PIPELINE_MAX`] requests, while an answer is awaited: that is how a peer that went away
//! ends a fetch that waits for it.

use std::{collections::VecDeque, future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use bytes::{BufMut, BytesMut};
use ottla_protocol::{
    error_code::ErrorCode,
    frame::RequestFrame,
    messages::{ApiKey, ApiVersionsResponse, SaslAuthenticateRequest},
    types::Str,
    wire::{Malformed, Piece},
};
use ottla_transport::{Budget, Frame, FrameError, FrameLimits, FrameReader};
use tokio::{
    io::AsyncRead,
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep, sleep_until, timeout_at},
};

use super::{
    answer::{Answer, Sink, WRITE_STALL_MAX},
    dispatch::{self, Producing, Refused, Request},
    limits::Stranger,
};
use crate::{
    authentication::{
        Listening, Principal, Session,
        sasl::{self, Denied, LoggedIn, Login, Progress},
    },
    handlers::{Context, RequestContext},
    quota::{Held, timed},
    time::now_ms,
};

/// Requests of one connection that are read and not answered; past that, TCP makes the client wait.
const PIPELINE_MAX: usize = 64;
/// Characters of a client id that are shown in the log.
const CLIENT_ID_SHOWN_MAX: usize = 64;

type Answering = Pin<Box<dyn Future<Output = Result<Option<Answer>, Refused>> + Send>>;

/// What all connections of a broker may do.
#[derive(Clone)]
pub(crate) struct Terms {
    /// Limits of frames, once it is known who sends them.
    pub(crate) frames: FrameLimits,
    /// Bytes of all requests together.
    pub(crate) budget: Budget,
    /// Largest frame before a login: `sasl.server.max.receive.size`.
    pub(crate) stranger_frame_bytes_max: usize,
    /// Time for the TLS handshake and the login together.
    pub(crate) authentication_max: Duration,
    /// How long a login that failed waits for its answer.
    pub(crate) denial_delay: Duration,
}

/// The ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
}

/// One client's connection.
pub(crate) struct Connection<R, W> {
    reader: FrameReader<R>,
    sink: W,
    /// How long the peer may take nothing of an answer.
    stall_max: Duration,
    ends: Ends,
    cx: Arc<Context>,
    terms: Terms,
    /// Who is at its other end, as far as is known.
    session: Arc<Session>,
    /// The login that is under way, or may come.
    login: Option<Login>,
    /// When it ends unless the client logs in anew.
    ends_at: Option<Instant>,
    /// A login has failed: when that is answered, the connection ends.
    denied: Option<Denied>,
    /// Requests behind the one that is being answered.
    waiting: VecDeque<Waiting>,
    /// The request that is being answered.
    answering: Option<(Answering, Turn)>,
    /// What the client calls itself, for the log and for quotas.
    client_id: Option<Str>,
    /// The quotas that hold for it, and of which revision of all quotas; `None` if that is to be looked up.
    quotas: Option<(u64, Option<Arc<Held>>)>,
    /// Until when nothing is begun, because of a quota.
    muted_until: Option<Instant>,
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
    /// A part of a login.
    Login(Request),
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
    /// It asks for something before it has logged in.
    NotLoggedIn(ApiKey),
    /// Its login failed.
    Denied(Denied),
    /// It was to log in anew, and did not.
    SessionOver,
    /// It did not say in time who it is.
    TooSlow,
    /// Too many have not shown who they are.
    GaveWay,
}

impl<R: AsyncRead + Unpin, W: Sink> Connection<R, W> {
    /// A connection of `principal`, which may yet say that it is another, where clients log in.
    pub(crate) fn new(
        source: R,
        sink: W,
        ends: Ends,
        terms: &Terms,
        listening: &Arc<Listening>,
        principal: Principal,
        cx: Arc<Context>,
    ) -> Self {
        let login = Login::at(listening);
        let reader = match login {
            None => FrameReader::new(source, terms.frames.clone()).with_budget(terms.budget.clone()),
            Some(_) => {
                let limits = FrameLimits {
                    frame_bytes_max: terms.stranger_frame_bytes_max,
                    idle: terms.authentication_max,
                    frame: terms.authentication_max,
                };
                FrameReader::new(source, limits)
            }
        };
        Self {
            reader,
            sink,
            // Neither direction moves then, which is what Kafka calls idle.
            stall_max: terms.frames.idle.min(WRITE_STALL_MAX),
            ends,
            cx,
            terms: terms.clone(),
            session: Arc::new(Session { listening: Arc::clone(listening), principal }),
            login,
            ends_at: None,
            denied: None,
            waiting: VecDeque::new(),
            answering: None,
            client_id: None,
            quotas: None,
            muted_until: None,
        }
    }

    /// Serves it until either side closes it, or the broker stops. As long as it is a `stranger`, it has until `deadline` to log
    /// in.
    pub(crate) async fn serve(
        mut self,
        stranger: Option<Stranger>,
        deadline: Instant,
        mut stop: watch::Receiver<bool>,
    ) {
        let admitted = match stranger {
            None => Ok(true),
            Some(stranger) => self.admit(&stranger, deadline, &mut stop).await,
        };
        let result = match admitted {
            Ok(true) => self.run(stop).await,
            Ok(false) => Ok(()),
            Err(ended) => Err(ended),
        };
        let client = self.client_id.as_deref().map(shown).unwrap_or_default();
        let peer = self.ends.peer;
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
            Err(Ended::NotLoggedIn(key)) => {
                tracing::warn!(%peer, client, "connection closed: {key} comes before a login; check the client's `security.protocol`");
            }
            Err(Ended::Denied(denied)) if denied.is_ours() => {
                tracing::debug!(%peer, client, "connection closed: a login failed: {denied}");
            }
            Err(Ended::Denied(denied)) => {
                let listener = &*self.session.listening.name;
                tracing::warn!(%peer, client, listener, "connection closed: a login failed: {denied}");
            }
            Err(Ended::SessionOver) => {
                tracing::info!(%peer, client, "connection closed: its session is over, and it did not log in anew");
            }
            Err(Ended::TooSlow) => {
                tracing::warn!(%peer, client, "connection closed: it did not log in in time");
            }
            Err(Ended::GaveWay) => {
                tracing::warn!(%peer, client, "connection closed: too many have not shown who they are");
            }
        }
    }

    // ---- who it is

    /// Hears a stranger out; answers whether it may stay.
    async fn admit(
        &mut self,
        stranger: &Stranger,
        deadline: Instant,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<bool, Ended> {
        let admitted = tokio::select! {
            admitted = timeout_at(deadline, self.hear_out()) => admitted.unwrap_or(Err(Ended::TooSlow)),
            () = stranger.gives_way() => Err(Ended::GaveWay),
            () = stopping(stop) => Ok(false),
        };
        // A client may leave it at what it was told, or go on as if it had not been.
        match self.login.as_ref().and_then(Login::refusal) {
            Some(denied) if !matches!(admitted, Ok(true)) => Err(Ended::Denied(denied)),
            _ => admitted,
        }
    }

    /// Reads and answers until the login is done; false if the client went away.
    async fn hear_out(&mut self) -> Result<bool, Ended> {
        loop {
            let Some(frame) = self.reader.next().await.map_err(Ended::Frame)? else { return Ok(false) };
            let bare = self.login.as_ref().is_some_and(Login::expects_bare_token);
            let answer = if bare {
                self.bare_token(&frame)
            } else {
                let bytes = frame.bytes.len();
                let request = RequestFrame::parse(frame.bytes).map_err(Ended::Header)?;
                self.note_client(&request);
                // Who they are is not known yet, so nothing is counted.
                let rq = self.context_of(&request, None);
                let request = dispatch::admit(request, bytes).map_err(Ended::Refused)?;
                match request.key {
                    ApiKey::ApiVersions if self.login.as_ref().is_some_and(Login::is_under_way) => {
                        Some(self.interrupted(&request).map_err(Ended::Refused)?)
                    }
                    ApiKey::ApiVersions => {
                        dispatch::answer(request, rq, Arc::clone(&self.cx)).await.map_err(Ended::Refused)?
                    }
                    ApiKey::SaslHandshake | ApiKey::SaslAuthenticate => {
                        Some(self.log_in(request).map_err(Ended::Refused)?)
                    }
                    key => return Err(Ended::NotLoggedIn(key)),
                }
            };
            if self.denied.is_some() {
                sleep(self.terms.denial_delay).await;
            }
            if let Some(answer) = answer {
                answer.send(&mut self.sink, self.stall_max).await.map_err(Ended::Write)?;
            }
            if let Some(denied) = self.denied.take() {
                return Err(Ended::Denied(denied));
            }
            // A login that may be begun anew, or none, is one that is behind it.
            if !self.login.as_ref().is_some_and(Login::is_first) {
                self.reader.admit(self.terms.frames.clone(), self.terms.budget.clone());
                return Ok(true);
            }
        }
    }

    /// A part of a login, as a request.
    fn log_in(&mut self, request: Request) -> Result<Answer, Refused> {
        let (key, version, id) = (request.key, request.frame.version, request.frame.correlation_id);
        if key == ApiKey::SaslHandshake {
            let handshake = dispatch::read(request)?;
            let (response, denied) = match &mut self.login {
                Some(login) => login.handshake(version, &handshake),
                // Whoever asks is told; there is nothing to be denied.
                None => (sasl::illegal_handshake(), None),
            };
            self.denied = denied;
            return dispatch::respond(key, version, id, &response);
        }
        let SaslAuthenticateRequest { auth_bytes, .. } = dispatch::read(request)?;
        let progress = match &mut self.login {
            Some(login) => login.token(&auth_bytes, &self.cx.image.load(), now_ms()),
            None => Err(Denied::OutOfTurn),
        };
        let answer = dispatch::respond(key, version, id, &sasl::answer(&progress))?;
        let is_asked = self.login.is_some();
        self.progressed(progress);
        if !is_asked {
            self.denied = None;
        }
        Ok(answer)
    }

    /// Versions are asked for between a handshake and its tokens: Kafka refuses that, and ends the connection.
    fn interrupted(&mut self, request: &Request) -> Result<Answer, Refused> {
        self.denied = Some(Denied::Interrupted);
        let response =
            ApiVersionsResponse { error_code: ErrorCode::ILLEGAL_SASL_STATE, ..Default::default() };
        let version = Some(request.frame.version).filter(|version| request.key.versions().contains(version));
        dispatch::respond(request.key, version.unwrap_or_default(), request.frame.correlation_id, &response)
    }

    /// A token without a header, after a handshake of version 0. A failure is told by closing.
    fn bare_token(&mut self, frame: &Frame) -> Option<Answer> {
        let login = self.login.as_mut()?;
        let progress = login.token(&frame.bytes, &self.cx.image.load(), now_ms());
        let token = match &progress {
            Ok(Progress::Challenge(token) | Progress::Done(LoggedIn { token, .. })) => Some(token.clone()),
            Err(_) => None,
        };
        self.progressed(progress);
        let token = token?;
        let mut bytes = BytesMut::with_capacity(4 + token.len());
        bytes.put_u32(u32::try_from(token.len()).ok()?);
        bytes.put_slice(&token);
        Some(Answer { pieces: vec![Piece::Bytes(bytes.freeze())], ..Answer::silent(Duration::ZERO) })
    }

    fn progressed(&mut self, progress: Result<Progress, Denied>) {
        match progress {
            Ok(Progress::Challenge(_)) => {}
            Ok(Progress::Done(done)) => {
                let listening = Arc::clone(&self.session.listening);
                let peer = self.ends.peer;
                tracing::debug!(%peer, principal = %done.principal, mechanism = %done.mechanism, "logged in");
                self.ends_at = done.lifetime.map(|lifetime| Instant::now() + lifetime);
                self.login = done.lifetime.and_then(|_| Login::again(&listening, &done));
                if self.session.principal != done.principal {
                    self.session = Arc::new(Session { listening, principal: done.principal });
                    self.quotas = None;
                }
            }
            Err(denied) => self.denied = Some(denied),
        }
    }

    // ---- what it asks

    fn note_client(&mut self, request: &RequestFrame) {
        if self.client_id != request.client_id {
            self.client_id = request.client_id.as_ref().map(Str::detached);
            self.quotas = None;
        }
    }

    /// The quotas that hold for the client. Where there are none at all, that is one look at a number.
    fn held(&mut self) -> Option<Arc<Held>> {
        let revision = self.cx.image.quotas_revision();
        if let Some((of, held)) = &self.quotas
            && *of == revision
        {
            return held.clone();
        }
        let user = self.session.principal.name();
        let client_id = self.client_id.as_deref().unwrap_or_default();
        let held = match revision {
            0 => None,
            _ => self.cx.quotas.held(user, client_id, Instant::now()),
        };
        self.quotas = Some((revision, held.clone()));
        held
    }

    /// Leaves the client alone until then.
    fn mute(&mut self, until: Instant) {
        self.muted_until = self.muted_until.max(Some(until));
    }

    fn context_of(&self, request: &RequestFrame, quotas: Option<Arc<Held>>) -> RequestContext {
        RequestContext {
            version: request.version,
            client_id: request.client_id.clone(),
            local: self.ends.local,
            peer: self.ends.peer,
            session: Arc::clone(&self.session),
            quotas,
        }
    }

    async fn run(&mut self, mut stop: watch::Receiver<bool>) -> Result<(), Ended> {
        loop {
            // Whoever holds off as it was told sends nothing, so one request is room enough to see that it went away.
            let room = self.waiting.len() < if self.muted_until.is_some() { 1 } else { PIPELINE_MAX };
            tokio::select! {
                // Answers first: they make room.
                biased;
                answered = next_answer(&mut self.answering), if self.answering.is_some() => {
                    self.answered(answered).await?;
                    self.begin_next();
                }
                () = past(self.muted_until) => {
                    self.muted_until = None;
                    if self.answering.is_none() {
                        self.begin_next();
                    }
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
        let bytes = frame.bytes.len();
        let request = RequestFrame::parse(frame.bytes).map_err(Ended::Header)?;
        self.note_client(&request);
        let quotas = self.held();
        let rq = self.context_of(&request, quotas);
        let request = dispatch::admit(request, bytes).map_err(Ended::Refused)?;
        let (key, came) = (request.key, Instant::now());
        let is_login = matches!(key, ApiKey::SaslHandshake | ApiKey::SaslAuthenticate);
        if !is_login && self.ends_at.is_some_and(|end| end <= came) {
            return Err(Ended::SessionOver);
        }
        let overlaps = self.answering.as_ref().is_none_or(|(_, turn)| turn.overlaps)
            && self.waiting.iter().all(|w| matches!(w.state, State::Begun(_)));
        let may_begin = overlaps && self.muted_until.is_none();
        let state = if request.key == ApiKey::Produce && may_begin {
            let producing = dispatch::begin_produce(request, &rq, &self.cx).map_err(Ended::Refused)?;
            if let Some(until) = producing.hold_off_until() {
                self.mute(until);
            }
            State::Begun(producing)
        } else if is_login {
            State::Login(request)
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
            if !answer.hold_off.is_zero() {
                self.mute(Instant::now() + answer.hold_off);
                let core = self.cx.metrics.core();
                core.throttled_requests.add(1);
                core.throttle_ms.add(u64::try_from(answer.hold_off.as_millis()).unwrap_or(u64::MAX));
            }
            let quotas =
                self.quotas.as_ref().and_then(|(_, held)| held.clone()).filter(|it| it.counts_time());
            let (sent, busy) = timed(quotas.is_some(), answer.send(&mut self.sink, self.stall_max)).await;
            sent.map_err(Ended::Write)?;
            if let Some(quotas) = quotas {
                // It has been answered, so the next request pays for it.
                quotas.busy(busy, Instant::now());
            }
        }
        if let Some((_, turn)) = turn {
            self.cx.metrics.core().answered(turn.key as i16, turn.came.elapsed());
        }
        self.denied.take().map_or(Ok(()), |denied| Err(Ended::Denied(denied)))
    }

    /// Begins to answer the request whose turn it is, unless it has to wait; what was begun before that is answered.
    fn begin_next(&mut self) {
        let is_begun = |waiting: &Waiting| matches!(waiting.state, State::Begun(_));
        if self.muted_until.is_some() && !self.waiting.front().is_some_and(is_begun) {
            return;
        }
        let Some(Waiting { state, key, came, permit }) = self.waiting.pop_front() else { return };
        let mut turn = Turn { overlaps: true, key, came, _permit: permit };
        let answering: Answering = match state {
            State::Begun(producing) => Box::pin(producing.finish()),
            State::NotBegun(request, rq) => {
                turn.overlaps = false;
                Box::pin(dispatch::answer(request, rq, Arc::clone(&self.cx)))
            }
            State::Login(request) => {
                turn.overlaps = false;
                let answer = self.log_in(request);
                let delay = self.denied.is_some().then_some(self.terms.denial_delay);
                Box::pin(async move {
                    if let Some(delay) = delay {
                        sleep(delay).await;
                    }
                    answer.map(Some)
                })
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

/// Returns then, or never.
async fn past(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
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
