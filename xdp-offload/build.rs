//! Compiles `bpf/offload.bpf.c` with clang and writes the Rust skeleton for it.

use std::path::PathBuf;
use std::{env, process};

use libbpf_cargo::SkeletonBuilder;

fn main() {
    println!("cargo::rerun-if-changed=bpf");
    if let Err(error) = build() {
        eprintln!(
            "{error:#}\n\nThe XDP program did not compile. It takes clang 14 or newer and the kernel's user-space \
             headers: on Debian `apt-get install clang linux-libc-dev`."
        );
        process::exit(1);
    }
}

fn build() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?).join("offload.skel.rs");
    // Debian keeps <asm/types.h> under the name of the architecture, where clang does not look for target bpf.
    let asm = format!("-I/usr/include/{}-linux-gnu", env::var("CARGO_CFG_TARGET_ARCH")?);
    SkeletonBuilder::new()
        .source("bpf/offload.bpf.c")
        .clang_args(["-Wall", "-Wextra", "-Werror", &asm])
        // The generated file is for no reader, and a toolchain without rustfmt must do.
        .rustfmt("/nonexistent/rustfmt")
        .build_and_generate(&out)?;
    Ok(())
}
