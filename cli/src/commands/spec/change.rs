//! The options that change a spec which is there already, beside those that give it something: called as in `docker service update`.

use std::collections::BTreeMap;

use clap::Args;
use davit_proto::v1;
use davit_proto::v1::task_spec::Runtime;

use crate::error::Error;

/// What else tasks are to run, and what they are not to have any more.
#[derive(Debug, Default, PartialEq, Args)]
#[command(next_help_heading = super::args::HEADING)]
pub struct ChangeArgs {
    /// Run this image
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Run this command, after `--`
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// Remove an environment variable. May be repeated
    #[arg(long, value_name = "KEY")]
    env_rm: Vec<String>,
    /// Remove a label of the tasks. May be repeated
    #[arg(long, value_name = "KEY")]
    label_rm: Vec<String>,
    /// Do not publish this port of the container any more. May be repeated
    #[arg(long, value_name = "CONTAINER[/udp]", value_parser = super::port)]
    publish_rm: Vec<v1::Port>,
    /// Remove what is mounted at this path of the container. May be repeated
    #[arg(long, value_name = "PATH")]
    mount_rm: Vec<String>,
    /// Remove a config. May be repeated
    #[arg(long, value_name = "NAME")]
    config_rm: Vec<String>,
    /// Remove a secret. May be repeated
    #[arg(long, value_name = "NAME")]
    secret_rm: Vec<String>,
    /// Remove a name that was given addresses, with all of them. May be repeated
    #[arg(long, value_name = "NAME")]
    host_rm: Vec<String>,
    /// Remove a further group of the user. May be repeated
    #[arg(long, value_name = "GROUP")]
    group_rm: Vec<String>,
    /// Remove a constraint, written as it is there. May be repeated
    #[arg(long, value_name = "EXPRESSION")]
    constraint_rm: Vec<String>,
    /// Remove the health check
    #[arg(long)]
    no_healthcheck: bool,
}

impl ChangeArgs {
    /// A spec that is changed so.
    ///
    /// # Errors
    /// When what is to be removed is not there, or it runs plain processes and is to get an image.
    pub(in crate::commands) fn over(self, mut spec: v1::TaskSpec) -> Result<v1::TaskSpec, Error> {
        remove_keys("--label-rm", &mut spec.labels, &self.label_rm)?;
        remove("--constraint-rm", &mut spec.constraints, &self.constraint_rm, String::clone, String::eq)?;
        if self.no_healthcheck {
            spec.health_check = None;
        }
        match &mut spec.runtime {
            Some(Runtime::Container(container)) => self.over_container(container)?,
            Some(Runtime::Process(process)) => {
                if let Some(option) = self.only_of_containers() {
                    return Err(Error::usage(format!("{option} is for containers, but these are plain processes")));
                }
                remove_keys("--env-rm", &mut process.env, &self.env_rm)?;
                super::replace_all(&mut process.command, self.command);
            }
            None => {}
        }
        Ok(spec)
    }

    fn over_container(self, container: &mut v1::ContainerSpec) -> Result<(), Error> {
        super::replace(&mut container.image, self.image);
        super::replace_all(&mut container.command, self.command);
        remove_keys("--env-rm", &mut container.env, &self.env_rm)?;
        let is_mount = |there: &v1::Mount, target: &String| there.target == *target;
        remove("--mount-rm", &mut container.mounts, &self.mount_rm, String::clone, is_mount)?;
        let is_port = |there: &v1::Port, gone: &v1::Port| {
            (there.container_port, is_udp(there)) == (gone.container_port, is_udp(gone))
        };
        remove("--publish-rm", &mut container.ports, &self.publish_rm, shown, is_port)?;
        for (option, names, secret) in [("--config-rm", self.config_rm, false), ("--secret-rm", self.secret_rm, true)] {
            let is_it = |there: &v1::FileGrant, name: &String| there.secret == secret && there.name == *name;
            remove(option, &mut container.files, &names, String::clone, is_it)?;
        }
        let is_host = |there: &v1::ExtraHost, name: &String| there.name == *name;
        remove("--host-rm", &mut container.extra_hosts, &self.host_rm, String::clone, is_host)?;
        remove("--group-rm", &mut container.group_add, &self.group_rm, String::clone, String::eq)?;
        Ok(())
    }

    /// One that only containers have, if it is given.
    fn only_of_containers(&self) -> Option<&'static str> {
        let given = [
            (self.image.is_some(), "--image"),
            (!self.publish_rm.is_empty(), "--publish-rm"),
            (!self.mount_rm.is_empty(), "--mount-rm"),
            (!self.config_rm.is_empty(), "--config-rm"),
            (!self.secret_rm.is_empty(), "--secret-rm"),
            (!self.host_rm.is_empty(), "--host-rm"),
            (!self.group_rm.is_empty(), "--group-rm"),
        ];
        given.into_iter().find(|(is_given, _)| *is_given).map(|(_, option)| option)
    }
}

