//! Which parts of an event's data a query wants: paths, compiled into a tree that a decoder walks beside the data.

use super::{Path, Step, Value};

/// A place in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(usize);

/// Paths that share their beginnings. The root is the data itself.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// The values that this place itself is wanted for.
    slots: Vec<usize>,
    keys: Vec<(String, Place)>,
    elements: Vec<(usize, Place)>,
    /// The values that lie here and below.
    covered: Vec<usize>,
}

impl Tree {
    pub(super) fn new(paths: &[Path]) -> Tree {
        let mut tree = Tree { nodes: vec![Node::default()] };
        for (slot, path) in paths.iter().enumerate() {
            let mut place = Tree::ROOT;
            tree.node_mut(place).covered.push(slot);
            for step in path {
                place = tree.grow(place, step);
                tree.node_mut(place).covered.push(slot);
            }
            tree.node_mut(place).slots.push(slot);
        }
        tree
    }

    pub(super) const ROOT: Place = Place(0);

    fn grow(&mut self, from: Place, step: &Step) -> Place {
        let known = match step {
            Step::Key(key) => self.member(from, key),
            Step::Index(index) => self.element(from, *index),
        };
        known.unwrap_or_else(|| {
            let place = Place(self.nodes.len());
            self.nodes.push(Node::default());
            match step {
                Step::Key(key) => self.node_mut(from).keys.push((key.clone(), place)),
                Step::Index(index) => self.node_mut(from).elements.push((*index, place)),
            }
            place
        })
    }

    fn node(&self, place: Place) -> &Node {
        &self.nodes[place.0]
    }

    fn node_mut(&mut self, place: Place) -> &mut Node {
        &mut self.nodes[place.0]
    }

    /// Where the member of an object is wanted, if it is.
    #[inline]
    pub(super) fn member(&self, place: Place, key: &str) -> Option<Place> {
        self.node(place).keys.iter().find(|(name, _)| name == key).map(|(_, place)| *place)
    }

    /// Where the element of an array is wanted, if it is.
    #[inline]
    pub(super) fn element(&self, place: Place, index: usize) -> Option<Place> {
        self.node(place).elements.iter().find(|(wanted, _)| *wanted == index).map(|(_, place)| *place)
    }

    /// Whether something inside of an object at this place is wanted.
    #[inline]
    pub(super) fn wants_members(&self, place: Place) -> bool {
        !self.node(place).keys.is_empty()
    }

    /// Whether something inside of an array at this place is wanted.
    #[inline]
    pub(super) fn wants_elements(&self, place: Place) -> bool {
        !self.node(place).elements.is_empty()
    }

    /// Whether the value at this place is wanted itself.
    #[inline]
    pub(super) fn wants_value(&self, place: Place) -> bool {
        !self.node(place).slots.is_empty()
    }

    /// Forgets what was found at a place and below: of several members with one name the last counts, whole.
    #[inline]
    pub(super) fn clear(&self, place: Place, values: &mut [Value<'_>]) {
        for slot in &self.node(place).covered {
            values[*slot] = Value::Null;
        }
    }

    /// Sets the value of a place for each time that it is wanted, which nearly always is once.
    #[inline]
    pub(super) fn set<'a>(&self, place: Place, value: Value<'a>, values: &mut [Value<'a>]) {
        let Some((last, others)) = self.node(place).slots.split_last() else { return };
        for slot in others {
            values[*slot] = value.clone();
        }
        values[*last] = value;
    }

    /// The columns that are wanted of a table: paths of a single key, and where they go.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&str, Place)> {
        self.node(Tree::ROOT).keys.iter().map(|(key, place)| (key.as_str(), *place))
    }
}
