//! `libottla_java`: the native half of `dev.ottla`. Conversions only; what they convert is `ottla-bindings`.
//!
//! - Bytes cross, and numbers: requests and answers as [`wire`] writes them, records in one array for a batch ([`consumer`]) or one
//!   buffer for a slab of them ([`producer`]). No object of Java's is kept here, and none of ours there: Java has numbers
//!   ([`registry`]).
//! - No thread of ours enters the JVM, and no call from Java waits, but the one that takes what has ended ([`queue`]). So virtual
//!   threads are never pinned, a wait can be interrupted as any other of Java's, and no pause of the JVM stops I/O.
//! - A panic ends at the [`border`].

#![allow(missing_docs, reason = "nothing is called from Rust")]
#![allow(unreachable_pub, reason = "the JVM finds functions by their name")]
#![allow(non_snake_case, reason = "Java's names")]

mod admin;
mod border;
mod config;
mod consumer;
mod producer;
mod queue;
mod registry;
mod tokens;
mod wire;

use std::{sync::Arc, time::Duration};

use jni::{
    EnvUnowned,
    objects::{JByteArray, JClass},
    sys::{jint, jlong},
};
use ottla_bindings::{Config, config::ClientKind};

use crate::{
    border::{ask, enter, written},
    queue::{Queue, log_to},
    registry::{QUEUES, registered},
};

/// The release, which must be the jar's.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_version<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
) -> JByteArray<'l> {
    ask(env, JByteArray::default(), |_| Ok(written(|out| _ = out.text(env!("CARGO_PKG_VERSION")))))
}

/// A queue, for a class loader.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_queueNew<'l>(env: EnvUnowned<'l>, _: JClass<'l>) -> jlong {
    enter(env, |_| Ok(registered(&QUEUES, Arc::new(Queue::default()))))
}

/// Waits for what has ended, so many nanoseconds at most; null for nothing.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_queueTake<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    queue: jlong,
    timeout_nanos: jlong,
) -> JByteArray<'l> {
    ask(env, JByteArray::default(), |_| {
        Ok(QUEUES.get(queue)?.take(Duration::from_nanos(timeout_nanos.max(0).cast_unsigned())))
    })
}

/// Ends a wait, now or the next.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_queueNudge<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    queue: jlong,
) {
    enter(env, |_| {
        if let Ok(queue) = QUEUES.get(queue) {
            queue.nudge();
        }
        Ok(())
    });
}

/// Has lines of the log come to a queue: 0 none, 1 errors ... 5 all.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_queueLog<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    queue: jlong,
    level: jint,
) {
    enter(env, |_| {
        if let Ok(queue) = QUEUES.get(queue) {
            log_to(&queue, level);
        }
        Ok(())
    });
}

/// Whether clients of a kind, 0 producers, 1 consumers, 2 admin clients, have a setting of this name.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_isKnownKey<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    request: JByteArray<'l>,
) -> JByteArray<'l> {
    ask(env, request, |request| {
        let kind = match request.i32()? {
            0 => ClientKind::Producer,
            1 => ClientKind::Consumer,
            _ => ClientKind::Admin,
        };
        let is_known = Config::is_known(kind, &request.text()?);
        Ok(written(|out| _ = out.bool(is_known)))
    })
}
