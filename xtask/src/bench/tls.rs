//! Certificates for brokers under measure, and `cargo xtask bench handshakes`: what a TLS handshake costs each broker.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use clap::Parser;

use super::brokers::{self, Broker};
use crate::tree;

/// A broker's key and certificate, by nobody but itself, and good for loopback. ECDSA over P-256.
pub(super) struct Certificate {
    /// Both, as PEM: a key store.
    pub(super) key_store: PathBuf,
    /// The certificate alone: a trust store.
    pub(super) certificate: PathBuf,
}

impl Certificate {
    /// A new one, made by openssl.
    pub(super) fn new(directory: &Path) -> anyhow::Result<Self> {
        let (key, certificate) = (directory.join("key.pem"), directory.join("certificate.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
            .args(["-days", "30", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"])
            // Whoever is shown this as a broker's own is not to take it for an authority's.
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .context("running `openssl`, which makes the brokers' certificate")?;
        ensure!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr).trim());
        let key_store = directory.join("key-store.pem");
        fs::write(&key_store, fs::read_to_string(&key)? + &fs::read_to_string(&certificate)?)?;
        Ok(Self { key_store, certificate })
    }

    /// What both brokers take it by.
    pub(super) fn settings(&self) -> [String; 2] {
        ["ssl.keystore.type=PEM".to_owned(), format!("ssl.keystore.location={}", self.key_store.display())]
    }
}

/// Measures TLS handshakes, one after the other by openssl, each a full one of TLS 1.3: how many a core of the broker's does in a
/// second. Linux only; needs openssl, and a JDK with Maven for Kafka.
#[derive(Parser)]
pub(super) struct Args {
    /// Seconds of each round.
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Rounds; each gives every broker its turn. What the first ones tell of a JVM is its warming up.
    #[arg(long, default_value_t = 4)]
    runs: u32,
    /// Leave Apache Kafka out.
    #[arg(long)]
    without_kafka: bool,
    /// Cargo's profile to build our broker with.
    #[arg(long, default_value = "release")]
    profile: String,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let directory = tree::path("target/bench");
    fs::create_dir_all(&directory)?;
    let certificate = Certificate::new(&directory)?;
    let ottla = brokers::build_ottla(&args.profile)?;
    let mut brokers = vec![Broker::start_ottla(&ottla, &directory, Some(&certificate))?];
    if !args.without_kafka {
        let jars = brokers::kafka_jars(&directory)?;
        brokers.push(Broker::start_kafka(&jars, &directory, Some(&certificate))?);
    }
    println!("{:12} {:>10} {:>16} {:>14}", "broker", "handshakes", "broker CPU-µs", "per core and s");
    for _ in 0..args.runs {
        for broker in &brokers {
            let before = broker.cpu()?;
            let count = shake_hands(broker.address_of_load(), &certificate, args.seconds)?;
            let each = (broker.cpu()? - before).as_secs_f64() / f64::from(count);
            println!("{:12} {count:>10} {:>16.0} {:>14.0}", broker.name(), each * 1e6, 1.0 / each);
        }
    }
    Ok(())
}

/// How many full handshakes come about in so many seconds.
fn shake_hands(address: SocketAddr, certificate: &Certificate, seconds: u32) -> anyhow::Result<u32> {
    let output = Command::new("openssl")
        .args([
            "s_time",
            "-new",
            "-verify",
            "1",
            "-time",
            &seconds.to_string(),
            "-connect",
            &address.to_string(),
        ])
        .arg("-CAfile")
        .arg(&certificate.certificate)
        .output()
        .context("running `openssl s_time`")?;
    let said = String::from_utf8_lossy(&output.stdout);
    // `1234 connections in 5 real seconds, 0 bytes read per connection`
    let line = said.lines().find(|line| line.contains(" real seconds"));
    let count = line.and_then(|line| line.split(' ').next()?.parse().ok()).filter(|&count| count > 0);
    count.with_context(|| {
        format!("openssl shakes no hands: {} {}", said.trim(), String::from_utf8_lossy(&output.stderr).trim())
    })
}
