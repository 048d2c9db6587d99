//! What a program counts of itself, as it tells whoever asks its side port.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::error::Error;

/// It is given up after this.
const LIMIT: Duration = Duration::from_secs(30);

/// Metrics in Prometheus' text format.
#[derive(Debug)]
pub(crate) struct Metrics(String);

impl Metrics {
    /// Those of the program behind this side port.
    pub(super) async fn of(http: SocketAddr) -> Result<Self, Error> {
        let reading = async {
            let mut stream = TcpStream::connect(http).await?;
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.map(|_| answer)
        };
        match tokio::time::timeout(LIMIT, reading).await {
            Ok(Ok(answer)) => Ok(Self(answer)),
            Ok(Err(error)) => Err(Error::Unreachable(error.to_string())),
            Err(_) => Err(Error::Hangs(LIMIT)),
        }
    }

    /// The sum of a metric's values, of those that have this among their labels (such as `state="RUNNING"`).
    pub(crate) fn sum(&self, name: &str, label: &str) -> f64 {
        let values = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let is_it = labels.is_empty() || labels.starts_with('{');
            value.parse::<f64>().ok().filter(|_| is_it && labels.contains(label))
        });
        values.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_a_label_are_summed_and_others_left_out() {
        let text = "# TYPE tasks gauge\ntasks{node=\"a\",state=\"RUNNING\"} 3\ntasks{node=\"b\",state=\"RUNNING\"} 4\n\
                    tasks{node=\"a\",state=\"FAILED\"} 9\ntasks_total 7\n";
        let metrics = Metrics(text.to_owned());
        assert_eq!(metrics.sum("tasks", "state=\"RUNNING\""), 7.0);
        assert_eq!(metrics.sum("tasks", ""), 16.0);
        assert_eq!(metrics.sum("tasks_total", ""), 7.0);
        assert_eq!(metrics.sum("task", ""), 0.0);
    }
}
