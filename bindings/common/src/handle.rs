//! What all handles are made of: a client of the core, and what says whether it may still be used.

use std::{future::Future, pin::Pin, sync::Arc};

use crate::{
    call::{Call, Spawn},
    core,
    error::Result,
    fork::Guarded,
    panic::{Poison, catch},
};

/// A client of the core, which has an I/O thread.
pub(crate) trait Client: Send + Sync + 'static {
    /// Runs it there.
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>);
}

impl Client for core::Producer {
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.spawn(task);
    }
}

impl Client for core::Consumer {
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.spawn(task);
    }
}

impl Client for core::Admin {
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.spawn(task);
    }
}

/// A client with its guards.
#[derive(Debug)]
pub(crate) struct Handle<C> {
    client: Guarded<C>,
    poison: Poison,
}

impl<C: Client> Handle<C> {
    pub(crate) fn new(client: C) -> Arc<Self> {
        Arc::new(Self { client: Guarded::new(client), poison: Poison::default() })
    }

    /// The client, unless this is a child of the process that made it, or something has panicked.
    #[inline]
    pub(crate) fn client(&self) -> Result<&C> {
        let client = self.client.get()?;
        self.poison.check()?;
        Ok(client)
    }

    /// Asks the client; a panic becomes an error, of this call and all after it.
    #[inline]
    pub(crate) fn with<T>(&self, ask: impl FnOnce(&C) -> Result<T>) -> Result<T> {
        let client = self.client()?;
        catch(Some(&self.poison), || ask(client))
    }

    /// What takes time. The client lives until it is over.
    pub(crate) fn call<T, F>(self: &Arc<Self>, begin: impl FnOnce(Kept<C>) -> F) -> Call<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        match self.client() {
            Err(error) => Call::refused(error),
            Ok(_) => Call::new(self.clone(), begin(Kept(self.clone()))),
        }
    }
}

impl<C: Client> Spawn for Handle<C> {
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        // Where it cannot run it is dropped, and says so itself.
        if let Ok(client) = self.client() {
            client.spawn(task);
        }
    }
}

/// A client that is kept as long as a call needs it.
pub(crate) struct Kept<C>(Arc<Handle<C>>);

impl<C: Client> Kept<C> {
    pub(crate) fn get(&self) -> Result<&C> {
        self.0.client()
    }
}
