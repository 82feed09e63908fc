//! Stands between clients and brokers, and keeps one small frame of each kind that passes.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ottla_interop::kafka::Port;
use ottla_protocol::{error_code::ErrorCode, frame::SIZE_BYTES, messages::ApiKey};

/// Largest frame that is kept, in bytes and with its size.
const FRAME_BYTES_MAX: usize = 4096;
/// Up to here a longer frame is the better one: it has more in it. Beyond, the shorter.
const FRAME_BYTES_WANTED: usize = 1024;

/// What a frame is: its API's key, its version, and whether it is the response.
pub(crate) type FrameKind = (i16, i16, bool);

/// The frames kept so far, shared by all connections.
#[derive(Clone, Default)]
pub(crate) struct Frames {
    kept: Arc<Mutex<BTreeMap<FrameKind, Vec<u8>>>>,
    /// No frame that holds one of these is kept: they name this machine.
    private: Arc<Vec<String>>,
}

impl Frames {
    pub(crate) fn without(private: Vec<String>) -> Self {
        Self { private: Arc::new(private), ..Self::default() }
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, BTreeMap<FrameKind, Vec<u8>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offer(&self, kind: FrameKind, frame: &[u8]) {
        let holds = |text: &String| frame.windows(text.len()).any(|w| w == text.as_bytes());
        if frame.len() > FRAME_BYTES_MAX || self.private.iter().any(holds) {
            return;
        }
        let worth = |len: usize| if len <= FRAME_BYTES_WANTED { len as i64 } else { -(len as i64) };
        let mut kept = self.kept();
        if kept.get(&kind).is_none_or(|known| worth(frame.len()) > worth(known.len())) {
            kept.insert(kind, frame.to_vec());
        }
    }
}

/// Binds a port and passes on, for as long as the process lives, to the port that is given back with it.
pub(crate) fn stand_between(frames: &Frames) -> io::Result<Port> {
    let bound = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let advertised = listener.local_addr()?.port();
    let frames = frames.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let frames = frames.clone();
            // Until the broker is up the client is turned away, as it would be without us.
            let Ok(broker) = TcpStream::connect(("127.0.0.1", bound)) else { continue };
            std::thread::spawn(move || connection(&client, &broker, &frames));
        }
    });
    Ok(Port { bound, advertised })
}

/// The requests of a connection that are not yet answered: key and version by correlation id.
type Waiting = Mutex<HashMap<i32, (i16, i16)>>;

fn connection(client: &TcpStream, broker: &TcpStream, frames: &Frames) {
    let waiting = Waiting::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pass(client, broker, |frame| {
                let kind = (i16_at(frame, 4)?, i16_at(frame, 6)?);
                waiting.lock().ok()?.insert(i32_at(frame, 8)?, kind);
                frames.offer((kind.0, kind.1, false), frame);
                Some(())
            })
        });
        scope.spawn(|| {
            pass(broker, client, |frame| {
                let (key, mut version) = waiting.lock().ok()?.remove(&i32_at(frame, 4)?)?;
                let api_versions = key == ApiKey::ApiVersions as i16;
                if api_versions && i16_at(frame, 8)? == ErrorCode::UNSUPPORTED_VERSION.0 {
                    // The answer to a version that the broker does not have is in the oldest.
                    version = 0;
                }
                frames.offer((key, version, true), frame);
                Some(())
            })
        });
    });
}

/// Passes on frame by frame until one side ends; then the other is told.
fn pass(mut from: &TcpStream, mut to: &TcpStream, look: impl Fn(&[u8]) -> Option<()>) {
    let mut next = || -> io::Result<()> {
        let mut size = [0; SIZE_BYTES];
        from.read_exact(&mut size)?;
        let body = usize::try_from(i32::from_be_bytes(size)).map_err(io::Error::other)?;
        let mut frame = size.to_vec();
        frame.resize(SIZE_BYTES + body, 0);
        from.read_exact(&mut frame[SIZE_BYTES..])?;
        // What is not understood is passed on all the same.
        let _ = look(&frame);
        to.write_all(&frame)
    };
    while next().is_ok() {}
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn i16_at(frame: &[u8], at: usize) -> Option<i16> {
    Some(i16::from_be_bytes(*frame.get(at..)?.first_chunk()?))
}

fn i32_at(frame: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(*frame.get(at..)?.first_chunk()?))
}
