//! Our broker, in this process, on a free port, over a directory that goes with it.

use ottla_broker::Broker;
use ottla_config::Settings;
use tempfile::TempDir;

use crate::KEPT;

/// A broker for one test.
pub struct TestBroker {
    broker: Option<Broker>,
    directory: TempDir,
    settings: Vec<(String, String)>,
}

impl TestBroker {
    /// Starts one with `settings` over the defaults.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let settings = settings.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        let mut test = Self { broker: None, directory, settings };
        test.restart();
        test
    }

    /// Stops it cleanly and starts it again over the same data, on another port.
    pub fn restart(&mut self) {
        if let Some(broker) = self.broker.take() {
            broker.stop().expect("a broker stops cleanly");
        }
        let mut settings = Settings::new();
        settings.set("listeners", "PLAINTEXT://127.0.0.1:0");
        settings.set("log.dirs", self.directory.path().display().to_string());
        settings.set(KEPT.0, KEPT.1);
        for (key, value) in &self.settings {
            settings.set(key.as_str(), value.as_str());
        }
        self.broker = Some(Broker::start(&settings).expect("a broker starts"));
    }

    /// As [`Self::restart`], with this line in place of what it had for the key.
    pub fn restart_with(&mut self, key: &str, value: &str) {
        self.settings.retain(|(known, _)| known != key);
        self.settings.push((key.to_owned(), value.to_owned()));
        self.restart();
    }

    /// Its address, for `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        let broker = self.broker.as_ref().expect("the broker runs");
        broker.addresses().first().expect("it listens").to_string()
    }

    /// The address of its `index`th listener.
    pub fn listener(&self, index: usize) -> String {
        let broker = self.broker.as_ref().expect("the broker runs");
        broker.addresses().get(index).expect("it listens there").to_string()
    }

    /// Stops it cleanly; its data stays until this is dropped.
    pub fn stop(&mut self) {
        if let Some(broker) = self.broker.take() {
            broker.stop().expect("a broker stops cleanly");
        }
    }

    /// Where its data is.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            let _ = broker.stop();
        }
    }
}
