//! Keeps the library in memory once it is loaded.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A JVM unloads the library with the class loader that loaded it, though a client that was let go may still be sending on a
    // thread of its own.
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if ["linux", "android", "freebsd"].contains(&system.as_str()) {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
