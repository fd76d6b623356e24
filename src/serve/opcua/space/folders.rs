//! Folders in one text, and who hangs on whom in one list.

use std::collections::HashMap;

/// The folders by place.
#[derive(Debug, Default)]
pub struct Folders {
    paths: String,
    ends: Vec<u32>,
    versions: Vec<u32>,
    notifiers: Vec<bool>,
}

impl Folders {
    /// How many there are.
    pub fn len(&self) -> u32 {
        super::place(self.ends.len())
    }

    /// The path of the folder at `place`.
    pub fn path(&self, place: u32) -> &str {
        let place = place as usize;
        let begin = if place == 0 { 0 } else { self.ends[place - 1] as usize };
        &self.paths[begin..self.ends[place] as usize]
    }

    /// Adds one; gives its place.
    pub fn add(&mut self, path: &str) -> u32 {
        self.paths.push_str(path);
        self.ends.push(u32::try_from(self.paths.len()).expect("the paths of all folders have less than 4 GiB"));
        self.versions.push(0);
        self.notifiers.push(false);
        self.len() - 1
    }

    /// Its NodeVersion.
    pub fn version(&self, place: u32) -> u32 {
        self.versions[place as usize]
    }

    /// Gives it another NodeVersion.
    pub fn set_version(&mut self, place: u32, version: u32) {
        self.versions[place as usize] = version;
    }

    /// True when alarms lie below it.
    pub fn is_notifier(&self, place: u32) -> bool {
        self.notifiers[place as usize]
    }

    /// Alarms lie below it; false when that was known.
    pub fn mark(&mut self, place: u32) -> bool {
        !std::mem::replace(&mut self.notifiers[place as usize], true)
    }

    /// Gives back what was allocated for growth.
    pub fn finish(&mut self) {
        self.paths.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.versions.shrink_to_fit();
        self.notifiers.shrink_to_fit();
    }
}

/// Tells all pairs of child and parent.
pub type Pairs<'a> = &'a dyn Fn(&mut dyn FnMut(u32, Parent));

/// On what a node hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// The Objects folder.
    Objects,
    /// A node of ours.
    Own(u32),
}

/// The nodes that hang on a node, by counting: all children of one parent lie together.
#[derive(Debug, Default)]
pub struct Children {
    /// The first node that is no tag: nodes from there on have a range each, tags only when something lies below them.
    first: u32,
    /// Range of each tag that something lies below.
    tags: HashMap<u32, u32>,
    /// Where ranges end; the one of the Objects folder is the first, that of node `first` the second, and so on, then those of
    /// tags.
    ends: Vec<u32>,
    all: Vec<u32>,
}

impl Children {
    /// From all pairs of child and parent; `first` and `end` bound the nodes that are no tags.
    pub fn new(first: u32, end: u32, pairs: Pairs<'_>) -> Self {
        let mut children = Self { first, ..Self::default() };
        let mut ranges = end - first + 1;
        let tags = &mut children.tags;
        pairs(&mut |_, parent| {
            if let Parent::Own(tag) = parent
                && tag < first
            {
                tags.entry(tag).or_insert_with(|| {
                    ranges += 1;
                    ranges - 1
                });
            }
        });
        children.ends = vec![0; ranges as usize];
        let mut counts = vec![0_u32; ranges as usize];
        pairs(&mut |_, parent| counts[children.range(parent).expect("counted above")] += 1);
        let mut sum = 0;
        for (end, count) in children.ends.iter_mut().zip(&counts) {
            *end = sum;
            sum += count;
        }
        children.all = vec![0; sum as usize];
        // Each range's end moves from its beginning to its end while it is filled.
        let mut ends = std::mem::take(&mut children.ends);
        pairs(&mut |child, parent| {
            let range = children.range(parent).expect("counted above");
            children.all[ends[range] as usize] = child;
            ends[range] += 1;
        });
        children.ends = ends;
        children
    }

    fn range(&self, parent: Parent) -> Option<usize> {
        match parent {
            Parent::Objects => Some(0),
            Parent::Own(tag) if tag < self.first => self.tags.get(&tag).map(|range| *range as usize),
            Parent::Own(node) => Some((node - self.first + 1) as usize),
        }
    }

    /// What hangs on `parent`.
    pub fn of(&self, parent: Parent) -> &[u32] {
        let Some(range) = self.range(parent).filter(|range| *range < self.ends.len()) else { return &[] };
        let begin = if range == 0 { 0 } else { self.ends[range - 1] as usize };
        &self.all[begin..self.ends[range] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_lie_with_their_parent() {
        // Nodes 0 to 3 are tags, 4 and 5 are not.
        let pairs = [(4, Parent::Objects), (0, Parent::Own(4)), (1, Parent::Own(0)), (2, Parent::Own(4)), (5, Parent::Own(4))];
        let children = Children::new(4, 6, &|each| pairs.iter().for_each(|(child, parent)| each(*child, *parent)));
        assert_eq!(children.of(Parent::Objects), [4]);
        assert_eq!(children.of(Parent::Own(4)), [0, 2, 5]);
        assert_eq!(children.of(Parent::Own(0)), [1]);
        for none in [1, 3, 5, 99] {
            assert_eq!(children.of(Parent::Own(none)), [] as [u32; 0]);
        }
    }

    #[test]
    fn folders_keep_their_paths() {
        let mut folders = Folders::default();
        assert_eq!((folders.add("A"), folders.add("A/Bö"), folders.add("C")), (0, 1, 2));
        assert_eq!((folders.path(0), folders.path(1), folders.path(2)), ("A", "A/Bö", "C"));
        assert!(folders.mark(1) && !folders.mark(1) && folders.is_notifier(1) && !folders.is_notifier(0));
    }
}
