//! What the tests need from the system, and which Debian package has it.

use std::{fmt, fs, path::Path};

use super::{busybox, compose, engine};
use crate::{
    failure::Failure,
    shell::{capture, command, run, succeeds, which},
};

/// Something that the system lacks.
pub(super) struct Missing {
    /// What is missing.
    pub(super) what: &'static str,
    packages: &'static [&'static str],
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (Debian: {})", self.what, self.packages.join(", "))
    }
}

/// Why nothing can be installed on this machine, or `None` where it can.
pub(super) fn refusal() -> Option<&'static str> {
    if !Path::new("/etc/debian_version").exists() || which("apt-get").is_none() {
        Some("this is not Debian")
    } else if capture(command("id").arg("-u")).as_deref() != Some("0") {
        Some("this is not root")
    } else {
        None
    }
}

/// What is missing, everything at once.
pub(super) fn missing() -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut need = |there: bool, what, packages| {
        if !there {
            missing.push(Missing { what, packages });
        }
    };
    need(which("cc").is_some(), "a C compiler", &["gcc", "libc6-dev"]);
    need(which("git").is_some(), "git", &["git"]);
    need(which("python3").is_some(), "python3", &["python3", "python3-venv"]);
    need(
        which("python3").is_none() || succeeds(command("python3").args(["-c", "import ensurepip, venv"])),
        "python3's venv",
        &["python3-venv"],
    );
    need(busybox().is_some(), "a static busybox", &["busybox-static"]);
    need(which("docker").is_some(), "the Docker client", &["docker.io", DOCKER_CLI]);
    need(compose().is_some(), "docker-compose", &["docker-compose"]);
    // Chaos makes machines with engines of their own, whether or not an engine answers here.
    need(which("dockerd").is_some(), "the Docker engine", &["docker.io"]);
    need(which("ip").is_some(), "iproute2", &["iproute2"]);
    need(which("iptables").is_some(), "iptables", &["iptables"]);
    need(which("mkfs.ext4").is_some(), "mkfs.ext4", &["e2fsprogs"]);
    // An engine that answers has found its cgroups, wherever it runs.
    if !engine::answers() {
        need(cgroups_are_mounted() || which("cgroupfs-mount").is_some(), "mounted cgroups", &["cgroupfs-mount"]);
    }
    missing
}

/// A package of its own from Debian 13 on; before that a part of docker.io.
const DOCKER_CLI: &str = "docker-cli";

/// Installs the packages of all that is missing.
pub(super) fn install(missing: &[Missing]) -> Result<(), Failure> {
    for missing in missing {
        println!("missing: {missing}");
    }
    let apt = || {
        let mut apt = command("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-y", "-o", "Dpkg::Use-Pty=0"]);
        apt
    };
    run(apt().arg("update"))?;
    let mut packages: Vec<&str> = missing.iter().flat_map(|missing| missing.packages).copied().collect();
    packages.sort_unstable();
    packages.dedup();
    packages.retain(|package| *package != DOCKER_CLI || succeeds(command("apt-cache").args(["show", DOCKER_CLI])));
    println!("installing Debian packages: {}", packages.join(" "));
    run(apt().args(["install", "--no-install-recommends"]).args(packages))
        .map_err(|failure| failure.advise("see what apt-get says above"))
}

/// Whether an engine would find its cgroups, of either version.
pub(super) fn cgroups_are_mounted() -> bool {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    mounts.lines().any(|mount| {
        let mut fields = mount.split(' ').skip(1);
        let (folder, kind) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        (kind == "cgroup2" && folder == "/sys/fs/cgroup") || (kind == "cgroup" && folder.ends_with("/devices"))
    })
}
