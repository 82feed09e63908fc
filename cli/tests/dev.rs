//! The development server: what it says when it is ready, and what it does otherwise than a broker.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    io::{BufRead, BufReader, Lines, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Instant,
};

use ottla_interop::{
    program::PATIENCE,
    wire::{self, Wire},
};
use ottla_protocol::error_code::ErrorCode;

/// A server that stops when the test goes.
struct Dev {
    child: Child,
    stdin: Option<ChildStdin>,
    said: Lines<BufReader<ChildStdout>>,
}

impl Dev {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ottla"))
            .args(["dev", "--listen", "127.0.0.1:0", "--until-stdin-ends", "--log", "warn"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { stdin: child.stdin.take(), child, said }
    }

    /// The first word of what it says yet in which there is `text`.
    fn says(&mut self, text: &str) -> String {
        loop {
            let line = self.said.next().expect("it says more").unwrap();
            if let Some(word) = line.split_whitespace().find(|word| word.contains(text)) {
                return word.to_owned();
            }
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
fn it_says_where_it_shows_its_metrics() {
    let mut dev = Dev::start(&[]);
    let url = dev.says("/metrics");
    let address = url.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\nkafka_server_replicamanager_partitioncount 0\n"), "{answer}");
}

/// Its looks for old records come at once, and often. What a look takes is seen by a topic that keeps nothing.
#[test]
fn it_keeps_records_of_long_ago_as_long_as_it_keeps_anything() {
    let often =
        ["--quiet", "--set", "log.initial.task.delay.ms=0", "--set", "log.retention.check.interval.ms=20"];
    let data = tempfile::tempdir().unwrap();
    let directory = data.path().display().to_string();
    for (given, keeps) in [(vec![], true), (vec!["--data", &directory], false)] {
        let mut dev = Dev::start(&[&often[..], &given].concat());
        let address: SocketAddr = dev.says(":").parse().unwrap();
        let mut wire = Wire::connect(address);
        let batch = wire::batch(&[b"of long ago"]);
        wire.create_topic("kept", 1, &[]);
        assert_eq!(wire.produce("kept", 0, &batch).error_code, ErrorCode::NONE);
        // Once the third is looked at, the look that found the second has ended, which began after all was written.
        for witness in ["one", "two", "three"] {
            wire.create_topic(witness, 1, &[("retention.ms", "1")]);
            assert_eq!(wire.produce(witness, 0, &batch).error_code, ErrorCode::NONE);
            let began = Instant::now();
            while wire.fetch(witness, 0, 1).log_start_offset != 1 {
                assert!(began.elapsed() < PATIENCE, "nothing looks for old records");
            }
        }
        assert_eq!(wire.fetch("kept", 0, 1).log_start_offset == 0, keeps, "{given:?}");
    }
}
