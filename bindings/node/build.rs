//! Has the addon linked as Node wants it on each platform.

fn main() {
    napi_build::setup();
}
