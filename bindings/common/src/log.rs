//! The library's log, for programs that have one of their own: each line goes to a function.

use std::{
    fmt::{self, Write},
    sync::{
        Arc, Once, PoisonError, RwLock,
        atomic::{AtomicU8, Ordering},
    },
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
    subscriber::Interest,
};

/// How much is worth a line. What is not reached costs one comparison.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum LogLevel {
    /// Nothing.
    Off = 0,
    /// Something failed for good.
    Error = 1,
    /// Something is not as it should be, and the client goes on.
    Warn = 2,
    /// What happens to the client: rebalances, new leaders.
    Info = 3,
    /// What it does about it.
    Debug = 4,
    /// Every step.
    Trace = 5,
}

impl LogLevel {
    /// The level of this number; the nearest for others.
    pub fn of(number: i32) -> Self {
        match number {
            ..=0 => Self::Off,
            1 => Self::Error,
            2 => Self::Warn,
            3 => Self::Info,
            4 => Self::Debug,
            5.. => Self::Trace,
        }
    }
}

type Sink = Arc<dyn Fn(LogLevel, &str, &str) + Send + Sync>;

static SINK: RwLock<Option<Sink>> = RwLock::new(None);
static LEVEL: AtomicU8 = AtomicU8::new(LogLevel::Off as u8);
static INSTALLED: Once = Once::new();

/// Has `sink` called with each line up to `level`: its level, the part of the library that it is from, its text. It is called
/// on any thread of the library and must call nothing of it. Answers whether it can be: not where the program's own Rust code
/// has set up `tracing` before.
pub fn set_log(level: LogLevel, sink: impl Fn(LogLevel, &str, &str) + Send + Sync + 'static) -> bool {
    let mut is_ours = true;
    INSTALLED.call_once(|| is_ours = tracing::subscriber::set_global_default(ToSink).is_ok());
    *SINK.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(sink));
    LEVEL.store(level as u8, Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
    is_ours
}

/// Logs nothing any more.
pub fn clear_log() {
    LEVEL.store(LogLevel::Off as u8, Ordering::Relaxed);
    *SINK.write().unwrap_or_else(PoisonError::into_inner) = None;
    tracing::callsite::rebuild_interest_cache();
}

fn level_of(level: &Level) -> LogLevel {
    match *level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        Level::TRACE => LogLevel::Trace,
    }
}

/// Writes events as lines; spans are not told of.
struct ToSink;

impl ToSink {
    fn wants(metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("ottla")
            && level_of(metadata.level()) as u8 <= LEVEL.load(Ordering::Relaxed)
    }
}

impl Subscriber for ToSink {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if Self::wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        Self::wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match LogLevel::of(i32::from(LEVEL.load(Ordering::Relaxed))) {
            LogLevel::Off => LevelFilter::OFF,
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        })
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        // Called without the lock: it may take long, or set another.
        let sink = SINK.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(sink) = sink else { return };
        let mut line = Line::default();
        event.record(&mut line);
        line.message.push_str(&line.fields);
        sink(level_of(event.metadata().level()), event.metadata().target(), &line.message);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The text first, then the fields: `will try again topic=orders partition=3`.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn lines_go_to_the_function_up_to_their_level() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        let sink = move |level, target: &str, text: &str| {
            // Other tests of this program log, too.
            if target == "ottla_log_test" {
                kept.lock().unwrap().push((level, text.to_owned()));
            }
        };
        assert!(set_log(LogLevel::Info, sink));
        let tell = || {
            tracing::info!(target: "ottla_log_test", topic = %"orders", partition = 3, "moved");
            tracing::debug!(target: "ottla_log_test", "not told");
            tracing::info!(target: "elsewhere", "not told");
        };
        tell();
        assert_eq!(*lines.lock().unwrap(), [(LogLevel::Info, "moved topic=orders partition=3".to_owned())]);
        clear_log();
        tell();
        assert_eq!(lines.lock().unwrap().len(), 1);
    }
}
