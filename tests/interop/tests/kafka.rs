//! The Apache Kafka of the other suites: it starts, does what a broker does, and leaves nothing behind.

use std::{net::TcpStream, process::Command};

use ottla_interop::{
    kafka::{Kafka, Options},
    or_skip,
};

fn succeeds(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

#[test]
fn a_node_keeps_its_topics_over_a_stop_and_is_gone_when_dropped() -> anyhow::Result<()> {
    let Some(mut kafka) = or_skip(Kafka::start(Options::default())) else { return Ok(()) };
    let bootstrap = kafka.bootstrap();
    let topics = |kafka: &Kafka, args: &[&str]| {
        let mut tool = kafka.tool("org.apache.kafka.tools.TopicCommand")?;
        succeeds(tool.args(["--bootstrap-server", &bootstrap]).args(args))
    };
    topics(&kafka, &["--create", "--topic", "orders", "--partitions", "2"])?;
    kafka.stop(1)?;
    kafka.start_again(1)?;
    assert_eq!(topics(&kafka, &["--list"])?.trim(), "orders");
    assert!(kafka.log_dir(1).join("orders-1").is_dir());

    let address = bootstrap.clone();
    drop(kafka);
    assert!(TcpStream::connect(address).is_err(), "the broker still listens");
    Ok(())
}
