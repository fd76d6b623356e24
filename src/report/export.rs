//! Statistics as files for other programs.

use std::{fs::File, path::Path};

use polars::prelude::{CsvWriter, ParquetWriter, PolarsResult, SerWriter};

use super::statistics::users_frame;
use crate::engine::view::UserStatistics;

/// Writes `users` as CSV (RFC 4180, a header line, UTF-8) to `file`, replacing it.
///
/// # Errors
/// When the file cannot be written.
pub fn write_csv(users: &[UserStatistics], file: &Path) -> PolarsResult<()> {
    let out = File::create(file)?;
    super::apart(|| CsvWriter::new(out).include_header(true).finish(&mut users_frame(users)?))
}

/// Writes `users` as Parquet to `file`, replacing it.
///
/// # Errors
/// When the file cannot be written.
pub fn write_parquet(users: &[UserStatistics], file: &Path) -> PolarsResult<()> {
    let out = File::create(file)?;
    super::apart(|| ParquetWriter::new(out).finish(&mut users_frame(users)?).map(drop))
}

#[cfg(test)]
mod tests {
    use polars::prelude::{ParquetReader, SerReader};

    use super::*;

    fn users() -> Vec<UserStatistics> {
        let user = |id, username: &str| UserStatistics {
            id,
            username: username.into(),
            phone_number: "+12223334444".into(),
            messages_received: 1,
            messages_sent: 2,
            calls_received: 3,
            calls_sent: 4,
            call_minutes_received: 5,
            call_minutes_sent: 6,
        };
        vec![user(1, "alice"), user(2, "Bob, the \"2nd\"")]
    }

    #[test]
    fn csv_is_quoted_where_it_must_be() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users.csv");
        write_csv(&users(), &file).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        let expected = "Id,Username,PhoneNumber,MessagesReceived,MessagesSent,CallsReceived,CallsSent,CallMinutesReceived,\
                        CallMinutesSent\n1,alice,+12223334444,1,2,3,4,5,6\n2,\"Bob, the \"\"2nd\"\"\",+12223334444,1,2,3,4,5,6\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn parquet_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users.parquet");
        write_parquet(&users(), &file).unwrap();
        let frame = ParquetReader::new(File::open(file).unwrap()).finish().unwrap();
        assert!(frame.equals(&users_frame(&users()).unwrap()), "{frame:?}");
        assert!(write_csv(&users(), &folder.path().join("none/users.csv")).is_err());
    }
}
