//! `deploy` of a service, and what is in it.

use super::{Section, differs, no, yes};

pub(crate) const DEPLOY: &Section = &Section {
    path: "services.*.deploy",
    keys: &[
        no(
            "endpoint_mode",
            "a service's name stands for the addresses of its running tasks, ready or not; there is no virtual one",
        ),
        yes("labels", "labels of the deployment, not of its tasks"),
        differs("mode", "`replicated`, `global` or `replicated-job`; `global-job` is refused"),
        yes("placement", "which nodes"),
        yes("replicas", "how many tasks"),
        yes("resources", "what is set aside and what is enforced"),
        yes("restart_policy", "what follows the end of a task; wins over `restart`"),
        yes("rollback_config", "how it goes back"),
        yes("update_config", "how a new version takes the old one's place"),
    ],
};

pub(crate) const RESOURCES: &Section = &Section {
    path: "services.*.deploy.resources",
    keys: &[yes("limits", "what the engine enforces"), yes("reservations", "what the scheduler sets aside")],
};

pub(crate) const LIMITS: &Section = &Section {
    path: "services.*.deploy.resources.limits",
    keys: &[
        yes("cpus", "cpu, such as `0.5`"),
        yes("memory", "memory, such as `512m`"),
        yes("pids", "how many processes and threads; -1 is no limit"),
    ],
};

pub(crate) const RESERVATIONS: &Section = &Section {
    path: "services.*.deploy.resources.reservations",
    keys: &[
        yes("cpus", "cpu, such as `0.5`"),
        no("devices", "devices of nodes are not handed out"),
        no(
            "generic_resources",
            "nodes have cpu, memory and disk; label nodes that have something else, and write a constraint",
        ),
        yes("memory", "memory, such as `512m`"),
    ],
};

pub(crate) const RESTART_POLICY: &Section = &Section {
    path: "services.*.deploy.restart_policy",
    keys: &[
        yes("condition", "`none`, `on-failure` or `any`"),
        yes("delay", "the wait before a restart"),
        yes("max_attempts", "so many restarts at most"),
        differs("window", "a task that ran so long counts as healthy, and its restarts are counted anew"),
    ],
};

pub(crate) const UPDATE: &Section = &Section {
    path: "services.*.deploy.update_config",
    keys: &[
        yes("delay", "the wait after each batch"),
        yes("failure_action", "`pause`, `continue` or `rollback`"),
        yes("max_failure_ratio", "the share of tasks that may fail"),
        yes("monitor", "a task that fails in this time has failed to update"),
        yes("order", "`stop-first` or `start-first`"),
        yes("parallelism", "how many tasks at once; 0 is all"),
    ],
};

pub(crate) const ROLLBACK: &Section = &Section {
    path: "services.*.deploy.rollback_config",
    keys: &[
        yes("delay", "the wait after each batch"),
        yes("failure_action", "`pause` or `continue`"),
        yes("max_failure_ratio", "the share of tasks that may fail"),
        yes("monitor", "a task that fails in this time has failed to go back"),
        yes("order", "`stop-first` or `start-first`"),
        yes("parallelism", "how many tasks at once; 0 is all"),
    ],
};

pub(crate) const PLACEMENT: &Section = &Section {
    path: "services.*.deploy.placement",
    keys: &[
        differs(
            "constraints",
            "what nodes must be; Swarm's words and Davit's own. A node without the label satisfies no `!=`, unlike in Swarm",
        ),
        yes("max_replicas_per_node", "so many tasks of the service on one node at most"),
        yes("preferences", "what tasks are spread over"),
    ],
};

pub(crate) const PREFERENCE: &Section = &Section {
    path: "services.*.deploy.placement.preferences.[]",
    keys: &[yes("spread", "the attribute, such as `node.labels.zone`")],
};
