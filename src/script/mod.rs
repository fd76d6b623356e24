//! Rhai: expressions without effects, for conditions, setpoints and derived tags, and scripts with effects.

mod expression;
mod gate;
pub mod program;

pub use expression::{Expression, ExpressionError, MAX_INPUTS, MAX_SOURCE};
pub use program::Program;
