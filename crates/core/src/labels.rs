//! A node's labels, packed: a scheduler keeps them for many thousand nodes.

use std::collections::BTreeMap;

/// Key-value pairs in the order of keys, each key once.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct NodeLabels(Box<[(Box<str>, Box<str>)]>);

impl NodeLabels {
    /// No labels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.position(key).ok().map(|at| &*self.0[at].1)
    }

    /// Sets the value of a key. Takes as long as there are labels.
    pub fn insert(&mut self, key: String, value: String) {
        let mut pairs = std::mem::take(&mut self.0).into_vec();
        match pairs.binary_search_by(|(known, _)| (**known).cmp(&key)) {
            Ok(at) => pairs[at].1 = value.into(),
            Err(at) => pairs.insert(at, (key.into(), value.into())),
        }
        self.0 = pairs.into();
    }

    /// Takes a key away.
    pub fn remove(&mut self, key: &str) {
        if let Ok(at) = self.position(key) {
            let mut pairs = std::mem::take(&mut self.0).into_vec();
            pairs.remove(at);
            self.0 = pairs.into();
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keys and values, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    fn position(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(key))
    }
}

impl std::fmt::Debug for NodeLabels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl From<BTreeMap<String, String>> for NodeLabels {
    fn from(labels: BTreeMap<String, String>) -> Self {
        Self(labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

impl From<&NodeLabels> for BTreeMap<String, String> {
    fn from(labels: &NodeLabels) -> Self {
        labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

impl FromIterator<(String, String)> for NodeLabels {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(labels: T) -> Self {
        labels.into_iter().collect::<BTreeMap<_, _>>().into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_hold_what_a_map_holds(changes in prop::collection::vec(("[a-d]", prop::option::of("[x-z]")), 0..12)) {
            let (mut labels, mut map) = (NodeLabels::new(), BTreeMap::new());
            for (key, value) in changes {
                match value {
                    Some(value) => {
                        labels.insert(key.clone(), value.clone());
                        map.insert(key, value);
                    }
                    None => {
                        labels.remove(&key);
                        map.remove(&key);
                    }
                }
                prop_assert_eq!(BTreeMap::from(&labels), map.clone());
                prop_assert_eq!(&NodeLabels::from(map.clone()), &labels);
                prop_assert_eq!((labels.len(), labels.is_empty()), (map.len(), map.is_empty()));
            }
            for (key, value) in &map {
                prop_assert_eq!(labels.get(key), Some(value.as_str()));
            }
            prop_assert_eq!(labels.get("nothing"), None);
        }
    }
}
