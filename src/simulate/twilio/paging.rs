//! Lists as Twilio pages them (Twilio, "Twilio's response: paging information"), and their filters by day.

use form_urlencoded::Serializer;
use serde_json::{Map, Value, json};

use super::{
    api::{Answer, ApiError, Parameters, parameter},
    state::Kept,
};
use crate::tag::Timestamp;

const PAGE_SIZE: usize = 50;
const MAX_PAGE_SIZE: usize = 1000;

/// One page of `rows`, which are filtered already, newest first. `kind` is the list's name in the path, such as `Messages`.
pub(super) fn page<'a, T: Kept + 'a>(
    account: &str,
    kind: &str,
    parameters: &Parameters,
    query: &str,
    mut rows: impl Iterator<Item = &'a T>,
) -> Answer {
    let size = match parameter(parameters, "PageSize").map(str::parse::<usize>) {
        None => PAGE_SIZE,
        Some(Ok(size @ 1..)) => size.min(MAX_PAGE_SIZE),
        Some(_) => return Err(ApiError::bad(20001, "Invalid PageSize")),
    };
    let page: usize = parameter(parameters, "Page").and_then(|page| page.parse().ok()).unwrap_or(0);
    if let Some(after) = parameter(parameters, "PageToken").and_then(|token| token.strip_prefix("PA")) {
        rows.find(|row| row.sid() == after);
    }
    let found: Vec<&T> = rows.take(size + 1).collect();
    let shown = &found[..found.len().min(size)];
    let path = format!("/2010-04-01/Accounts/{account}/{kind}.json");
    let next = (found.len() > size).then(|| {
        let last = shown.last().map(|row| row.sid()).unwrap_or_default();
        let kept =
            form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| !matches!(&**key, "Page" | "PageToken" | "PageSize"));
        let query = Serializer::new(String::new())
            .extend_pairs(kept)
            .append_pair("PageSize", &size.to_string())
            .append_pair("Page", &page.saturating_add(1).to_string())
            .append_pair("PageToken", &format!("PA{last}"))
            .finish();
        format!("{path}?{query}")
    });
    let start = page.saturating_mul(size);
    let mut answer = Map::new();
    let resources: Vec<Value> = shown.iter().map(|row| row.resource(account)).collect();
    answer.insert("start".into(), json!(start));
    answer.insert("end".into(), json!(start.saturating_add(shown.len()).saturating_sub(1)));
    answer.insert("page".into(), json!(page));
    answer.insert("page_size".into(), json!(size));
    answer.insert("uri".into(), json!(if query.is_empty() { path.clone() } else { format!("{path}?{query}") }));
    answer.insert("first_page_uri".into(), json!(format!("{path}?PageSize={size}&Page=0")));
    answer.insert("next_page_uri".into(), json!(next));
    answer.insert("previous_page_uri".into(), Value::Null);
    answer.insert(kind.to_lowercase(), Value::Array(resources));
    Ok((200, Value::Object(answer)))
}

/// A filter by day, both ends included.
pub(super) struct Days(Option<jiff::civil::Date>, Option<jiff::civil::Date>);

impl Days {
    /// Reads `name`, `name>` and `name<`: dates, or times of which only the date counts.
    pub(super) fn read(parameters: &Parameters, name: &str) -> Result<Self, ApiError> {
        let date = |name: &str| match parameter(parameters, name) {
            None => Ok(None),
            Some(text) => {
                let day = text.get(..10).and_then(|day| day.parse::<jiff::civil::Date>().ok());
                day.map(Some).ok_or_else(|| ApiError::bad(20001, format!("Invalid {name}")))
            }
        };
        let exactly = date(name)?;
        Ok(Self(exactly.or(date(&format!("{name}>"))?), exactly.or(date(&format!("{name}<"))?)))
    }

    /// True when `time` is of these days; what has no time passes no filter.
    pub(super) fn include(&self, time: Option<Timestamp>) -> bool {
        let Self(from, to) = self;
        if from.is_none() && to.is_none() {
            return true;
        }
        let day = time.map(|time| time.to_jiff().to_zoned(jiff::tz::TimeZone::UTC).date());
        day.is_some_and(|day| from.is_none_or(|from| day >= from) && to.is_none_or(|to| day <= to))
    }
}
