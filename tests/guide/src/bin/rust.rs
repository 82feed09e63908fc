//! `snippets-rust PLACE ADDRESS` runs a snippet of the documentation, by its page and line, against a broker.
#![allow(
    unreachable_code,
    clippy::print_stdout,
    clippy::use_self,
    clippy::useless_conversion,
    reason = "snippets are for readers, and some loop for ever"
)]

use std::{error::Error, sync::OnceLock};

static ADDRESS: OnceLock<String> = OnceLock::new();

include!(concat!(env!("OUT_DIR"), "/snippets.rs"));

/// Where the broker is that the test has started.
fn address() -> &'static str {
    ADDRESS.get().map_or("localhost:9092", String::as_str)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("give a snippet's place")?;
    let address = arguments.next().ok_or("give a broker's address")?;
    ADDRESS.get_or_init(|| address);
    run(&name).await
}
