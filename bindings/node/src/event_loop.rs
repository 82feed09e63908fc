//! How what ends on an I/O thread comes to JavaScript's: one queue for a thread, one wake for all that has come.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use napi::{
    Env, Status, Unknown,
    bindgen_prelude::{Array, FnArgs, Function, FunctionRef, ToNapiValue},
    threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode},
};
use napi_derive::napi;
use ottla_bindings::{
    BindingError, Call, CompletionQueue, TokenRequest,
    core::{Rebalance, RebalanceKind},
    log::LogLevel,
};

use crate::convert::Place;

/// Makes JavaScript's value of an outcome, on its thread.
type Convert = Box<dyn for<'e> FnOnce(&'e Env, &Shared) -> napi::Result<Unknown<'e>> + Send>;

/// Code, name, message, flags, hint; gives the error.
type MakeError = FnArgs<(i32, &'static str, String, u32, Option<String>)>;

/// Something that JavaScript is to be told of.
pub(crate) enum Ended {
    /// What was begun with this token.
    Operation(f64, Result<Convert, BindingError>),
    /// The record of this token could not be taken by the producer of this number.
    Refused { producer: u32, token: u64, error: BindingError },
    /// Deliveries have come to the producer of this number.
    Deliveries(u32),
    /// A step of a rebalance of the consumer of this number.
    Rebalance { consumer: u32, rebalance: Rebalance },
    /// A client needs a token of the provider of this number.
    TokenRequest { provider: u32, request: TokenRequest },
    /// A line of the log.
    Line { level: LogLevel, part: String, text: String },
}

/// The words with which [`EventLoop::drain`] tells what each is.
const OPERATION: u32 = 0;
const FAILED: u32 = 1;
const REFUSED: u32 = 2;
const DELIVERIES: u32 = 3;
const REBALANCE: u32 = 4;
const LINE: u32 = 5;
const TOKEN_REQUEST: u32 = 6;

/// The side of one of JavaScript's threads that is turned to the library.
#[napi]
pub struct EventLoop {
    pub(crate) shared: Rc<Shared>,
}

/// What the clients of a thread have in common.
pub(crate) struct Shared {
    pub(crate) queue: Arc<CompletionQueue<Ended>>,
    make_error: FunctionRef<MakeError, Unknown<'static>>,
    /// Steps that JavaScript has been told of and is not done with.
    rebalances: RefCell<HashMap<u32, Rebalance>>,
    /// Requests that it has been told of and has not answered.
    pub(crate) token_requests: RefCell<HashMap<u32, TokenRequest>>,
}

#[napi]
impl EventLoop {
    /// `wake` is called, on JavaScript's thread, when there is something to drain. It keeps no process alive.
    #[napi(constructor)]
    pub fn new(
        wake: Function<'_, (), ()>,
        make_error: Function<'_, MakeError, Unknown<'static>>,
    ) -> napi::Result<Self> {
        let wake: ThreadsafeFunction<(), (), (), Status, false, true> =
            wake.build_threadsafe_function().callee_handled::<false>().weak::<true>().build()?;
        let queue = Arc::new(CompletionQueue::new());
        queue.set_wake(Some(Arc::new(move || {
            // Refused when the thread is ending: then nobody asks any more.
            wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        })));
        let shared = Shared {
            queue,
            make_error: make_error.create_ref()?,
            rebalances: RefCell::default(),
            token_requests: RefCell::default(),
        };
        Ok(Self { shared: Rc::new(shared) })
    }

    /// All that has come: of each what it is, whose it is, and its value.
    #[napi]
    pub fn drain<'e>(&self, env: &'e Env) -> napi::Result<Array<'e>> {
        let mut ended = Vec::new();
        self.shared.queue.drain(&mut ended, usize::MAX);
        let mut told = env.create_array(0)?;
        for ended in ended {
            self.tell(env, ended, &mut told)?;
        }
        Ok(told)
    }

    /// JavaScript is done with a step of a rebalance: the group may go on.
    #[napi]
    pub fn rebalanced(&self, step: u32) {
        // Let go where it is dropped, behind the borrow.
        let rebalance = self.shared.rebalances.borrow_mut().remove(&step);
        drop(rebalance);
    }
}

