//! A map of bounded size that forgets what has not been used for long.

use std::{collections::HashMap, hash::Hash, mem};

/// Two generations of entries: once the young one is full, it becomes the old one, and the old one's entries go, except
/// those that have been asked for meanwhile. Holds at most twice the number of entries that one generation may have.
#[derive(Debug)]
pub(super) struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    young_max: usize,
}

impl<K: Eq + Hash, V: Clone> Generations<K, V> {
    pub(super) fn new(young_max: usize) -> Generations<K, V> {
        Generations { young: HashMap::new(), old: HashMap::new(), young_max }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.young_max {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(super) fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_size_is_bounded() {
        let mut cache = Generations::new(10);
        cache.insert(0, "used");
        for key in 1..1000 {
            assert_eq!(cache.get(&0), Some("used"));
            cache.insert(key, "unused");
            assert!(cache.young.len() + cache.old.len() <= 20);
        }
        assert_eq!(cache.get(&1), None);
        cache.remove(&0);
        assert_eq!(cache.get(&0), None);
    }
}
