//! x
use crate::Key;
/// x
pub static SECURITY: [Key; 0] = [];
