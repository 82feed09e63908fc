//! A consumer group and its members under one seed.
