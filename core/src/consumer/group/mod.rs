//! Being a member of a group: who reads what is agreed on with others, and changes as they come and go.

mod classic;
mod driver;
