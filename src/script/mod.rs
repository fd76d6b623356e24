//! Rhai: expressions without effects, for conditions, setpoints and derived tags.

mod expression;

pub use expression::{Expression, ExpressionError};
