//! What a program counts of itself, as it tells whoever asks its side port.

use std::collections::BTreeMap;
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
        self.values(name, label).map(|(_, value)| value).sum()
    }

    /// The same, apart for each value of another label.
    pub(crate) fn sums_by(&self, by: &str, name: &str, label: &str) -> BTreeMap<String, f64> {
        let (mut sums, start) = (BTreeMap::new(), format!("{by}=\""));
        for (labels, value) in self.values(name, label) {
            let of = labels.split_once(&start).and_then(|(_, rest)| rest.split_once('"'));
            if let Some((of, _)) = of {
                *sums.entry(of.to_owned()).or_insert(0.0) += value;
            }
        }
        sums
    }

    fn values(&self, name: &str, label: &str) -> impl Iterator<Item = (&str, f64)> {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let is_it = labels.is_empty() || labels.starts_with('{');
            value.parse().ok().filter(|_| is_it && labels.contains(label)).map(|value| (labels, value))
        })
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
        let of = |node: &str, sum| (node.to_owned(), sum);
        assert_eq!(metrics.sums_by("node", "tasks", ""), [of("a", 12.0), of("b", 4.0)].into());
        assert_eq!(metrics.sums_by("node", "tasks", "state=\"RUNNING\""), [of("a", 3.0), of("b", 4.0)].into());
        assert_eq!(metrics.sum("tasks_total", ""), 7.0);
        assert_eq!(metrics.sum("task", ""), 0.0);
    }
}
