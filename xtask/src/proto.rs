//! Steps on the API: style, formatting, and that it breaks no client.

use std::process::Command;

use crate::{
    failure::Failure,
    machine::Machine,
    shell::{capture, command, run},
};

/// A commit whose message has a line that begins so may break the API, and says why.
const TRAILER: &str = "Breaking-Change:";

fn buf(machine: &Machine) -> Command {
    command(machine.buf())
}

/// `buf lint`, rules in buf.yaml.
pub(crate) fn lint(machine: &Machine) -> Result<(), Failure> {
    run(buf(machine).arg("lint")).map_err(|failure| failure.advise("mend the .proto files named above"))
}

/// `buf format`, only looking.
pub(crate) fn format(machine: &Machine) -> Result<(), Failure> {
    run(buf(machine).args(["format", "--diff", "--exit-code"]))
        .map_err(|failure| failure.advise(format!("run `{} format --write`", machine.buf().display())))
}

/// `buf breaking` against the API that clients may have built on.
pub(crate) fn breaking(machine: &Machine) -> Result<(), Failure> {
    let Some((commit, name)) = baseline() else {
        println!("nothing to compare with: no earlier commit of this history has the API");
        return Ok(());
    };
    if let Some(reason) = declared_breaking() {
        println!("not compared with {name}: the newest commit says `{TRAILER} {reason}`");
        return Ok(());
    }
    println!("compared with {name}, commit {commit}");
    run(buf(machine).args(["breaking", "--against", &format!(".git#ref={commit}")])).map_err(|failure| {
        failure.advise(format!(
            "keep the old fields and add new ones; if no client can have it yet, say `{TRAILER} why` in the commit"
        ))
    })
}

/// The last release; before the first one, where this branch left main; on main, the commit before.
fn baseline() -> Option<(String, String)> {
    let head = commit_of("HEAD")?;
    let tag = git(&["describe", "--tags", "--abbrev=0", "HEAD^"]);
    let changed = git(&["status", "--porcelain", "--", "proto"]).is_some_and(|changes| !changes.is_empty());
    let candidates = [
        tag.and_then(|tag| Some((commit_of(&tag)?, format!("release {tag}")))),
        git(&["merge-base", "main", "HEAD"]).filter(|base| *base != head).map(|base| (base, "main".to_owned())),
        changed.then(|| (head.clone(), "the commit that is being changed".to_owned())),
        commit_of("HEAD^").map(|parent| (parent, "the commit before".to_owned())),
    ];
    candidates.into_iter().flatten().find(|(commit, _)| has_api(commit))
}

fn has_api(commit: &str) -> bool {
    git(&["ls-tree", "-r", "--name-only", commit, "proto"])
        .is_some_and(|files| files.lines().any(|file| file.ends_with(".proto")))
}

fn declared_breaking() -> Option<String> {
    let message = git(&["log", "-1", "--format=%B"])?;
    message.lines().find_map(|line| line.strip_prefix(TRAILER)).map(|reason| reason.trim().to_owned())
}

fn commit_of(name: &str) -> Option<String> {
    git(&["rev-parse", "--verify", "--quiet", &format!("{name}^{{commit}}")])
}

fn git(arguments: &[&str]) -> Option<String> {
    capture(command("git").args(arguments))
}
