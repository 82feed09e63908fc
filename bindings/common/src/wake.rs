//! A file descriptor that is readable while a queue has something: for `poll`, `epoll`, libuv, asyncio.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
};

use rustix::io::Errno;

use crate::queue::Wake;

/// A doorbell: readable from a wake until the drain. Nothing travels through it, so whoever polls it has no need to read it.
///
/// An `eventfd` on Linux, a pipe elsewhere. It is closed with the queue's last handle, and not inherited by programs that
/// are executed.
#[derive(Debug)]
pub struct WakeFd {
    /// What is polled, and read to clear it.
    reader: OwnedFd,
    /// What is written to; the reader itself, where that goes.
    writer: Option<OwnedFd>,
}

impl WakeFd {
    /// A new one, not readable.
    pub fn new() -> io::Result<Self> {
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        {
            use rustix::event::{EventfdFlags, eventfd};
            let reader = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            Ok(Self { reader, writer: None })
        }
        #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
        {
            use rustix::{
                fs::{OFlags, fcntl_getfl, fcntl_setfl},
                io::{FdFlags, fcntl_setfd},
                pipe::pipe,
            };
            let (reader, writer) = pipe()?;
            for fd in [&reader, &writer] {
                fcntl_setfd(fd, FdFlags::CLOEXEC)?;
                fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?;
            }
            Ok(Self { reader, writer: Some(writer) })
        }
    }

    /// The descriptor to be polled for reading. It stays this object's.
    pub fn raw(&self) -> RawFd {
        self.reader.as_raw_fd()
    }
}

impl Wake for WakeFd {
    fn wake(&self) {
        let fd = self.writer.as_ref().unwrap_or(&self.reader).as_fd();
        // A full counter or pipe is readable, which is all that is wanted.
        while rustix::io::write(fd, &1u64.to_ne_bytes()) == Err(Errno::INTR) {}
    }

    fn clear(&self) {
        let mut bytes = [0u8; 64];
        loop {
            match rustix::io::read(&self.reader, &mut bytes) {
                // A pipe may hold more; an eventfd says so by `AGAIN`.
                Ok(1..) | Err(Errno::INTR) => {}
                Ok(0) | Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        io::Errno,
    };

    use super::*;
    use crate::CompletionQueue;

    fn is_readable(fd: &WakeFd) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            match poll(&mut [PollFd::new(&fd.reader, PollFlags::IN)], Some(&now)) {
                Err(Errno::INTR) => {}
                ready => return ready.unwrap() > 0,
            }
        }
    }

    #[test]
    fn it_is_readable_exactly_while_there_is_something() {
        let (queue, fd) = (CompletionQueue::new(), Arc::new(WakeFd::new().unwrap()));
        queue.set_wake(Some(fd.clone()));
        assert!(!is_readable(&fd));
        (0..3).for_each(|item| queue.push(item));
        assert!(is_readable(&fd));
        queue.drain(&mut Vec::new(), 2);
        assert!(is_readable(&fd), "one is left");
        queue.drain(&mut Vec::new(), 2);
        assert!(!is_readable(&fd));
    }
}
