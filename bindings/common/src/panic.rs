//! Where a bug of ours ends: at the border. A panic never crosses into another language.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicBool, Ordering},
};

use crate::error::{BindingError, Result};

/// Whether something panicked in the midst of a handle's work: nobody knows what state it left.
#[derive(Debug, Default)]
pub struct Poison(AtomicBool);

impl Poison {
    /// Fails once something has panicked.
    #[inline]
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(BindingError::panicked("a call before this one panicked"));
        }
        Ok(())
    }

    /// It has panicked.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `body`; a panic in it becomes an error of code `PANIC`, and poisons what it was about.
pub fn catch<T>(poison: Option<&Poison>, body: impl FnOnce() -> Result<T>) -> Result<T> {
    // What `body` may have left half done is what `poison` tells of.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        if let Some(poison) = poison {
            poison.set();
        }
        Err(BindingError::panicked(message(&*panic)))
    })
}

/// What was panicked with, if it is text.
fn message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "for no reason given",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::PANIC;

    #[test]
    fn a_panic_is_an_error_and_poisons() {
        let poison = Poison::default();
        assert_eq!(catch(Some(&poison), || Ok(3)), Ok(3));
        assert!(poison.check().is_ok());
        let error = catch::<()>(Some(&poison), || panic!("index {} of 2", 5)).unwrap_err();
        assert_eq!(error.code, PANIC);
        assert!(error.message.contains("index 5 of 2"), "{error}");
        assert_eq!(poison.check().unwrap_err().code, PANIC);
    }
}
