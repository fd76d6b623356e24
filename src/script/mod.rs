//! Rhai: expressions without effects, for conditions, setpoints and derived tags.

mod expression;
mod gate;

pub use expression::{Expression, ExpressionError, MAX_INPUTS, MAX_SOURCE};
