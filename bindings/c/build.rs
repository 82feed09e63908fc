//! Gives the shared library its soname, which rustc does not.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The number is the ABI's: `OTTLA_ABI_VERSION` in src/lib.rs.
    let target = |name: &str| std::env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    match target("OS").as_str() {
        "macos" | "ios" => println!("cargo::rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libottla.1.dylib"),
        _ if target("FAMILY") == "unix" => println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libottla.so.1"),
        _ => {}
    }
}
