//! The simulator source through the interface that the daemon uses.

use annunciator::{
    source::{SessionEnd, simulator},
    tag::{StatusCode, Value},
};

use crate::support::source::{Running, Tag};

#[tokio::test]
async fn signals_run_until_they_are_written() {
    let tags = [
        Tag { path: "Toggle", value_type: "Boolean", keys: "address = \"sequence?every=20ms&values=0,1\"", ..Tag::default() },
        Tag {
            path: "Level",
            value_type: "Float",
            keys: "address = \"ramp?period=1s&high=27648\"\npoll = \"5ms\"",
            scale: Some(((0.0, 27_648.0), (0.0, 100.0))),
            ..Tag::default()
        },
        Tag { path: "Setpoint", value_type: "Int16", keys: "address = \"hold?value=5\"", writable: true, ..Tag::default() },
    ];
    let source = Running::start(simulator::DRIVER, simulator::new, "poll = \"10ms\"", &tags);
    source.value("Toggle", &Value::Boolean(true)).await;
    source.value("Toggle", &Value::Boolean(false)).await;
    source.value("Setpoint", &Value::Int16(5)).await;
    let level = source.last("Level").unwrap().value.as_f64().unwrap();
    assert!((0.0..=100.0).contains(&level), "{level}");
    assert_eq!(source.write("Setpoint", Value::Int16(7)).await, Some(StatusCode::GOOD));
    source.value("Setpoint", &Value::Int16(7)).await;
    assert_eq!(source.read("Setpoint").await, Some(Ok(Value::Int16(7))));
    assert_eq!(source.write("Setpoint", Value::string("7")).await, Some(StatusCode::BAD_TYPE_MISMATCH));
    assert_eq!(source.write("Level", Value::Float(50.0)).await, Some(StatusCode::GOOD));
    source.value("Level", &Value::Float(50.0)).await;
    assert_eq!(source.stop().await, SessionEnd::Stopped);
}
