//! Rhai: expressions without effects, for conditions, setpoints and derived tags, and scripts with effects.

mod condition;
mod expression;
mod gate;
pub mod program;

pub use condition::{Condition, Facts};
pub use expression::{Expression, ExpressionError, MAX_INPUTS, MAX_SOURCE};
pub use program::Program;
