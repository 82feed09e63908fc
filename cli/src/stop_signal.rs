//! What asks a program to stop: SIGTERM or SIGINT; on other systems Ctrl-C. And, where it is wanted, the end of its input.

use std::io::Read;

use tokio::sync::oneshot;

/// Heard from when it is made on.
pub(crate) struct StopSignal {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    /// Told of when the standard input ends.
    stdin_ended: Option<oneshot::Receiver<()>>,
}

impl StopSignal {
    pub(crate) fn new() -> std::io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                stdin_ended: None,
            })
        }
        #[cfg(not(unix))]
        Ok(Self { stdin_ended: None })
    }

    /// The end of the standard input is a signal, too: it comes when the program at its other end is gone, however that ended.
    pub(crate) fn or_end_of_stdin(mut self) -> std::io::Result<Self> {
        let (ended, told) = oneshot::channel();
        // Blocked in a read until the end; the process does not wait for it.
        std::thread::Builder::new().name("stdin".into()).spawn(move || {
            let mut stdin = std::io::stdin().lock();
            let mut ignored = [0; 4096];
            while stdin.read(&mut ignored).is_ok_and(|count| count > 0) {}
            _ = ended.send(());
        })?;
        self.stdin_ended = Some(told);
        Ok(self)
    }

    /// Waits for one of them and names it.
    pub(crate) async fn wait(&mut self) -> &'static str {
        let stdin = self.stdin_ended.take();
        let stdin_ended = async {
            match stdin {
                Some(told) => _ = told.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            signal = self.signal() => signal,
            () = stdin_ended => "end of stdin",
        }
    }

    async fn signal(&mut self) -> &'static str {
        #[cfg(unix)]
        {
            tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
            }
        }
        #[cfg(not(unix))]
        {
            let _ = tokio::signal::ctrl_c().await;
            "Ctrl-C"
        }
    }
}
