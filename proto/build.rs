//! Compiles the .proto files with protox, so that no protoc is needed, and keeps the descriptors for reflection.

use std::path::PathBuf;

use prost::Message as _;

/// Messages that carry what may be secret.
const SECRET_MESSAGES: [&str; 5] = [
    ".davit.v1.BackupClusterResponse",
    ".davit.v1.CreateConfigRequest",
    ".davit.v1.GetConfigResponse",
    ".davit.v1.FetchFileResponse",
    ".davit.v1.AppSource",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=davit");
    let out_dir = PathBuf::from(std::env::var("OUT_DIR")?);
    let descriptors = protox::compile(proto_files("davit/v1")?, ["."])?;
    std::fs::write(out_dir.join("davit.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Deterministic field order in maps, so that equal messages encode equally.
        .btree_map(".")
        // Few tasks have one, and specs are held by the thousand.
        .boxed(".davit.v1.TaskSpec.health_check")
        // They have a Debug of their own, in src/redacted.rs.
        .skip_debug(SECRET_MESSAGES)
        .codec_path("crate::codec::SmallBuffers")
        .compile_fds(descriptors)?;
    // Apart from the API: what a store holds is nobody's to call, and is not in the descriptors for reflection.
    let store_dir = out_dir.join("store");
    std::fs::create_dir_all(&store_dir)?;
    tonic_prost_build::configure()
        .btree_map(".")
        .extern_path(".davit.v1", "crate::v1")
        .skip_debug([".davit.store.v1.BackupEntry"])
        .out_dir(store_dir)
        .compile_fds(protox::compile(proto_files("davit/store/v1")?, ["."])?)?;
    Ok(())
}

fn proto_files(folder: &str) -> Result<Vec<PathBuf>, std::io::Error> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    Ok(files)
}
