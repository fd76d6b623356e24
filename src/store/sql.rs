//! What both databases understand: statements with `?` for values, and rows. The SQL of this module is the part that SQLite and
//! PostgreSQL have in common (`"user"` stands in quotes because PostgreSQL reserves the word); where they differ, [`Dialect`] says how.

use sqlx::{
    Decode, PgPool, Postgres, Row as _, Sqlite, SqlitePool, Type,
    postgres::{PgArguments, PgRow},
    sqlite::{SqliteArguments, SqliteRow},
};

use super::{StoreError, postgres, sqlite};

/// A value of a statement. Both kinds have their own NULL: PostgreSQL wants to know what kind of value is not there.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Datum {
    Int(Option<i64>),
    Text(Option<String>),
}

impl From<i64> for Datum {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<u32> for Datum {
    fn from(value: u32) -> Self {
        Self::Int(Some(value.into()))
    }
}

impl From<Option<i64>> for Datum {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Datum {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<String> for Datum {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<Option<String>> for Datum {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

/// Where the databases differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

/// A statement: text with a `?` for each value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Statement {
    pub text: String,
    pub values: Vec<Datum>,
}

impl Statement {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), values: Vec::new() }
    }

    /// Adds text.
    pub(super) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Adds a `?` and its value.
    pub(super) fn push_bind(&mut self, value: impl Into<Datum>) -> &mut Self {
        self.text.push('?');
        self.values.push(value.into());
        self
    }

    /// Adds the value of a `?` that is there.
    pub(super) fn bind(mut self, value: impl Into<Datum>) -> Self {
        self.values.push(value.into());
        self
    }

    /// The values for SQLite.
    pub(super) fn sqlite_arguments(values: Vec<Datum>) -> Result<SqliteArguments, StoreError> {
        let mut arguments = SqliteArguments::default();
        for value in values {
            let added = match value {
                Datum::Int(value) => sqlx::Arguments::add(&mut arguments, value),
                Datum::Text(value) => sqlx::Arguments::add(&mut arguments, value),
            };
            added.map_err(sqlx::Error::Encode)?;
        }
        Ok(arguments)
    }

    /// Text and values for PostgreSQL: `$1`, `$2` … for the `?`, and U+FFFD for NUL, which its texts cannot hold.
    pub(super) fn for_postgres(self) -> Result<(String, PgArguments), StoreError> {
        let mut text = String::with_capacity(self.text.len() + 4 * self.values.len());
        for (index, part) in self.text.split('?').enumerate() {
            if index > 0 {
                text.push('$');
                text.push_str(&index.to_string());
            }
            text.push_str(part);
        }
        let mut arguments = PgArguments::default();
        for value in self.values {
            let added = match value {
                Datum::Int(value) => sqlx::Arguments::add(&mut arguments, value),
                Datum::Text(Some(value)) if value.contains('\0') => {
                    sqlx::Arguments::add(&mut arguments, value.replace('\0', "\u{FFFD}"))
                }
                Datum::Text(value) => sqlx::Arguments::add(&mut arguments, value),
            };
            added.map_err(sqlx::Error::Encode)?;
        }
        Ok((text, arguments))
    }
}

/// The connections that read; a copy is another handle of the same ones.
#[derive(Clone)]
pub(super) enum Reader {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Reader {
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    pub(super) async fn fetch(&self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(pool) => sqlite::fetch(pool, statement).await,
            Self::Postgres(pool) => postgres::fetch(pool, statement).await,
        }
    }

    /// The one row of an answer that always has one.
    pub(super) async fn fetch_one(&self, statement: Statement) -> Result<Row, StoreError> {
        self.fetch(statement).await?.into_iter().next().ok_or_else(|| sqlx::Error::RowNotFound.into())
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// A row of an answer.
#[derive(Debug)]
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// What can stand in a column: `i64`, `bool`, texts, and options of them.
pub(super) trait Field<'r>: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres> {}

impl<'r, T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>> Field<'r> for T {}

impl Row {
    /// The value of a column, counted from 0.
    pub(super) fn get<'r, T: Field<'r>>(&'r self, column: usize) -> Result<T, StoreError> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }

    /// A column that holds a small number.
    pub(super) fn small(&self, column: usize) -> Result<u32, StoreError> {
        let value: i64 = self.get(column)?;
        u32::try_from(value).map_err(|_| StoreError::damaged(&format!("{value} is no number of segments or minutes")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_marks_become_numbers() {
        let statement = Statement::new("UPDATE t SET a = ? WHERE b IN (?,?)").bind(1_i64).bind("x\0").bind(None::<String>);
        assert_eq!(statement.for_postgres().unwrap().0, "UPDATE t SET a = $1 WHERE b IN ($2,$3)");
    }
}