impl EventLoop {
    fn tell(&self, env: &Env, ended: Ended, told: &mut Array<'_>) -> napi::Result<()> {
        let shared = &*self.shared;
        match ended {
            Ended::Operation(token, outcome) => {
                let outcome = match outcome {
                    Ok(convert) => convert(env, shared),
                    Err(error) => Err(shared.thrown(env, &error)),
                };
                match outcome {
                    Ok(value) => entry(told, OPERATION, token, value),
                    Err(error) => entry(told, FAILED, token, error.into_unknown(env)?),
                }
            }
            Ended::Refused { producer, token, error } => {
                // A token is a number that JavaScript has given.
                let value = (token as f64, shared.error(env, &error)?);
                entry(told, REFUSED, f64::from(producer), value)
            }
            Ended::Deliveries(producer) => entry(told, DELIVERIES, f64::from(producer), ()),
            Ended::Rebalance { consumer, rebalance } => {
                let partitions: Vec<Place> = rebalance.partitions().iter().map(Place::from).collect();
                let kind = match rebalance.kind() {
                    RebalanceKind::Assigned => "assigned",
                    RebalanceKind::Revoked => "revoked",
                    RebalanceKind::Lost => "lost",
                };
                let mut steps = shared.rebalances.borrow_mut();
                let step = (0..).find(|step| !steps.contains_key(step)).unwrap_or(u32::MAX);
                steps.insert(step, rebalance);
                entry(told, REBALANCE, f64::from(consumer), (step, kind, partitions))
            }
            Ended::TokenRequest { provider, request } => {
                let mut requests = shared.token_requests.borrow_mut();
                // Those that were given up need no answer.
                requests.retain(|_, request| !request.is_over());
                let number = (0..).find(|number| !requests.contains_key(number)).unwrap_or(u32::MAX);
                requests.insert(number, request);
                entry(told, TOKEN_REQUEST, f64::from(provider), number)
            }
            Ended::Line { level, part, text } => entry(told, LINE, f64::from(level as u8), (part, text)),
        }
    }
}

fn entry(told: &mut Array<'_>, what: u32, whose: f64, value: impl ToNapiValue) -> napi::Result<()> {
    told.insert(what)?;
    told.insert(whose)?;
    told.insert(value)
}

impl Shared {
    /// Starts a call; the token ends when it does, with what `convert` makes of its outcome.
    pub(crate) fn start<T, F>(&self, token: f64, call: Call<T>, convert: F)
    where
        T: Send + 'static,
        F: for<'e> FnOnce(&'e Env, &Self, T) -> napi::Result<Unknown<'e>> + Send + 'static,
    {
        let queue = Arc::clone(&self.queue);
        call.start(move |outcome| {
            let convert = |value| -> Convert { Box::new(move |env, shared| convert(env, shared, value)) };
            queue.push(Ended::Operation(token, outcome.map(convert)));
        });
    }

    /// As [`Self::start`], for what has no outcome but that it is done.
    pub(crate) fn start_unit(&self, token: f64, call: Call<()>) {
        self.start(token, call, |env, _, ()| ().into_unknown(env));
    }

    /// An error as JavaScript has it.
    pub(crate) fn error<'e>(&self, env: &'e Env, error: &BindingError) -> napi::Result<Unknown<'e>> {
        let BindingError { code, name, flags, message, hint } = error.clone();
        self.make_error.borrow_back(env)?.call((code, name, message, flags, hint).into())
    }

    /// The same to be thrown.
    #[cold]
    pub(crate) fn thrown(&self, env: &Env, error: &BindingError) -> napi::Error {
        match self.error(env, error) {
            Ok(error) => error.into(),
            // Out of memory, or the thread is ending.
            Err(failure) => failure,
        }
    }
}

/// `?` for what the bindings answer.
pub(crate) trait OrThrow<T> {
    fn or_throw(self, env: &Env, shared: &Shared) -> napi::Result<T>;
}

impl<T> OrThrow<T> for Result<T, BindingError> {
    #[inline]
    fn or_throw(self, env: &Env, shared: &Shared) -> napi::Result<T> {
        self.map_err(|error| shared.thrown(env, &error))
    }
}
