//! The options that say how a node finds out whether a task serves, named as those of `docker run`.

use clap::Args;
use davit_proto::v1;
use davit_proto::v1::health_check::Probe;

use crate::args::duration;
use crate::error::Error;

/// How its node finds out whether it serves.
#[derive(Debug, Default, PartialEq, Args)]
#[group(skip)]
#[command(next_help_heading = "How it is known to be healthy")]
pub struct HealthArgs {
    /// Healthy if this command, run by /bin/sh inside the container, returns 0
    #[arg(long, value_name = "COMMAND", value_parser = command, group = "health")]
    health_cmd: Option<Probe>,
    /// Healthy if a GET request to this port of the container is answered with a status from 200 to 399
    #[arg(long, value_name = "PORT[/PATH]", value_parser = http, group = "health")]
    health_http: Option<Probe>,
    /// Healthy if this port of the container takes connections
    #[arg(long, value_name = "PORT", value_parser = tcp, group = "health")]
    health_tcp: Option<Probe>,
    /// Healthy if grpc.health.v1 at this port of the container answers SERVING, for this service if one is given
    #[arg(long, value_name = "PORT[/SERVICE]", value_parser = grpc, group = "health")]
    health_grpc: Option<Probe>,
    /// Time between two probes; 10s unless set
    #[arg(long, value_name = "TIME", value_parser = duration)]
    health_interval: Option<prost_types::Duration>,
    /// A probe that takes longer has failed; 5s unless set
    #[arg(long, value_name = "TIME", value_parser = duration)]
    health_timeout: Option<prost_types::Duration>,
    /// So many failures in a row make it unhealthy: it is stopped and has failed; 3 unless set
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    health_retries: Option<u32>,
    /// So long after its start failures do not count until the first success; 0s unless set
    #[arg(long, value_name = "TIME", value_parser = duration)]
    health_start_period: Option<prost_types::Duration>,
    /// Time between two probes in the start period; as --health-interval unless set
    #[arg(long, value_name = "TIME", value_parser = duration)]
    health_start_interval: Option<prost_types::Duration>,
}

impl HealthArgs {
    /// What a task has, with what is given instead.
    pub(super) fn over(self, current: Option<Box<v1::HealthCheck>>) -> Result<Option<Box<v1::HealthCheck>>, Error> {
        if self == Self::default() {
            return Ok(current);
        }
        let mut check = current.unwrap_or_default();
        let probe = self.health_cmd.or(self.health_http).or(self.health_tcp).or(self.health_grpc);
        super::replace(&mut check.probe, probe.map(Some));
        if check.probe.is_none() {
            let one_of = "--health-cmd, --health-http, --health-tcp or --health-grpc";
            return Err(Error::usage(format!("the other --health options need one of {one_of}")));
        }
        super::replace(&mut check.interval, self.health_interval.map(Some));
        super::replace(&mut check.timeout, self.health_timeout.map(Some));
        super::replace(&mut check.retries, self.health_retries);
        super::replace(&mut check.start_period, self.health_start_period.map(Some));
        super::replace(&mut check.start_interval, self.health_start_interval.map(Some));
        Ok(Some(check))
    }
}

/// Reads a command line for a shell.
#[expect(clippy::unnecessary_wraps, reason = "as all parsers of options")]
fn command(text: &str) -> Result<Probe, String> {
    let command = ["/bin/sh", "-c", text].map(str::to_owned).into();
    Ok(Probe::Exec(v1::ExecProbe { command }))
}

/// Reads `PORT` or `PORT/PATH`.
pub(super) fn http(text: &str) -> Result<Probe, String> {
    let (number, path) = text.split_at(text.find('/').unwrap_or(text.len()));
    let port = port(number).ok_or("write it as PORT[/PATH] with a port from 1 to 65535, such as 8080/health")?;
    let path = if path.is_empty() { "/" } else { path }.to_owned();
    Ok(Probe::Http(v1::HttpProbe { port, path, ..Default::default() }))
}

/// Reads `PORT`.
pub(super) fn tcp(text: &str) -> Result<Probe, String> {
    let port = port(text).ok_or("write a port from 1 to 65535")?;
    Ok(Probe::Tcp(v1::TcpProbe { port }))
}

/// Reads `PORT` or `PORT/SERVICE`.
pub(super) fn grpc(text: &str) -> Result<Probe, String> {
    let (number, service) = text.split_once('/').unwrap_or((text, ""));
    let port =
        port(number).ok_or("write it as PORT[/SERVICE] with a port from 1 to 65535, such as 50051/my.Service")?;
    Ok(Probe::Grpc(v1::GrpcProbe { port, service: service.to_owned() }))
}

/// A port's number, which may stand behind a colon as in `:8080`.
fn port(text: &str) -> Option<u32> {
    let port: u16 = text.strip_prefix(':').unwrap_or(text).parse().ok()?;
    (port > 0).then_some(port.into())
}
