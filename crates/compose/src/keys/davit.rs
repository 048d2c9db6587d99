//! `x-davit` of a service: what Compose has no words for.

use super::{Section, yes};

pub(crate) const SERVICE_DAVIT: &Section = &Section {
    path: "services.*.x-davit",
    keys: &[
        yes("algorithm", "which algorithm scores nodes; without it the cluster's"),
        yes("auto_promote", "whether canaries that are healthy are followed by the rest on their own"),
        yes("canaries", "so many tasks of a new version go first, with `order: start-first` beside the old ones"),
        yes("colocate", "services whose tasks must be on the node already"),
        yes("job", "makes the service a job"),
        yes("kept_versions", "so many old versions are kept to go back to"),
        yes("may_preempt", "whether tasks of lower priority may be stopped where nothing fits"),
        yes("on_node_loss", "`replace`, `stop_and_replace` or `{wait: 5m}`"),
        yes("priority", "-1000 to 1000; higher is placed first"),
        yes("progress_deadline", "an update that gets no further in this time has failed"),
    ],
};

pub(crate) const WAIT: &Section = &Section {
    path: "services.*.x-davit.on_node_loss",
    keys: &[yes("wait", "how long the node may be down before its tasks are replaced")],
};

pub(crate) const JOB: &Section = &Section {
    path: "services.*.x-davit.job",
    keys: &[
        yes("completions", "so many tasks must complete; without it as many as replicas"),
        yes("deadline", "a run that takes longer has failed"),
        yes("history", "how many runs are kept"),
        yes("missed_runs", "`skip` or `run_once`: what follows when the time of a run has passed"),
        yes("overlap", "`allow`, `forbid` or `replace`: what happens while the last run goes on"),
        yes("parallelism", "so many tasks at once"),
        yes("retries", "so many failures of one task are followed by another attempt"),
        yes("schedule", "when it runs, as cron has it: `0 3 * * *`, or `@daily`"),
        yes("start_deadline", "a run that could not begin in this time after its own is missed"),
        yes("time_zone", "of the schedule, such as `Europe/Berlin`; UTC without it"),
        yes("ttl", "how long an ended run is kept"),
    ],
};

pub(crate) const HISTORY: &Section = &Section {
    path: "services.*.x-davit.job.history",
    keys: &[yes("failed", "of failed runs"), yes("succeeded", "of those that completed")],
};
