//! Expressions over tags.

/// A compiled expression.
#[derive(Debug)]
pub struct Expression;

/// Why a text is not an expression.
#[derive(Debug)]
pub struct ExpressionError;
