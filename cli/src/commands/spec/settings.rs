//! The options that say how a container is set up, named as those of `docker run`.

use clap::Args;
use davit_proto::v1;

use crate::args::bytes;

/// How a container is set up.
#[derive(Debug, Default, PartialEq, Args)]
#[group(skip)]
#[command(next_help_heading = "How its container is set up")]
pub struct SettingsArgs {
    /// Run the engine's own small init as the first process, which passes signals on
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(conflicts_with = "process")]
    init: Option<bool>,
    /// Give it a terminal, for programs that write only to one
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(conflicts_with = "process")]
    tty: Option<bool>,
    /// Keep its standard input open, for programs that end with it; nobody writes to it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(conflicts_with = "process")]
    interactive: Option<bool>,
    /// What it calls itself
    #[arg(long, value_name = "NAME", conflicts_with = "process")]
    hostname: Option<String>,
    /// Give a name an address, or host-gateway for that of its node. May be repeated
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = extra_host, conflicts_with = "process")]
    add_host: Vec<v1::ExtraHost>,
    /// Size of /dev/shm, such as 256m; the engine's default, 64m, unless set
    #[arg(long, value_name = "BYTES", value_parser = bytes, conflicts_with = "process")]
    shm_size: Option<u64>,
    /// How many processes and threads it has at most; 0 for no limit
    #[arg(long, value_name = "COUNT", conflicts_with = "process")]
    pids_limit: Option<u32>,
    /// A further group of its user, by name or number. May be repeated
    #[arg(long, value_name = "GROUP", conflicts_with = "process")]
    group_add: Vec<String>,
    /// Deny its processes privileges that they don't have from the start
    #[arg(long, value_name = "no-new-privileges[:BOOL]", value_parser = security_opt, conflicts_with = "process")]
    security_opt: Option<bool>,
    /// How much of its output is kept: max-size=10m begins a new file at this size, max-file=3 keeps so many. May be repeated
    #[arg(long, value_name = "OPTION=VALUE", value_parser = log_opt, conflicts_with = "process")]
    log_opt: Vec<LogOption>,
}

/// How much output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogOption {
    MaxSize(u64),
    MaxFile(u32),
}

impl SettingsArgs {
    /// Puts what is given in the place of what a container has.
    pub(super) fn over(self, container: &mut v1::ContainerSpec) {
        super::replace(&mut container.init, self.init);
        super::replace(&mut container.tty, self.tty);
        super::replace(&mut container.stdin_open, self.interactive);
        super::replace(&mut container.hostname, self.hostname);
        super::replace_all(&mut container.extra_hosts, self.add_host);
        super::replace(&mut container.shm_size_bytes, self.shm_size);
        super::replace(&mut container.pids_limit, self.pids_limit);
        super::replace_all(&mut container.group_add, self.group_add);
        super::replace(&mut container.no_new_privileges, self.security_opt);
        for option in self.log_opt {
            let bounds = container.log_bounds.get_or_insert_default();
            match option {
                LogOption::MaxSize(bytes) => bounds.max_file_bytes = bytes,
                LogOption::MaxFile(count) => bounds.max_files = count,
            }
        }
    }

    /// One that is given, of all these that only containers have.
    pub(super) fn given(&self) -> Option<&'static str> {
        let given = [
            (self.init.is_some(), "--init"),
            (self.tty.is_some(), "--tty"),
            (self.interactive.is_some(), "--interactive"),
            (self.hostname.is_some(), "--hostname"),
            (!self.add_host.is_empty(), "--add-host"),
            (self.shm_size.is_some(), "--shm-size"),
            (self.pids_limit.is_some(), "--pids-limit"),
            (!self.group_add.is_empty(), "--group-add"),
            (self.security_opt.is_some(), "--security-opt"),
            (!self.log_opt.is_empty(), "--log-opt"),
        ];
        given.into_iter().find(|(is_given, _)| *is_given).map(|(_, option)| option)
    }
}

/// Reads `NAME:ADDRESS` or `NAME=ADDRESS`; an IPv6 address may be in brackets.
pub(super) fn extra_host(text: &str) -> Result<v1::ExtraHost, String> {
    let parts = text.split_once('=').or_else(|| text.split_once(':'));
    let (name, address) =
        parts.filter(|(name, _)| !name.is_empty()).ok_or("write it as NAME:ADDRESS, such as db:10.0.0.7")?;
    let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    Ok(v1::ExtraHost { name: name.to_owned(), address: bare.to_owned() })
}

/// Reads `no-new-privileges`, `no-new-privileges:true` or `no-new-privileges:false`.
fn security_opt(text: &str) -> Result<bool, String> {
    match text.strip_prefix("no-new-privileges").map(|rest| rest.trim_start_matches([':', '='])) {
        Some("" | "true") => Ok(true),
        Some("false") => Ok(false),
        _ => Err("only no-new-privileges, with :true or :false after it".to_owned()),
    }
}

/// Reads `max-size=BYTES` or `max-file=COUNT`.
fn log_opt(text: &str) -> Result<LogOption, String> {
    match text.split_once('=') {
        Some(("max-size", size)) => bytes(size).map(LogOption::MaxSize),
        Some(("max-file", count)) => match count.parse() {
            Ok(count) if count > 0 => Ok(LogOption::MaxFile(count)),
            _ => Err(format!("`{count}` is not a number of files from 1")),
        },
        _ => Err("write it as max-size=BYTES or max-file=COUNT".to_owned()),
    }
}
