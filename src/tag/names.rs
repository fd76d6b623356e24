//! Paths and the ids given to them.

use std::{fmt, ops::Deref, sync::Arc};

use serde::{Deserialize, Serialize};

use super::PathIndex;

/// A tag's index in the [`TagTable`](super::TagTable). Given once to a path and kept for as long as the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagId(pub u32);

impl TagId {
    /// The id as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The longest path in bytes; OPC UA identifiers may have 4,096 (Part 3, 8.2.4).
pub const MAX_PATH: usize = 1024;

/// A checked path: segments joined by `/`, none of them empty, without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TagPath(Arc<str>);

/// Why a text is not a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPath(pub &'static str);

impl fmt::Display for InvalidPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidPath {}

impl TagPath {
    /// Checks `text`.
    ///
    /// # Errors
    /// When it is empty or longer than [`MAX_PATH`], has an empty segment, a control character, or space around a segment.
    pub fn new(text: &str) -> Result<Self, InvalidPath> {
        if text.is_empty() {
            return Err(InvalidPath("a path must not be empty"));
        }
        if text.len() > MAX_PATH {
            return Err(InvalidPath("a path has at most 1024 bytes"));
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidPath("a path must not contain control characters"));
        }
        for segment in text.split('/') {
            if segment.is_empty() {
                return Err(InvalidPath("a path must not have empty segments (no `/` at either end, no `//`)"));
            }
            if segment.trim() != segment {
                return Err(InvalidPath("a path's segments must not begin or end with space"));
            }
        }
        Ok(Self(text.into()))
    }

    /// The part after the last `/`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&*self.0, |(_, name)| name)
    }

    /// The folder that holds it; `None` at the top.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// The text behind it, shared.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl Deref for TagPath {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TagPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TagPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl TryFrom<String> for TagPath {
    type Error = InvalidPath;

    fn try_from(text: String) -> Result<Self, InvalidPath> {
        Self::new(&text)
    }
}

impl From<TagPath> for String {
    fn from(path: TagPath) -> Self {
        path.0.as_ref().to_owned()
    }
}

impl std::borrow::Borrow<str> for TagPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The book of ids: every path that ever had one keeps it, so that a reload moves no value to another cell and a removed tag
/// that returns finds its old place.
#[derive(Clone, Debug, Default)]
pub struct Names {
    paths: Vec<TagPath>,
    /// Empty after [`Names::rest`], until the next id is given.
    ids: PathIndex,
}

impl Names {
    /// The id of `path`, given now if it has none.
    pub fn intern(&mut self, path: TagPath) -> TagId {
        if self.ids.len() < self.paths.len() {
            self.ids = PathIndex::with_capacity(self.paths.len());
            for (id, path) in (0..).zip(&self.paths) {
                self.ids.insert(path, id);
            }
        }
        if let Some(id) = self.get(&path) {
            return id;
        }
        let id = TagId(u32::try_from(self.paths.len()).expect("fewer than 2^32 tags"));
        self.ids.insert(&path, id.0);
        self.paths.push(path);
        id
    }

    /// The id of `path`, if it has one. Looks through all of them while the book is at rest: whoever has a plan asks that.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<TagId> {
        if self.ids.len() < self.paths.len() {
            return (0..).zip(&self.paths).find(|(_, known)| ***known == *path).map(|(id, _)| TagId(id));
        }
        self.ids.find(path, |id| &self.paths[id as usize]).map(TagId)
    }

    /// The path of `id`.
    ///
    /// # Panics
    /// When `id` was not given by this book.
    #[must_use]
    pub fn path(&self, id: TagId) -> &TagPath {
        &self.paths[id.index()]
    }

    /// No ids are given for a while: only what cannot be made again is kept.
    pub fn rest(&mut self) {
        self.ids = PathIndex::default();
        self.paths.shrink_to_fit();
    }

    /// How many ids were given.
    #[must_use]
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// True before the first id is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_paths_are_refused() {
        for bad in ["", "/a", "a/", "a//b", "a/\nb", "a/ b", &"x".repeat(MAX_PATH + 1)] {
            assert!(TagPath::new(bad).is_err(), "{bad:?}");
        }
        let path = TagPath::new("Plant/Line 1/Füllstand").unwrap();
        assert_eq!((path.name(), path.parent()), ("Füllstand", Some("Plant/Line 1")));
    }

    #[test]
    fn an_id_is_given_once() {
        let mut names = Names::default();
        let a = names.intern(TagPath::new("A").unwrap());
        let b = names.intern(TagPath::new("B").unwrap());
        assert_ne!(a, b);
        assert_eq!(names.intern(TagPath::new("A").unwrap()), a);
        assert_eq!(&**names.path(b), "B");
        names.rest();
        assert_eq!((names.get("B"), names.get("C")), (Some(b), None));
        let c = names.intern(TagPath::new("C").unwrap());
        assert_eq!((names.get("A"), names.get("C"), c), (Some(a), Some(TagId(2)), TagId(2)));
    }
}
