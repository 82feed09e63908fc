//! A configuration that is made anew when its files have changed.

use std::{
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use super::{TlsError, TlsSettings};

/// How often the files are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What says that a file is another: when it was written, and how long it is.
type Stamp = Vec<Option<(SystemTime, u64)>>;

#[derive(Debug)]
pub(super) struct Fresh<T> {
    settings: TlsSettings,
    make: fn(&TlsSettings) -> Result<T, TlsError>,
    /// A leaf lock; held while files are read, which is once per change.
    current: Mutex<Current<T>>,
}

#[derive(Debug)]
struct Current<T> {
    made: Arc<T>,
    stamp: Stamp,
    looked: Instant,
}

impl<T> Fresh<T> {
    pub(super) fn new(
        settings: TlsSettings,
        make: fn(&TlsSettings) -> Result<T, TlsError>,
    ) -> Result<Self, TlsError> {
        let stamp = stamp(&settings);
        let made = Arc::new(make(&settings)?);
        Ok(Self { settings, make, current: Mutex::new(Current { made, stamp, looked: Instant::now() }) })
    }

    /// The configuration of the files as they are now. One that cannot be used, as when only half of it is written yet, changes
    /// nothing; it is tried again.
    pub(super) fn get(&self) -> Arc<T> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK_EVERY {
            current.looked = Instant::now();
            let now = stamp(&self.settings);
            if now != current.stamp {
                match (self.make)(&self.settings) {
                    Ok(made) => {
                        tracing::info!("keys and certificates were read anew");
                        (current.made, current.stamp) = (Arc::new(made), now);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "changed keys and certificates are of no use; going on with the old ones")
                    }
                }
            }
        }
        Arc::clone(&current.made)
    }
}

fn stamp(settings: &TlsSettings) -> Stamp {
    let stamp_of = |path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    settings.files().map(stamp_of).collect()
}
