//! `extra_hosts`.

use std::collections::BTreeSet;

use davit_core::spec::{ExtraHost, check_host_name};

use crate::error::quoted;
use crate::read::{Context, Item};
use crate::tree::Value;

/// Reads `extra_hosts`; a mapping with an address for each name became a list before.
pub(super) fn extra_hosts(item: Option<Item>, cx: &mut Context<'_>) -> BTreeSet<ExtraHost> {
    let Some(item) = item else { return BTreeSet::new() };
    if matches!(item.node.value, Value::Map(_)) {
        item.bad("each name needs an address, or a list of addresses", cx);
        return BTreeSet::new();
    }
    let items = item.items(cx);
    items.iter().filter_map(|item| item.checked(extra_host, cx)).collect()
}

/// Reads `NAME=ADDRESS` or `NAME:ADDRESS`; an IPv6 address may be in brackets.
fn extra_host(text: &str) -> Result<ExtraHost, String> {
    let parts = text.split_once('=').or_else(|| text.split_once(':'));
    let (name, address) = parts.ok_or_else(|| format!("{} is no `NAME=ADDRESS`", quoted(text)))?;
    check_host_name(name).map_err(|error| format!("the name {error}"))?;
    let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    let address = bare.parse().map_err(|error| format!("the address {error}"))?;
    Ok(ExtraHost { name: name.to_owned(), address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_parted_by_an_equals_sign_or_the_first_colon() {
        for (text, name, address) in [
            ("db:10.0.0.1", "db", "10.0.0.1"),
            ("db=10.0.0.1", "db", "10.0.0.1"),
            ("db:::1", "db", "::1"),
            ("db=::1", "db", "::1"),
            ("db=[fe80::1]", "db", "fe80::1"),
            ("host.docker.internal:host-gateway", "host.docker.internal", "host-gateway"),
        ] {
            let host = extra_host(text).unwrap();
            assert_eq!((host.name.as_str(), host.address.to_string().as_str()), (name, address), "{text}");
        }
        for text in ["db", "", "=10.0.0.1", "db=", "db=web", "a b=10.0.0.1", "db=[::1"] {
            assert!(extra_host(text).is_err(), "{text}");
        }
    }
}
