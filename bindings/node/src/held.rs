//! A client that JavaScript holds: let go when it was closed, not when the collector comes to it, as it has a thread.

use std::{cell::RefCell, rc::Rc};

use napi::Env;
use ottla_bindings::{BindingError, Call};

use crate::event_loop::{OrThrow, Shared};

/// A client, until it is let go.
pub(crate) struct Held<C> {
    client: RefCell<Option<C>>,
    pub(crate) shared: Rc<Shared>,
}

impl<C: Clone> Held<C> {
    pub(crate) fn new(client: C, shared: Rc<Shared>) -> Self {
        Self { client: RefCell::new(Some(client)), shared }
    }

    /// Asks it; what it refuses is thrown.
    #[inline]
    pub(crate) fn ask<T>(
        &self,
        env: &Env,
        ask: impl FnOnce(&C) -> Result<T, BindingError>,
    ) -> napi::Result<T> {
        self.get().and_then(|client| ask(&client)).or_throw(env, &self.shared)
    }

    /// Begins something that takes time.
    pub(crate) fn call<T: Send + 'static>(&self, begin: impl FnOnce(&C) -> Call<T>) -> Call<T> {
        match self.get() {
            Ok(client) => begin(&client),
            Err(error) => Call::refused(error),
        }
    }

    /// As [`Self::call`], for what has no outcome but that it is done.
    pub(crate) fn start_unit(&self, token: f64, begin: impl FnOnce(&C) -> Call<()>) {
        self.shared.start_unit(token, self.call(begin));
    }

    pub(crate) fn let_go(&self) {
        // Dropped behind the borrow.
        let client = self.client.borrow_mut().take();
        drop(client);
    }

    fn get(&self) -> Result<C, BindingError> {
        self.client.borrow().clone().ok_or_else(BindingError::closed)
    }
}
