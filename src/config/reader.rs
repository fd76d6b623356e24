//! Reading TOML tables with a place for every value and a list of all problems.

/// A table that is being read.
pub struct Section<'a>(std::marker::PhantomData<&'a ()>);
