//! `davit config` and `davit secret`: files that the cluster keeps and gives to containers.

use std::io::{self, Read as _};
use std::path::Path;

use clap::{Args, Subcommand};
use davit_core::file::MAX_CONTENT_BYTES;
use davit_proto::v1;

use super::now;
use crate::args::{Format, key_value};
use crate::client::{Manager, call};
use crate::error::Error;
use crate::output::{self, Output};

/// What can be done with configs.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Create a config, or a new version of it; prints the version
    Create(CreateArgs),
    /// List configs
    Ls,
    /// Show all that is known of configs, or what one holds
    Inspect(InspectArgs),
    /// Delete configs that nothing refers to
    Rm(NamesArgs),
}

/// What can be done with secrets.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Create a secret, or a new version of it; prints the version
    Create(CreateArgs),
    /// List secrets
    Ls,
    /// Show all that is known of secrets, which is not what they hold
    Inspect(NamesArgs),
    /// Delete secrets that nothing refers to
    Rm(NamesArgs),
}

/// Arguments of `create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Set a label; all that it has are replaced. May be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_value)]
    label: Vec<(String, String)>,
    /// Its name
    name: String,
    /// What it holds; - reads standard input
    #[arg(value_name = "FILE|-")]
    file: String,
}

/// Arguments of `davit config inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Write what it holds, as it is
    #[arg(long)]
    content: bool,
    /// The configs
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Names.
#[derive(Debug, Args)]
pub struct NamesArgs {
    /// Which
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

pub(super) async fn config(manager: &Manager, command: ConfigCommand, output: &Output) -> Result<(), Error> {
    let kind = v1::ConfigKind::Config;
    match command {
        ConfigCommand::Create(args) => create(manager, kind, args, output).await,
        ConfigCommand::Ls => list(manager, kind, output).await,
        ConfigCommand::Inspect(args) if args.content => contents(manager, &args.names, output).await,
        ConfigCommand::Inspect(args) => inspect(manager, kind, &args.names, output).await,
        ConfigCommand::Rm(args) => remove(manager, kind, &args.names, output).await,
    }
}

pub(super) async fn secret(manager: &Manager, command: SecretCommand, output: &Output) -> Result<(), Error> {
    let kind = v1::ConfigKind::Secret;
    match command {
        SecretCommand::Create(args) => create(manager, kind, args, output).await,
        SecretCommand::Ls => list(manager, kind, output).await,
        SecretCommand::Inspect(args) => inspect(manager, kind, &args.names, output).await,
        SecretCommand::Rm(args) => remove(manager, kind, &args.names, output).await,
    }
}

async fn create(manager: &Manager, kind: v1::ConfigKind, args: CreateArgs, output: &Output) -> Result<(), Error> {
    let request = v1::CreateConfigRequest {
        name: args.name,
        kind: kind.into(),
        content: read(&args.file)?,
        labels: args.label.into_iter().collect(),
        validate_only: false,
    };
    let created = manager.repeat(async || manager.configs().create_config(call(request.clone())).await).await?;
    let config = created.config.unwrap_or_default();
    output.object(&config, |_| config.versions.first().map(|newest| newest.digest.clone()).unwrap_or_default())
}

/// No more of a file than is taken.
fn read(file: &str) -> Result<Vec<u8>, Error> {
    let bounded = |from: &mut dyn io::Read| {
        let mut content = Vec::new();
        from.take(MAX_CONTENT_BYTES as u64 + 1).read_to_end(&mut content).map(|_| content)
    };
    let content = match file {
        "-" => bounded(&mut io::stdin().lock()),
        path => std::fs::File::open(Path::new(path)).and_then(|mut file| bounded(&mut file)),
    };
    let content = content.map_err(|error| Error::failed(format!("{file} can't be read: {error}")))?;
    if content.len() > MAX_CONTENT_BYTES {
        return Err(Error::failed(format!("{file} has more than {MAX_CONTENT_BYTES} bytes")));
    }
    Ok(content)
}

async fn list(manager: &Manager, kind: v1::ConfigKind, output: &Output) -> Result<(), Error> {
    let mut configs = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListConfigsRequest { kind: kind.into(), page_size: 1000, page_token, ..Default::default() };
        let page = manager.repeat(async || manager.configs().list_configs(call(request.clone())).await).await?;
        configs.extend(page.configs);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    output.list(&configs, |palette| output::configs_table(&configs, now(), palette))
}

async fn inspect(manager: &Manager, kind: v1::ConfigKind, names: &[String], output: &Output) -> Result<(), Error> {
    let mut configs = Vec::with_capacity(names.len());
    for name in names {
        configs.push(get(manager, kind, name, false).await?.config.unwrap_or_default());
    }
    output.list(&configs, |_| configs.iter().map(|config| output::config(config, now())).collect::<Vec<_>>().join("\n"))
}

async fn contents(manager: &Manager, names: &[String], output: &Output) -> Result<(), Error> {
    for name in names {
        let config = get(manager, v1::ConfigKind::Config, name, true).await?;
        output.print_bytes(&config.content)?;
    }
    Ok(())
}

async fn get(
    manager: &Manager,
    kind: v1::ConfigKind,
    name: &str,
    with_content: bool,
) -> Result<v1::GetConfigResponse, Error> {
    let (name, kind) = (name.to_owned(), kind.into());
    let request = v1::GetConfigRequest { name, kind, with_content, digest: String::new() };
    manager.repeat(async || manager.configs().get_config(call(request.clone())).await).await
}

async fn remove(manager: &Manager, kind: v1::ConfigKind, names: &[String], output: &Output) -> Result<(), Error> {
    let mut removed = Vec::with_capacity(names.len());
    for name in names {
        // As it was: there is nothing left to ask for.
        removed.push(get(manager, kind, name, false).await?.config.unwrap_or_default());
        let request = v1::DeleteConfigRequest { name: name.clone(), kind: kind.into() };
        manager.configs().delete_config(call(request)).await.map_err(|status| manager.error(status))?;
    }
    match output.format {
        Format::Table => output.print(&names.iter().map(|name| format!("{name}\n")).collect::<String>()),
        Format::Json | Format::Yaml => output.list(&removed, |_| String::new()),
    }
}
