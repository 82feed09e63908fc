//! What the fuzz targets do, by part of the project. The stable tests replay the corpora through the same functions.

pub mod corpus;
pub mod logins;
pub mod messages;
pub mod records;
