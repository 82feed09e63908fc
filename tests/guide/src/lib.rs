//! What the documentation shows, run: its snippets, and the programs of the migration pages. `README.md` has the rules.

pub mod blocks;
pub mod languages;
pub mod run;
