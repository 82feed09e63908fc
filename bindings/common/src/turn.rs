//! The way of a record's delivery from who takes the record, when its turn has come, to who waits for it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::{
    core::Delivery,
    error::{BindingError, Result},
};

/// Both ends of the way for one record.
pub(crate) fn turn() -> (Giver, Turn) {
    let place = Arc::new(Place::default());
    (Giver(place.clone()), Turn(place))
}

/// Where the record is taken. Let go without a word, it says that the record was given up.
pub(crate) struct Giver(Arc<Place>);

/// Ready when the record was taken, or refused. Dropped before, it is not sent.
pub(crate) struct Turn(Arc<Place>);

#[derive(Default)]
struct Place(Mutex<Way>);

#[derive(Default)]
struct Way {
    outcome: Option<Result<Delivery>>,
    /// Nobody waits for it any more.
    is_left: bool,
    /// Who waits for the outcome, and who for its being left.
    turn: Option<Waker>,
    giver: Option<Waker>,
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, Way> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Giver {
    /// Takes the record; `None` if nobody waits for it any more, and then it is not taken.
    pub(crate) async fn unless_left<T>(&self, taking: impl Future<Output = T>) -> Option<T> {
        let mut taking = std::pin::pin!(taking);
        std::future::poll_fn(|context| {
            {
                let mut way = self.0.lock();
                if way.is_left {
                    return Poll::Ready(None);
                }
                way.giver = Some(context.waker().clone());
            }
            taking.as_mut().poll(context).map(Some)
        })
        .await
    }

    /// Tells who waits.
    pub(crate) fn give(&self, outcome: Result<Delivery>) {
        let mut way = self.0.lock();
        if way.outcome.is_some() {
            return;
        }
        way.outcome = Some(outcome);
        let waker = way.turn.take();
        drop(way);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Giver {
    fn drop(&mut self) {
        self.give(Err(BindingError::cancelled("the client was freed before the record was taken")));
    }
}

impl Future for Turn {
    type Output = Result<Delivery>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut way = self.0.lock();
        match way.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                way.turn = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut way = self.0.lock();
        way.is_left = true;
        let waker = way.giver.take();
        drop(way);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for Giver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Giver").field("is_left", &self.0.lock().is_left).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;
    use crate::{
        blocking::Wait,
        error::{CANCELLED, CLOSED},
    };

    #[test]
    fn who_waits_is_told_once_and_also_of_a_giver_that_went() {
        let (giver, turn) = turn();
        giver.give(Err(BindingError::closed()));
        drop(giver);
        assert_eq!(Wait::forever().on(turn).unwrap().unwrap_err().code, CLOSED);
        let (giver, turn) = super::turn();
        drop(giver);
        assert_eq!(Wait::forever().on(turn).unwrap().unwrap_err().code, CANCELLED);
    }

    #[test]
    fn what_nobody_waits_for_is_not_taken() {
        let (giver, turn) = turn();
        assert_eq!(Wait::forever().on(giver.unless_left(ready(3))).unwrap(), Some(3));
        let leaving = std::thread::spawn(move || drop(turn));
        assert_eq!(Wait::forever().on(giver.unless_left(pending::<()>())).unwrap(), None);
        leaving.join().unwrap();
        assert_eq!(Wait::forever().on(giver.unless_left(ready(3))).unwrap(), None);
    }
}
