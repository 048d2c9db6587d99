//! Compiles the .proto files with protox, so that no protoc is needed, and keeps the descriptors for reflection.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=davit");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir("davit/v1")?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    let descriptors = protox::compile(&files, ["."])?;
    let out_dir = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out_dir.join("davit.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Deterministic field order in maps, so that equal messages encode equally.
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
