//! Compiles the protocol definitions: messages, the service's client and server, and the descriptors for reflection.

use std::{error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=build.rs");

    #[expect(clippy::disallowed_methods, reason = "cargo says where to write in the environment")]
    let out_dir = std::env::var_os("OUT_DIR").map(PathBuf::from).ok_or("OUT_DIR is not set")?;

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(["api/v1beta1/ensign.proto"])?;
    std::fs::write(out_dir.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;

    // Maps are ordered so that one message has one encoding.
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .emit_rerun_if_changed(false)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
