//! Who plays: the services of the stream, and which program is each of them.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// Partitions of each topic.
pub const PARTITIONS: i32 = 4;
/// Of so many orders one reading of a shelf.
pub const ORDERS_PER_READING: u64 = 2;

/// A service: one consumer group, or one that only writes.
#[derive(Debug)]
pub struct Service {
    /// Its name, and its group's.
    pub name: &'static str,
    /// What it reads; nothing, if it is where records come from.
    pub reads: &'static [&'static str],
    /// What it writes.
    pub writes: &'static str,
    /// Whether what comes after it has nothing to do without it. Another plays it where its language is missing.
    pub is_needed: bool,
    /// How many of it there are at once.
    pub members: usize,
    /// Whether the last of them comes when half of the orders are there.
    pub has_latecomer: bool,
}

/// All of them, from the first to the last that has a record in its hands.
pub const SERVICES: &[Service] = &[
    Service { is_needed: true, ..Service::new("sensor", &[], "readings") },
    Service { is_needed: true, ..Service::new("gateway", &[], "orders") },
    Service { is_needed: true, members: 2, ..Service::new("pricing", &["orders"], "priced") },
    Service { is_needed: true, ..Service::new("billing", &["priced"], "invoices") },
    Service {
        is_needed: true,
        members: 2,
        has_latecomer: true,
        ..Service::new("shipping", &["invoices"], "shipments")
    },
    Service::new("stock", &["readings", "shipments"], "restocks"),
    Service::new("revenue", &["invoices"], "reports"),
    Service::new("delivery", &["orders", "shipments"], "reports"),
];

/// The topics through which an order goes: each has every order once, with its number in front.
pub const ORDER_TOPICS: [&str; 4] = ["orders", "priced", "invoices", "shipments"];

impl Service {
    const fn new(name: &'static str, reads: &'static [&'static str], writes: &'static str) -> Self {
        Self { name, reads, writes, is_needed: false, members: 1, has_latecomer: false }
    }

    /// The service of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SERVICES.iter().find(|service| service.name == name)
    }
}

/// All topics, in the order in which they are first written to.
pub fn topics() -> Vec<&'static str> {
    let mut topics: Vec<&str> = Vec::new();
    for service in SERVICES {
        if !topics.contains(&service.writes) {
            topics.push(service.writes);
        }
    }
    topics
}

/// What is to be done; `cargo xtask demo` writes it as JSON.
#[derive(Debug, Deserialize, Serialize)]
pub struct Plan {
    /// Where the broker is.
    pub bootstrap: String,
    /// How many orders customers give.
    pub orders: u64,
    /// How many of them in a second.
    pub per_second: u64,
    /// Where a picture of it is put, if one is wanted.
    pub picture: Option<PathBuf>,
    /// The cast, by the service's name.
    pub cast: BTreeMap<String, Part>,
}

/// Which program plays a service.
#[derive(Debug, Deserialize, Serialize)]
pub struct Part {
    /// The language, as people write it.
    pub language: String,
    /// What it is run by; `None` if the language's tools are not here.
    pub program: Option<Program>,
}

/// A program, which gets the bootstrap servers as its next argument; one that only writes also gets how many records, and how many a second.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Program {
    /// Its file.
    pub file: PathBuf,
    /// Arguments that come first.
    pub args: Vec<String>,
    /// Variables that it needs.
    pub env: BTreeMap<String, String>,
}

impl Plan {
    /// How many records come into being at this service.
    pub fn born_at(&self, service: &Service) -> Option<u64> {
        match (service.reads, service.writes) {
            ([], "readings") => Some(self.orders / ORDERS_PER_READING),
            ([], _) => Some(self.orders),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_read_is_written_by_a_service_before() {
        for (at, service) in SERVICES.iter().enumerate() {
            for topic in service.reads {
                let writer = SERVICES[..at].iter().find(|before| before.writes == *topic);
                assert!(writer.is_some_and(|writer| writer.is_needed), "{} reads {topic}", service.name);
            }
        }
    }
}
