//! A broker's settings: flag over environment over file.

use std::path::PathBuf;

use ottla_config::Settings;

/// Where settings come from.
#[derive(clap::Args, Debug)]
pub(crate) struct SettingsArgs {
    /// Set one key of the configuration; may be given more than once.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

impl SettingsArgs {
    /// All of them; what `preset` says goes over file and environment, and flags go over all.
    pub(crate) fn read(&self, file: Option<&PathBuf>, preset: &[(&str, String)]) -> Settings {
        let mut settings = Settings::new();
        if let Some(file) = file {
            settings.file(file);
        }
        settings.env("OTTLA_", std::env::vars_os());
        for (key, value) in preset {
            settings.set(*key, value.as_str());
        }
        for flag in &self.set {
            settings.flag(flag);
        }
        settings
    }
}
