//! Listeners and connections: bytes in, answers out in order.

pub(crate) mod answer;
pub(crate) mod connection;
pub(crate) mod connection_rates;
pub(crate) mod dispatch;
pub(crate) mod limits;
pub(crate) mod listener;
