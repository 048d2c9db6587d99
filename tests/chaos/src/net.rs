//! The network: a bridge in a namespace of its own, so that no firewall of the machine stands between, one namespace for
//! each machine, and a leg of the bridge in ours. Cuts are firewall rules inside a machine's namespace.

use crate::error::Result;
use crate::names::{DEVICE_PREFIX, namespace, namespace_path};
use crate::shell::run;

/// The machine that the bridge is on.
const SWITCH: &str = "net";
const BRIDGE: &str = "br0";

/// The network, with the addresses that it has given.
#[derive(Debug, Default)]
pub(crate) struct Net {
    machines: u8,
}

/// A machine's place in the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The machine.
    pub(crate) name: String,
    /// Its address, as text.
    pub(crate) address: String,
    /// The bridge's end of its cable, in the namespace of the bridge.
    cable: String,
}

/// Which way nothing passes any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Neither.
    Both,
    /// What comes from the other one is lost.
    In,
    /// What goes to the other one is lost.
    Out,
}

impl Net {
    /// Makes the bridge, and our leg of it.
    ///
    /// # Errors
    /// When the kernel's tools refuse.
    pub(crate) async fn make() -> Result<Self> {
        run("ip", &["netns", "add", &namespace(SWITCH)]).await?;
        inside(SWITCH, &["ip", "link", "add", BRIDGE, "type", "bridge"]).await?;
        inside(SWITCH, &["ip", "link", "set", BRIDGE, "up"]).await?;
        let net = Self { machines: 1 };
        let (ours, cable) = (format!("{DEVICE_PREFIX}-0"), format!("{DEVICE_PREFIX}-0b"));
        run("ip", &["link", "add", &ours, "type", "veth", "peer", "name", &cable]).await?;
        plug(&cable).await?;
        run("ip", &["addr", "add", &format!("{}/24", address(1)), "dev", &ours]).await?;
        run("ip", &["link", "set", &ours, "up"]).await?;
        Ok(net)
    }

    /// Adds a machine.
    ///
    /// # Errors
    /// When the kernel's tools refuse.
    pub(crate) async fn add(&mut self, name: &str) -> Result<Place> {
        self.machines += 1;
        let number = self.machines;
        let (inner, cable) = (format!("{DEVICE_PREFIX}-{number}"), format!("{DEVICE_PREFIX}-{number}b"));
        let place = Place { name: name.to_owned(), address: address(number), cable: cable.clone() };
        run("ip", &["netns", "add", &namespace(name)]).await?;
        run("ip", &["link", "add", &inner, "type", "veth", "peer", "name", &cable]).await?;
        plug(&cable).await?;
        run("ip", &["link", "set", &inner, "netns", &namespace(name)]).await?;
        inside(name, &["ip", "addr", "add", &format!("{}/24", place.address), "dev", &inner]).await?;
        inside(name, &["ip", "link", "set", &inner, "up"]).await?;
        inside(name, &["ip", "link", "set", "lo", "up"]).await?;
        Ok(place)
    }
}

impl Place {
    /// Runs a program in the namespace.
    ///
    /// # Errors
    /// As [`run`].
    pub(crate) async fn run(&self, command: &[&str]) -> Result<String> {
        inside(&self.name, command).await
    }

    /// Cuts what passes between here and another address. Says nothing to either side: packets are lost.
    ///
    /// # Errors
    /// When the firewall's tool refuses.
    pub(crate) async fn cut(&self, other: &str, direction: Direction) -> Result<()> {
        if direction != Direction::Out {
            self.run(&["iptables", "-w", "-A", "INPUT", "-s", other, "-j", "DROP"]).await?;
        }
        if direction != Direction::In {
            self.run(&["iptables", "-w", "-A", "OUTPUT", "-d", other, "-j", "DROP"]).await?;
        }
        Ok(())
    }

    /// Ends all cuts here.
    ///
    /// # Errors
    /// When the firewall's tool refuses.
    pub(crate) async fn heal(&self) -> Result<()> {
        self.run(&["iptables", "-w", "-F"]).await.map(drop)
    }

    /// Pulls the machine's cable, or plugs it in again.
    ///
    /// # Errors
    /// When the kernel's tools refuse.
    pub(crate) async fn set_cable(&self, plugged: bool) -> Result<()> {
        let state = if plugged { "up" } else { "down" };
        inside(SWITCH, &["ip", "link", "set", &self.cable, state]).await.map(drop)
    }
}

fn address(number: u8) -> String {
    format!("10.213.77.{number}")
}

async fn plug(cable: &str) -> Result<()> {
    run("ip", &["link", "set", cable, "netns", &namespace(SWITCH)]).await?;
    inside(SWITCH, &["ip", "link", "set", cable, "master", BRIDGE]).await?;
    inside(SWITCH, &["ip", "link", "set", cable, "up"]).await.map(drop)
}

/// `nsenter`, not `ip netns exec`: that hides the cgroups, without which no engine starts.
async fn inside(machine: &str, command: &[&str]) -> Result<String> {
    let net = format!("--net={}", namespace_path(machine));
    let arguments: Vec<&str> = [net.as_str()].into_iter().chain(command.iter().copied()).collect();
    run("nsenter", &arguments).await
}
