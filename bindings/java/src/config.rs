//! Settings, as pairs of text.

use ottla_bindings::{Config, error::Result};

use crate::{tokens, wire::Reader};

/// The settings that a client is made with.
pub(crate) fn config(request: &mut Reader<'_>) -> Result<Config> {
    let mut config = Config::new();
    for (key, value) in request.list(|pair| Ok((pair.text()?, pair.text()?)))? {
        config.set(&key, &value)?;
    }
    tokens::set(&mut config, request)?;
    Ok(config)
}
