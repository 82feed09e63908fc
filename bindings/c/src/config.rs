//! Settings, for C.

use std::ffi::c_char;

use ottla_bindings::Config;

use crate::{
    border::{borrow_mut, ffi, give, ottla_status, take, text},
    error::ottla_error,
};

/// Settings of clients that are to be made. Reading them leaves them as they are: one may be used for many clients.
pub struct ottla_config {
    pub(crate) config: Config,
}

/// New settings, all at their defaults. Free them with ottla_config_free(). [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_config_new() -> *mut ottla_config {
    ffi!(std::ptr::null_mut(); Ok(give(ottla_config { config: Config::new() })))
}

/// Sets a key, by the name that Kafka's clients have for it ("bootstrap.servers", "linger.ms"). Fails at once, with
/// OTTLA_E_CONFIG, if there is no such key, or the value is not one of its. [one]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_config_set(
    config: *mut ottla_config,
    key: *const c_char,
    value: *const c_char,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => borrow_mut(config)?.config.set(text(key, "the key")?, text(value, "the value")?))
}

/// Adds a .properties file, as Java's clients have them. What is wrong with it is said when a client is made. [one]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_config_file(
    config: *mut ottla_config,
    path: *const c_char,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        borrow_mut(config)?.config.file(text(path, "the path")?);
        Ok(())
    })
}

/// Frees settings; clients made of them live on. NULL does nothing. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_config_free(config: *mut ottla_config) {
    ffi!((); {
        drop(take(config));
        Ok(())
    });
}
