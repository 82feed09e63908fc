//! Where Java comes in: bytes in, bytes out. Panics end here, and errors leave as bytes, of which Java makes its exceptions.

use jni::{
    Env, EnvUnowned,
    errors::{Result as JniResult, ThrowRuntimeExAndDefault},
    objects::JByteArray,
};
use ottla_bindings::{Call, error::Result, panic::catch};

use crate::{
    registry::QUEUES,
    wire::{Reader, Writer},
};

/// Runs `body` with Java's side at hand. That it fails is that the JVM has no memory left.
pub(crate) fn enter<'l, T: Default + 'l>(
    mut env: EnvUnowned<'l>,
    body: impl FnOnce(&mut Env<'l>) -> JniResult<T>,
) -> T {
    env.with_env(body).resolve::<ThrowRuntimeExAndDefault>()
}

/// Answers a question at once: null for nothing, or 0 and what it is, or 1 and an error.
pub(crate) fn ask<'l>(
    env: EnvUnowned<'l>,
    request: JByteArray<'l>,
    body: impl FnOnce(&mut Reader<'_>) -> Result<Writer>,
) -> JByteArray<'l> {
    enter(env, |env| {
        let request = bytes(env, &request)?;
        let outcome = catch(None, || body(&mut Reader::new(&request)));
        answer(env, outcome)
    })
}

/// Starts a call, whose outcome comes to a queue with `token`.
pub(crate) fn start<'l>(
    env: EnvUnowned<'l>,
    request: JByteArray<'l>,
    queue: i64,
    token: i64,
    body: impl FnOnce(&mut Reader<'_>) -> Result<Call<Writer>>,
) {
    enter(env, |env| {
        let request = bytes(env, &request)?;
        // Without its queue nobody waits for it.
        let Ok(queue) = QUEUES.get(queue) else { return Ok(()) };
        match catch(None, || body(&mut Reader::new(&request))) {
            Ok(call) => queue.start(token, call),
            Err(error) => queue.refuse(token, error),
        }
        Ok(())
    });
}

/// What `ask` gives to Java.
pub(crate) fn answer<'l>(env: &mut Env<'l>, outcome: Result<Writer>) -> JniResult<JByteArray<'l>> {
    match outcome {
        Ok(nothing) if nothing.is_empty() => Ok(JByteArray::default()),
        outcome => {
            let mut out = Writer::default();
            out.outcome(outcome, |out, value| _ = out.append(value));
            env.byte_array_from_slice(&out.into_bytes())
        }
    }
}

fn bytes(env: &mut Env<'_>, array: &JByteArray<'_>) -> JniResult<Vec<u8>> {
    if array.is_null() { Ok(Vec::new()) } else { env.convert_byte_array(array) }
}

/// An answer without anything.
pub(crate) fn nothing() -> Writer {
    Writer::default()
}

/// An answer that `write` writes.
pub(crate) fn written(write: impl FnOnce(&mut Writer)) -> Writer {
    let mut out = Writer::default();
    write(&mut out);
    out
}