/// Removes what these keys have.
///
/// # Errors
/// When there is no such key.
pub(in crate::commands) fn remove_keys(
    option: &str,
    map: &mut BTreeMap<String, String>,
    keys: &[String],
) -> Result<(), Error> {
    keys.iter().try_for_each(|key| map.remove(key).map(drop).ok_or_else(|| not_there(option, key)))
}

/// Removes of a list what is meant by each of these.
fn remove<T, G>(
    option: &str,
    list: &mut Vec<T>,
    gone: &[G],
    shown: impl Fn(&G) -> String,
    is_it: impl Fn(&T, &G) -> bool,
) -> Result<(), Error> {
    for gone in gone {
        let before = list.len();
        list.retain(|there| !is_it(there, gone));
        if list.len() == before {
            return Err(not_there(option, &shown(gone)));
        }
    }
    Ok(())
}

fn not_there(option: &str, what: &str) -> Error {
    Error::usage(format!("{option} {what}: there is none to remove"))
}

fn is_udp(port: &v1::Port) -> bool {
    port.protocol() == v1::PortProtocol::Udp
}

fn shown(port: &v1::Port) -> String {
    format!("{}{}", port.container_port, if is_udp(port) { "/udp" } else { "" })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::settings::extra_host;
    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        change: ChangeArgs,
    }

    fn changed(spec: v1::TaskSpec, words: &[&str]) -> Result<v1::TaskSpec, Error> {
        Line::try_parse_from([&["davit"][..], words].concat()).unwrap().change.over(spec)
    }

    fn pairs(keys: &[&str]) -> BTreeMap<String, String> {
        keys.iter().map(|key| ((*key).to_owned(), "1".to_owned())).collect()
    }

    fn web() -> v1::TaskSpec {
        let grant = |secret| v1::FileGrant { name: "key".to_owned(), secret, ..Default::default() };
        let container = v1::ContainerSpec {
            image: "web:1".to_owned(),
            env: pairs(&["A", "B"]),
            mounts: vec![super::super::mount("data:/data").unwrap(), super::super::mount("/x:/y").unwrap()],
            ports: vec![super::super::port("80").unwrap(), super::super::port("80/udp").unwrap()],
            files: vec![grant(false), grant(true)],
            extra_hosts: ["db:10.0.0.1", "gw:host-gateway", "db:::1"].map(|host| extra_host(host).unwrap()).to_vec(),
            group_add: vec!["audio".to_owned(), "2000".to_owned()],
            ..Default::default()
        };
        v1::TaskSpec {
            name: "web".to_owned(),
            labels: pairs(&["tier", "team"]),
            constraints: vec!["disk == ssd".to_owned()],
            health_check: Some(Box::default()),
            runtime: Some(Runtime::Container(container)),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_named_goes_and_nothing_else() {
        let words = ["--env-rm=A", "--label-rm=team", "--publish-rm=80/udp", "--mount-rm=/data", "--secret-rm=key"];
        let more = ["--constraint-rm", "disk == ssd", "--no-healthcheck", "--host-rm=db", "--group-rm=2000"];
        let spec = changed(web(), &[&words[..], &more].concat()).unwrap();
        let mut expected = web();
        expected.labels = pairs(&["tier"]);
        expected.constraints.clear();
        expected.health_check = None;
        let Some(Runtime::Container(container)) = &mut expected.runtime else { panic!("it is one") };
        container.env = pairs(&["B"]);
        container.mounts.remove(0);
        container.ports.remove(1);
        container.files.remove(1);
        container.extra_hosts = vec![extra_host("gw:host-gateway").unwrap()];
        container.group_add.truncate(1);
        assert_eq!(spec, expected);
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let words = ["--env-rm=C", "--label-rm=C", "--publish-rm=81", "--mount-rm=/z", "--config-rm=no", "--host-rm=x"];
        for word in words {
            let error = changed(web(), &[word]).unwrap_err().to_string();
            assert!(error.contains(&word.replace('=', " ")), "{error}");
        }
    }

    #[test]
    fn another_image_or_command_takes_the_place_of_the_one_there_is() {
        let spec = changed(web(), &["--image", "web:2", "--", "serve", "-v"]).unwrap();
        let Some(Runtime::Container(container)) = spec.runtime else { panic!("it is one") };
        assert_eq!((container.image.as_str(), container.command.len()), ("web:2", 2));
        let process = v1::ProcessSpec { command: vec!["serve".to_owned()], ..Default::default() };
        let spec = v1::TaskSpec { runtime: Some(Runtime::Process(process)), ..Default::default() };
        assert!(changed(spec.clone(), &["--image", "web:2"]).unwrap_err().to_string().contains("--image"));
        let Some(Runtime::Process(process)) = changed(spec, &["--", "work"]).unwrap().runtime else {
            panic!("it is one")
        };
        assert_eq!(process.command, ["work"]);
    }
}
