//! A broker for the demo.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, ensure};

/// `ottla dev` on a free port; stopped when dropped.
pub struct DevBroker {
    child: Child,
    /// Where it listens.
    pub address: String,
}

impl DevBroker {
    /// Starts this program; `settings` are `key=value`.
    pub fn start(ottla: &Path, settings: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(ottla);
        // Variables that tests have for themselves would be taken for settings.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OTTLA_"))
        {
            command.env_remove(name);
        }
        let mut child = command
            .args(["dev", "--listen", "127.0.0.1:0", "--quiet", "--log", "warn"])
            .args(settings.iter().flat_map(|setting| ["--set", *setting]))
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("running {}", ottla.display()))?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let mut address = String::new();
        BufReader::new(stdout).read_line(&mut address)?;
        ensure!(!address.is_empty(), "the broker did not start");
        Ok(Self { child, address: address.trim().to_owned() })
    }
}

impl Drop for DevBroker {
    fn drop(&mut self) {
        // A temporary directory is removed by whoever made it, so the broker is asked, not killed.
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
