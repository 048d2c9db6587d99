//! The mappings inside of a service, but for `deploy` and `x-davit`.

use super::{Section, differs, no, yes};

pub(crate) const DEPENDENCY: &Section = &Section {
    path: "services.*.depends_on.*",
    keys: &[
        yes(
            "condition",
            "`service_started`, `service_healthy` (of a service with a `healthcheck`) or `service_completed_successfully`",
        ),
        yes("required", "whether the other service must be there; `true` without it"),
        no("restart", "a task is not restarted when the other service is updated; have it reconnect"),
    ],
};

pub(crate) const ENV_FILE: &Section = &Section {
    path: "services.*.env_file.[]",
    keys: &[
        yes("format", "`raw` takes values as they stand, without quotes and variables"),
        yes("path", "the file"),
        yes("required", "whether it must be there; `true` without it"),
    ],
};

pub(crate) const HEALTH_CHECK: &Section = &Section {
    path: "services.*.healthcheck",
    keys: &[
        yes("disable", "no check, as `test: [NONE]`"),
        yes("interval", "the time between two checks"),
        yes("retries", "so many failures in a row mean ill"),
        yes("start_interval", "the time between two checks during `start_period`"),
        yes("start_period", "failures in this time don't count"),
        differs(
            "test",
            "`[CMD, …]`, `[CMD-SHELL, …]`, `[NONE]`, or a string for a shell; needed, the image's is not known",
        ),
        yes("timeout", "a check that takes longer has failed"),
    ],
};

pub(crate) const PORT: &Section = &Section {
    path: "services.*.ports.[]",
    keys: &[
        differs("app_protocol", "accepted as a remark"),
        differs("host_ip", "only `0.0.0.0`: ports are published on all addresses of a node"),
        differs("mode", "`host` and `ingress` are accepted and mean the same: the port of the node that runs the task"),
        differs("name", "accepted as a remark"),
        yes("protocol", "`tcp` or `udp`"),
        differs("published", "the node's port, or a range as long as `target`; without it any free one"),
        yes("target", "the container's port, or a range"),
    ],
};

pub(crate) const SERVICE_VOLUME: &Section = &Section {
    path: "services.*.volumes.[]",
    keys: &[
        yes("bind", "options of a bind"),
        differs("consistency", "accepted; it has no meaning on Linux"),
        no("image", "mounts of images are not made"),
        yes("read_only", "whether writing is refused"),
        yes("source", "the path on the node, which must be there, or the volume's name"),
        yes("target", "where it is in the container"),
        yes("tmpfs", "options of a tmpfs"),
        differs("type", "`volume`, `bind` or `tmpfs`"),
        yes("volume", "options of a volume"),
    ],
};

pub(crate) const BIND_OPTIONS: &Section = &Section {
    path: "services.*.volumes.[].bind",
    keys: &[
        differs("create_host_path", "accepted, and nothing is made: the path must be on the node"),
        no("propagation", "mounts below a bind are not passed on"),
        no("recursive", "mounts below a bind come along as the engine has it"),
        no("selinux", "labels of files on nodes are not changed"),
    ],
};

pub(crate) const VOLUME_OPTIONS: &Section = &Section {
    path: "services.*.volumes.[].volume",
    keys: &[
        no("labels", "volumes bear the labels of the cluster alone"),
        no("nocopy", "a new volume starts with what the image has at its place"),
        no("subpath", "a volume is mounted whole"),
    ],
};

pub(crate) const TMPFS_OPTIONS: &Section = &Section {
    path: "services.*.volumes.[].tmpfs",
    keys: &[
        no("mode", "a tmpfs is made with the kernel's default mode, 1777"),
        yes("size", "its size; without it half of the node's memory"),
    ],
};

const NOT_KEPT: &str = "the output is kept as it is written, and `davit logs` tells whose it is";
const AS_KEPT: &str = "how the output is kept is the node's own affair; `max-size` and `max-file` bound it";

pub(crate) const LOGGING: &Section = &Section {
    path: "services.*.logging",
    keys: &[
        differs(
            "driver",
            "`json-file` and `local` are accepted and mean the same; `davit logs` can't read what others take away",
        ),
        yes("options", "the bounds; without them those of the node's worker, by default 3 files of 10 MiB"),
    ],
};

pub(crate) const LOG_OPTIONS: &Section = &Section {
    path: "services.*.logging.options",
    keys: &[
        no("compress", AS_KEPT),
        no("env", NOT_KEPT),
        no("env-regex", NOT_KEPT),
        no("labels", NOT_KEPT),
        no("labels-regex", NOT_KEPT),
        no("max-buffer-size", AS_KEPT),
        yes("max-file", "so many files are kept, up to 100"),
        yes("max-size", "a new file is begun at this size, 1 KiB to 1 GiB"),
        no("mode", AS_KEPT),
        no("tag", NOT_KEPT),
    ],
};

const ADDRESSES: &str = "Davit chooses addresses itself";
const NO_OPTIONS: &str = "Davit makes the app's network itself, without options";

pub(crate) const SERVICE_NETWORK: &Section = &Section {
    path: "services.*.networks.*",
    keys: &[
        yes("aliases", "further names of the service in the app's network"),
        no("driver_opts", NO_OPTIONS),
        no("gw_priority", NO_OPTIONS),
        no("interface_name", NO_OPTIONS),
        no("ipv4_address", ADDRESSES),
        no("ipv6_address", ADDRESSES),
        no("link_local_ips", ADDRESSES),
        no("mac_address", ADDRESSES),
        no("priority", NO_OPTIONS),
    ],
};

pub(crate) const CONFIG_GRANT: &Section = &Section {
    path: "services.*.configs.[]",
    keys: &[
        yes("gid", "the file's group, as a number"),
        yes("mode", "the file's mode, octal: `0444`"),
        yes("source", "the config's key"),
        yes("target", "where the file is; `/KEY` without it"),
        yes("uid", "the file's owner, as a number"),
    ],
};

pub(crate) const SECRET_GRANT: &Section = &Section {
    path: "services.*.secrets.[]",
    keys: &[
        yes("gid", "the file's group, as a number"),
        yes("mode", "the file's mode, octal: `0400`"),
        yes("source", "the secret's key"),
        yes("target", "where the file is, below `/run/secrets` unless absolute; `/run/secrets/KEY` without it"),
        yes("uid", "the file's owner, as a number"),
    ],
};

pub(crate) const ULIMIT: &Section = &Section {
    path: "services.*.ulimits.*",
    keys: &[yes("hard", "how far the process may raise it"), yes("soft", "what holds at first")],
};
