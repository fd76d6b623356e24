//! Scripts with effects (SPEC 13): what a voice profile, a pipeline step and `annunciator script` run.

use std::{fmt, sync::Arc};

use rhai::{AST, Engine};

/// A compiled script.
pub struct Program {
    source: Arc<str>,
    ast: AST,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Program({} bytes)", self.source.len())
    }
}

impl Program {
    /// Compiles `source`.
    ///
    /// # Errors
    /// When it is no script, in words with line and column.
    pub fn compile(source: &str) -> Result<Self, String> {
        let ast = Engine::new_raw().compile(source).map_err(|error| error.to_string())?;
        Ok(Self { source: source.into(), ast })
    }

    /// The text as written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// For the one who runs it.
    #[must_use]
    pub fn ast(&self) -> &AST {
        &self.ast
    }
}

/// Two programs are equal when they say the same.
impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}
