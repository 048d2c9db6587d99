//! `davit deployment scale`: how many replicas there are.

use clap::Args;
use davit_proto::v1;

use super::super::author;
use super::{all, follow_each_unless};
use crate::client::{Manager, call, no_content};
use crate::error::Error;
use crate::output::Output;

/// Arguments of `davit deployment scale`.
#[derive(Debug, Args)]
pub struct ScaleArgs {
    /// Do not follow it
    #[arg(short, long)]
    detach: bool,
    /// The deployments, and how many replicas each is to have. Of one alone it may be written as DEPLOYMENT N
    #[arg(required = true, value_name = "DEPLOYMENT=N")]
    targets: Vec<String>,
}

pub(super) async fn run(manager: &Manager, args: &ScaleArgs, output: &Output) -> Result<u8, Error> {
    let (names, replicas): (Vec<String>, Vec<u32>) = targets(&args.targets)?.into_iter().unzip();
    // Before anything is changed.
    let found = all(manager, &names).await?;
    let mut scaled = Vec::with_capacity(found.len());
    for (deployment, replicas) in found.into_iter().zip(replicas) {
        let deployment = deployment.deployment_id;
        let request = v1::ScaleDeploymentRequest { deployment, replicas, author: author(), ..Default::default() };
        let answer = manager.deployments().scale_deployment(call(request)).await;
        let answer = answer.map_err(|status| manager.error(status))?.into_inner();
        scaled.push(answer.deployment.ok_or_else(|| no_content("deployment"))?);
    }
    follow_each_unless(args.detach, manager, &scaled, output).await
}

/// Reads `DEPLOYMENT=N…`, as Docker has it, or `DEPLOYMENT N`.
fn targets(words: &[String]) -> Result<Vec<(String, u32)>, Error> {
    if let [name, count] = words
        && !name.contains('=')
        && !count.contains('=')
    {
        return Ok(vec![(name.clone(), replicas(count)?)]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((name, count)) if !name.is_empty() => Ok((name.to_owned(), replicas(count)?)),
        _ => Err(Error::usage(format!("`{word}`: write it as DEPLOYMENT=N"))),
    };
    words.iter().map(pair).collect()
}

fn replicas(count: &str) -> Result<u32, Error> {
    count.parse().map_err(|_| Error::usage(format!("`{count}` is not a number of replicas")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Vec<(String, u32)>, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        targets(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn one_or_several_are_scaled() {
        let pair = |name: &str, count| (name.to_owned(), count);
        assert_eq!(read(&["web=3"]), Ok(vec![pair("web", 3)]));
        assert_eq!(read(&["web", "3"]), Ok(vec![pair("web", 3)]));
        assert_eq!(read(&["web=3", "db=0"]), Ok(vec![pair("web", 3), pair("db", 0)]));
        for (words, expected) in [
            (&["web"][..], "`web`: write it as DEPLOYMENT=N"),
            (&["web", "3", "4"], "`web`: write it as DEPLOYMENT=N"),
            (&["web", "db"], "`db` is not a number of replicas"),
            (&["web=-1"], "`-1` is not a number of replicas"),
            (&["=1"], "`=1`: write it as DEPLOYMENT=N"),
        ] {
            assert_eq!(read(words), Err(expected.to_owned()));
        }
    }
}
