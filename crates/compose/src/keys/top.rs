//! The whole file, and what it declares beside services.

use super::{Section, differs, no, yes};

pub(crate) const PROJECT: &Section = &Section {
    path: "",
    keys: &[
        yes("configs", "files with contents that services are given"),
        no("include", "a request holds all its files: give the included file as one more file"),
        no("models", "Davit runs containers; run a model as a service of its own"),
        yes("name", "the project's name, unless the caller gives one"),
        differs(
            "networks",
            "an app has one network, whatever is declared here: all its services reach each other by name",
        ),
        yes("secrets", "as `configs`, for what is not to be shown"),
        yes("services", "what is run"),
        differs("version", "obsolete: it is accepted and has no meaning"),
        yes("volumes", "volumes by name; each stays on the node on which the first task that mounts it was placed"),
        yes("x-davit", "what Compose has no words for"),
    ],
};

pub(crate) const PROJECT_DAVIT: &Section = &Section {
    path: "x-davit",
    keys: &[yes(
        "colocate",
        "`true`: all tasks of the app run on one node; or a list of lists of services, each of which does",
    )],
};

pub(crate) const NETWORK: &Section = &Section {
    path: "networks.*",
    keys: &[
        no("attachable", "only the app's own tasks join its network"),
        differs("driver", "`bridge`, `overlay` and `default` are accepted, and mean the app's one network"),
        no("driver_opts", "Davit makes the app's network itself, without options"),
        no("enable_ipv4", "Davit makes the app's network itself, without options"),
        no("enable_ipv6", "Davit makes the app's network itself, without options"),
        no(
            "external",
            "an app has one network of its own and joins no other; publish a port to be reached from outside",
        ),
        no("internal", "tasks reach what their nodes reach; keep them in with the nodes' own firewall"),
        no("ipam", "Davit chooses addresses itself"),
        no("labels", "the app's network bears the labels of the cluster alone"),
        differs("name", "accepted, and has no meaning: the network is the app's own"),
    ],
};

pub(crate) const VOLUME: &Section = &Section {
    path: "volumes.*",
    keys: &[
        differs("driver", "only `local`"),
        no("driver_opts", "volumes are made without options; mount what has options on the nodes, and bind its path"),
        differs(
            "external",
            "taken by its own name; made, empty, on a node that lacks it: a constraint says where it is",
        ),
        no("labels", "volumes bear the labels of the cluster alone"),
        yes("name", "the name on the node's engine; PROJECT_KEY without it"),
    ],
};

pub(crate) const CONFIG: &Section = &Section {
    path: "configs.*",
    keys: &[
        yes("content", "the contents, with variables"),
        yes("environment", "the variable that holds the contents"),
        yes("external", "it is in the cluster already, by its name"),
        yes("file", "the file that holds the contents; it is sent along"),
        no("labels", "configs have no labels"),
        yes("name", "the name in the cluster; PROJECT_KEY without it"),
        no("template_driver", "contents are not templates; variables of the project can stand in `content`"),
    ],
};

pub(crate) const SECRET: &Section = &Section {
    path: "secrets.*",
    keys: &[
        no("driver", "secrets come from the project or are in the cluster"),
        no("driver_opts", "secrets come from the project or are in the cluster"),
        yes("environment", "the variable that holds the contents"),
        yes("external", "it is in the cluster already, by its name"),
        yes("file", "the file that holds the contents; it is sent along"),
        no("labels", "secrets have no labels"),
        yes("name", "the name in the cluster; PROJECT_KEY without it"),
        no("template_driver", "contents are not templates"),
    ],
};
