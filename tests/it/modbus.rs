//! The Modbus source with pymodbus as the PLC, with our own PLC simulator, and with servers that misbehave.

use std::{
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use annunciator::{
    simulate::modbus_plc::{Event, MAX_CONNECTIONS, Plc, Trip},
    source::{SessionEnd, modbus},
    tag::{DataType, StatusCode, Value},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::{
    BOUND, peers,
    process::Child,
    source::{Running, SOON, Tag},
};

fn start(source: &str, tags: &[Tag]) -> Running {
    Running::start(modbus::DRIVER, modbus::new, source, tags)
}

const fn tag(path: &'static str, value_type: &'static str, keys: &'static str) -> Tag {
    Tag { path, value_type, keys, writable: true, scale: None }
}

const fn input(path: &'static str, value_type: &'static str, keys: &'static str) -> Tag {
    Tag { path, value_type, keys, writable: false, scale: None }
}

/// pymodbus as a PLC with units 1 and 2; `None` when it cannot be had.
fn pymodbus(arguments: &[&str]) -> Option<(Child, String)> {
    let python = peers::python()?;
    let mut child = Child::start(Command::new(python).arg(peers::script("modbus_plc.py")).args(arguments));
    let line = child.line("listening", BOUND);
    let place = line.split_whitespace().next_back().unwrap();
    let url = match arguments[0] {
        "rtu" => format!("url = \"rtu://{place}?baud=19200&parity=none\""),
        scheme => format!("url = \"{scheme}://127.0.0.1:{place}\""),
    };
    Some((child, url))
}

fn set(plc: &mut Child, command: &str) {
    plc.say(&format!("set {command}"));
    plc.line("done", BOUND);
}

fn get(plc: &mut Child, command: &str) -> String {
    plc.say(&format!("get {command}"));
    plc.line("values", BOUND)
}

/// Values of every kind go both ways.
async fn check_both_ways(arguments: &[&str]) {
    let Some((mut plc, url)) = pymodbus(arguments) else { return };
    let tags = [
        tag("Coil", "Boolean", "address = \"coil:3\""),
        tag("Coils", "Boolean[11]", "address = \"coil:20\""),
        input("Contact", "Boolean", "address = \"discrete:7\""),
        tag("Word", "UInt16", "address = \"40011\""),
        tag("Bit", "Boolean", "address = \"holding:11.3\""),
        tag("Level", "Float", "address = \"holding:12\"\nformat = \"f32:cdab\""),
        tag("Total", "UInt64", "address = \"holding:14\"\nformat = \"u64:hgfedcba\""),
        tag("Energy", "Double", "address = \"holding:18\"\nformat = \"f64\""),
        tag("Name", "String", "address = \"holding:22\"\nformat = \"string:11:badc\""),
        tag("Recipe", "Int16[4]", "address = \"holding:30\""),
        tag("Digits", "UInt32", "address = \"holding:34\"\nformat = \"bcd32\""),
        Tag { scale: Some(((0.0, 27_648.0), (0.0, 100.0))), ..tag("Raw", "Float", "address = \"holding:36\"\nformat = \"u16\"") },
        input("Temperature", "Int16", "address = \"input:5\""),
        tag("Other", "UInt16", "address = \"holding:10 unit=2\""),
    ];
    set(&mut plc, "1 2 7 1");
    set(&mut plc, "1 4 5 65436");
    set(&mut plc, "1 3 11 240");
    set(&mut plc, "2 3 10 77");
    let source = start(&format!("{url}\npoll = \"50ms\"\ntimeout = \"5s\""), &tags);
    source.value("Contact", &Value::Boolean(true)).await;
    source.value("Temperature", &Value::Int16(-100)).await;
    source.value("Other", &Value::UInt16(77)).await;
    source.value("Word", &Value::UInt16(0)).await;
    source.value("Bit", &Value::Boolean(false)).await;

    let array = |data_type, elements: Vec<Value>| Value::Array(data_type, elements.into());
    let coils = (0..11).map(|index| Value::Boolean(index % 3 == 0)).collect();
    let recipe = [1, -2, i16::MIN, i16::MAX].map(Value::Int16).to_vec();
    for (path, value, stored, there) in [
        ("Coil", Value::Boolean(true), "1 1 3 1", "1"),
        ("Coils", array(DataType::Boolean, coils), "1 1 20 11", "1 0 0 1 0 0 1 0 0 1 0"),
        ("Word", Value::UInt16(50_000), "1 3 10 1", "50000"),
        ("Bit", Value::Boolean(true), "1 3 11 1", "248"),
        ("Level", Value::Float(81.5), "1 3 12 2", "0 17059"),
        ("Total", Value::UInt64(0x0102_0304_0506_0708), "1 3 14 4", "2055 1541 1027 513"),
        ("Energy", Value::Double(-1.5), "1 3 18 4", "49144 0 0 0"),
        ("Name", Value::string("Pump 1"), "1 3 22 3", "30032 28781 12576"),
        ("Recipe", array(DataType::Int16, recipe), "1 3 30 4", "1 65534 32768 32767"),
        ("Digits", Value::UInt32(12_345_678), "1 3 34 2", "4660 22136"),
        ("Raw", Value::Float(50.0), "1 3 36 1", "13824"),
        ("Other", Value::UInt16(78), "2 3 10 1", "78"),
    ] {
        assert_eq!(source.write(path, value.clone()).await, Some(StatusCode::GOOD), "{path}");
        assert_eq!(source.read(path).await, Some(Ok(value.clone())), "{path} read back");
        assert_eq!(get(&mut plc, stored), format!("values {there}"), "{path}");
        source.value(path, &value).await;
    }
    assert_eq!(source.write("Bit", Value::Boolean(false)).await, Some(StatusCode::GOOD));
    assert_eq!(get(&mut plc, "1 3 11 1"), "values 240", "the other bits stay");

    for (path, value, status) in [
        ("Contact", Value::Boolean(true), StatusCode::BAD_NOT_WRITABLE),
        ("Word", Value::Int16(1), StatusCode::BAD_TYPE_MISMATCH),
        ("Raw", Value::Float(500.0), StatusCode::BAD_OUT_OF_RANGE),
        ("Digits", Value::UInt32(100_000_000), StatusCode::BAD_OUT_OF_RANGE),
        ("Name", Value::string("longer than that"), StatusCode::BAD_OUT_OF_RANGE),
    ] {
        assert_eq!(source.write(path, value).await, Some(status), "{path}");
    }
    assert_eq!(source.seen(|seen| seen.connected), 1);
    assert_eq!(source.stop().await, SessionEnd::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_go_both_ways_over_tcp() {
    check_both_ways(&["tcp"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_go_both_ways_over_rtu_in_tcp() {
    check_both_ways(&["rtu+tcp"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_go_both_ways_over_a_serial_line() {
    check_both_ways(&["rtu"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbours_are_read_by_one_request() {
    let Some((mut plc, url)) = pymodbus(&["tcp"]) else { return };
    let tags = [
        input("A", "UInt16", "address = \"holding:0\""),
        input("B", "UInt16", "address = \"holding:10\""),
        input("C", "Float", "address = \"holding:120\""),
        input("D", "Boolean", "address = \"coil:0\""),
        input("E", "Boolean", "address = \"coil:100\""),
        input("F", "UInt16", "address = \"holding:0 unit=2\""),
    ];
    let source = start(&format!("{url}\npoll = \"10m\""), &tags);
    source.until("all tags", |seen| seen.last.len() == 6).await;
    let mut requests: Vec<_> = (0..4).map(|_| plc.line("request", BOUND)).collect();
    requests.sort();
    assert_eq!(requests, ["request 1 1 0 101", "request 1 3 0 11", "request 1 3 120 2", "request 2 3 0 1"]);
    assert_eq!(source.stop().await, SessionEnd::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_illegal_address_spoils_only_its_own_tag() {
    let Some((mut plc, url)) = pymodbus(&["tcp"]) else { return };
    // Between 199 and 300 there is nothing: the gap first spoils the block, then is no longer read.
    let tags = [
        input("Before", "UInt16", "address = \"holding:198\""),
        input("Edge", "UInt16", "address = \"holding:199\""),
        input("Torn", "UInt32", "address = \"holding:199\""),
        input("Hole", "UInt16", "address = \"holding:250\""),
        input("After", "UInt16", "address = \"holding:300\""),
        input("Last", "UInt16", "address = \"holding:309\""),
    ];
    set(&mut plc, "1 3 198 5 6");
    set(&mut plc, "1 3 300 7");
    let source = start(&format!("{url}\npoll = \"20ms\"\nmax_gap = 125"), &tags);
    source.value("Before", &Value::UInt16(5)).await;
    source.value("Edge", &Value::UInt16(6)).await;
    source.value("After", &Value::UInt16(7)).await;
    source.value("Last", &Value::UInt16(0)).await;
    source.status("Hole", StatusCode::BAD_CONFIGURATION_ERROR).await;
    source.status("Torn", StatusCode::BAD_CONFIGURATION_ERROR).await;
    assert_eq!(source.last("Hole").unwrap().value, Value::Null);
    // What was learnt stays: from now on only requests that succeed, and none for the hole.
    let samples = source.seen(|seen| seen.samples);
    get(&mut plc, "1 3 0 1");
    source.until("more polls", |seen| seen.samples > samples + 50).await;
    for _ in 0..20 {
        let request = plc.line("request", BOUND);
        assert!(
            ["request 1 3 198 2", "request 1 3 300 10", "request 1 3 198 1", "request 1 3 199 1"].contains(&&*request),
            "{request}"
        );
    }
    assert_eq!(source.stop().await, SessionEnd::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_unit_behind_a_gateway_does_not_stop_the_others() {
    // Once the gateway says so (exception 0B), once it says nothing.
    for arguments in [&["tcp"] as &[&str], &["tcp", "mute"], &["rtu", "mute"]] {
        let Some((mut plc, url)) = pymodbus(arguments) else { return };
        let tags = [tag("Alive", "UInt16", "address = \"holding:0\""), tag("Dead", "UInt16", "address = \"holding:0 unit=9\"")];
        let source = start(&format!("{url}\npoll = \"20ms\"\ntimeout = \"300ms\""), &tags);
        source.status("Dead", StatusCode::BAD_NO_COMMUNICATION).await;
        for number in 1..20 {
            set(&mut plc, &format!("1 3 0 {number}"));
            let begun = Instant::now();
            source.value("Alive", &Value::UInt16(number)).await;
            assert!(begun.elapsed() < SOON, "{arguments:?}");
        }
        let expected = if arguments == ["tcp"] { StatusCode::BAD_COMMUNICATION_ERROR } else { StatusCode::BAD_TIMEOUT };
        assert_eq!(source.write("Dead", Value::UInt16(1)).await, Some(expected), "{arguments:?}");
        assert_eq!(source.write("Alive", Value::UInt16(99)).await, Some(StatusCode::GOOD), "{arguments:?}");
        assert_eq!(source.seen(|seen| seen.connected), 1);
        assert_eq!(source.stop().await, SessionEnd::Stopped);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_is_written_by_reading_where_that_was_asked_for() {
    let Some((mut plc, url)) = pymodbus(&["tcp"]) else { return };
    let tags = [tag("Bit", "Boolean", "address = \"holding:5.15\"")];
    set(&mut plc, "1 3 5 7");
    let source = start(&format!("{url}\npoll = \"10m\"\nbit_write = \"read-modify-write\""), &tags);
    assert_eq!(source.write("Bit", Value::Boolean(true)).await, Some(StatusCode::GOOD));
    assert_eq!(get(&mut plc, "1 3 5 1"), "values 32775");
    assert_eq!(source.write("Bit", Value::Boolean(false)).await, Some(StatusCode::GOOD));
    assert_eq!(get(&mut plc, "1 3 5 1"), "values 7");
}

/// Starts sessions, as the daemon does, until samples come.
async fn read_again(source: &mut Running) {
    let before = source.seen(|seen| seen.samples);
    let begun = Instant::now();
    while source.seen(|seen| seen.samples) == before {
        assert!(begun.elapsed() < BOUND, "nobody answers");
        let samples = source.until("a sample", |seen| seen.samples > before);
        if timeout(Duration::from_millis(100), samples).await.is_err() && source.has_ended() {
            source.next_session().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_comes_back_is_read_again() {
    let plc = Plc::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addr = plc.addr;
    let tags = [input("Pump", "Boolean", "address = \"coil:0\"")];
    let mut source = start(&format!("url = \"tcp://{addr}\"\npoll = \"20ms\""), &tags);
    source.until("a sample", |seen| seen.samples > 0).await;
    plc.stop().await;
    let SessionEnd::Lost(why) = source.next_session().await else { panic!("a lost connection ends the session") };
    assert!(why.contains("closed"), "{why}");
    let SessionEnd::Lost(why) = source.next_session().await else { panic!("nobody listens") };
    assert!(why.starts_with("failed to connect to 127.0.0.1"), "{why}");
    let plc = Plc::start(addr).await.unwrap();
    read_again(&mut source).await;
    assert_eq!(source.stop().await, SessionEnd::Stopped);
    plc.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulated_plant_trips_and_is_acknowledged() {
    let plc = Plc::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let mut events = plc.plant.subscribe();
    let tags = [
        input("Trip", "Boolean", "address = \"coil:1\""),
        tag("Ack", "Boolean", "address = \"coil:11\""),
        input("Acks", "UInt16", "address = \"holding:6\""),
        input("Level", "Float", "address = \"holding:0\"\nformat = \"f32:cdab\""),
        Tag {
            scale: Some(((0.0, 27_648.0), (0.0, 100.0))),
            ..input("Raw", "Float", "address = \"holding:4\"\nformat = \"u16\"")
        },
        tag("Maintenance", "Boolean", "address = \"holding:7.1\""),
        input("Door", "Boolean", "address = \"discrete:0\""),
        input("Temperature", "Int16", "address = \"input:0\""),
        input("Beyond", "Int16", "address = \"input:1\""),
    ];
    let source = start(&format!("url = \"tcp://{}\"\npoll = \"10ms\"", plc.addr), &tags);
    source.value("Trip", &Value::Boolean(false)).await;
    source.value("Door", &Value::Boolean(true)).await;
    source.status("Beyond", StatusCode::BAD_CONFIGURATION_ERROR).await;
    source.status("Temperature", StatusCode::GOOD).await;
    let level = |path| source.last(path).unwrap().value.as_f64().unwrap();
    assert!((level("Level") - level("Raw")).abs() < 1.0);
    plc.plant.trip(Trip::TankHighHigh);
    source.value("Trip", &Value::Boolean(true)).await;
    assert_eq!(source.write("Ack", Value::Boolean(true)).await, Some(StatusCode::GOOD));
    source.value("Trip", &Value::Boolean(false)).await;
    source.value("Acks", &Value::UInt16(1)).await;
    assert_eq!(source.write("Maintenance", Value::Boolean(true)).await, Some(StatusCode::GOOD));
    source.value("Maintenance", &Value::Boolean(true)).await;
    let mut seen = Vec::new();
    while !seen.contains(&Event::Cleared(Trip::TankHighHigh)) {
        seen.push(timeout(BOUND, events.recv()).await.unwrap().unwrap());
    }
    seen.retain(|event| !matches!(event, Event::Pump(_)));
    let expected = [Event::Tripped(Trip::TankHighHigh), Event::Acknowledged(Some(11)), Event::Cleared(Trip::TankHighHigh)];
    assert_eq!(seen, expected);
    assert_eq!(source.stop().await, SessionEnd::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulated_plc_serves_only_so_many_at_once() {
    let plc = Plc::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let mut served = Vec::new();
    let request = [0, 1, 0, 0, 0, 6, 1, 1, 0, 0, 0, 1];
    for index in 0..=MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(plc.addr).await.unwrap();
        let mut answer = [0; 16];
        let sent = stream.write_all(&request).await;
        let length = if sent.is_ok() { timeout(BOUND, stream.read(&mut answer)).await.unwrap().unwrap_or(0) } else { 0 };
        assert_eq!(length, if index < MAX_CONNECTIONS { 10 } else { 0 }, "connection {index}");
        served.push(stream);
    }
    // A place that becomes free is given again.
    served.clear();
    let mut source =
        start(&format!("url = \"tcp://{}\"\npoll = \"20ms\"", plc.addr), &[input("Pump", "Boolean", "address = \"coil:0\"")]);
    read_again(&mut source).await;
    assert_eq!(source.stop().await, SessionEnd::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_bits_at_once_are_all_seen() {
    const BITS: usize = 10_000;
    let plc = Plc::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let tags: Vec<_> = (0..BITS)
        .map(|bit| input(leak(format!("B{bit}")), "Boolean", leak(format!("address = \"coil:{}\"", 1000 + bit))))
        .collect();
    let source = start(&format!("url = \"tcp://{}\"\npoll = \"20ms\"", plc.addr), &tags);
    source.until("all bits", |seen| seen.last.len() == BITS).await;
    plc.plant.set_coils(1000, &[true; BITS]);
    source.until("all bits set", |seen| seen.last.values().all(|sample| sample.value == Value::Boolean(true))).await;
    assert_eq!(source.stop().await, SessionEnd::Stopped);
}

/// A server that answers every request by what `answer` makes of it; nothing is sent for `None`.
async fn hostile(answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(one_by_one(stream, answer.clone()));
        }
    });
    addr
}

async fn one_by_one(mut stream: TcpStream, answer: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let mut request = [0; 260];
    while let Ok(length @ 1..) = stream.read(&mut request).await {
        let Some(bytes) = answer(&request[..length]) else { continue };
        if bytes.is_empty() || stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// An answer in a Modbus TCP frame that belongs to `request`; an option, as every answer of a hostile server.
#[allow(clippy::unnecessary_wraps)]
fn framed(request: &[u8], pdu: &[u8]) -> Option<Vec<u8>> {
    let mut frame = request[..4].to_vec();
    frame.extend(u16::try_from(pdu.len() + 1).unwrap().to_be_bytes());
    frame.push(request[6]);
    frame.extend(pdu);
    Some(frame)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_do_not_fit_end_the_session_without_a_sample() {
    type Answer = fn(&[u8]) -> Option<Vec<u8>>;
    let answers: [(&str, Answer); 14] = [
        ("too short", |request| framed(request, &[3, 2, 0, 1])),
        ("too long", |request| framed(request, &[3, 6, 0, 1, 0, 2, 0, 3])),
        ("no registers", |request| framed(request, &[3, 0])),
        ("byte count beyond the frame", |request| framed(request, &[3, 250, 0, 1])),
        ("odd byte count", |request| framed(request, &[3, 3, 0, 1, 2])),
        ("another function", |request| framed(request, &[4, 4, 0, 1, 0, 2])),
        ("bits for registers", |request| framed(request, &[1, 1, 255])),
        ("an empty answer", |request| framed(request, &[])),
        ("an exception without a code", |request| framed(request, &[0x83])),
        ("another unit", |request| framed(&[&request[..6], &[9], &request[7..]].concat(), &[3, 4, 0, 1, 0, 2])),
        ("another transaction", |request| framed(&[&[0xEE, 0xEE], &request[2..]].concat(), &[3, 4, 0, 1, 0, 2])),
        ("another protocol", |request| framed(&[&request[..2], &[1, 1], &request[4..]].concat(), &[3, 4, 0, 1, 0, 2])),
        ("a length of zero", |request| Some([&request[..4], &[0, 0, 1]].concat())),
        ("the end of the connection", |_| Some(Vec::new())),
    ];
    let tags = [tag("A", "UInt32", "address = \"holding:0\"")];
    for (what, answer) in answers {
        let addr = hostile(answer).await;
        let mut source = start(&format!("url = \"tcp://{addr}\"\npoll = \"10ms\"\ntimeout = \"1s\""), &tags);
        let end = source.next_session().await;
        assert!(matches!(end, SessionEnd::Lost(_)), "{what}: {end:?}");
        assert_eq!(source.seen(|seen| seen.samples), 0, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_answers_never_panic() {
    for scheme in ["tcp", "rtu+tcp"] {
        let addr = hostile(|request| {
            let mut random = fastrand::Rng::new();
            let length = random.usize(1..40);
            let mut bytes: Vec<_> = (0..length).map(|_| random.u8(..)).collect();
            // Half of them begin as a right answer does, so that decoding gets further.
            if random.bool() {
                let head = framed(request, &[3, random.u8(..)])?;
                bytes = [head, bytes].concat();
            }
            Some(bytes)
        })
        .await;
        let tags = [tag("A", "UInt32", "address = \"holding:0\""), tag("B", "Boolean", "address = \"coil:9\"")];
        let mut source = start(&format!("url = \"{scheme}://{addr}\"\npoll = \"1ms\"\ntimeout = \"20ms\""), &tags);
        for _ in 0..100 {
            assert!(matches!(source.next_session().await, SessionEnd::Lost(_)));
        }
        source.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_the_session_and_a_write_in_doubt_says_so() {
    let addr = hostile(|request| if request[7] == 3 { framed(request, &[3, 2, 0, 7]) } else { None }).await;
    let tags = [tag("A", "UInt16", "address = \"holding:0\"")];
    let source = start(&format!("url = \"tcp://{addr}\"\npoll = \"20ms\"\ntimeout = \"200ms\""), &tags);
    source.value("A", &Value::UInt16(7)).await;
    let begun = Instant::now();
    assert_eq!(source.write("A", Value::UInt16(1)).await, Some(StatusCode::BAD_TIMEOUT));
    let SessionEnd::Lost(why) = source.ended().await else { panic!("a silent device is lost") };
    assert_eq!(why, "unit 1 did not answer within 200ms");
    assert!(begun.elapsed() < SOON);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_goes_ahead_of_the_polls() {
    // Every answer takes 50 ms and the tags make forty requests: a write that waited its turn would take two seconds.
    let addr = hostile(|request| {
        std::thread::sleep(Duration::from_millis(50));
        match request[7] {
            3 => framed(request, &[3, 2, 0, 7]),
            _ => framed(request, &request[7..12]),
        }
    })
    .await;
    let keys: Vec<&'static str> =
        (0..40).map(|index| &*Box::leak(format!("address = \"holding:{}\"", index * 100).into_boxed_str())).collect();
    let paths: Vec<&'static str> = (0..40).map(|index| &*Box::leak(format!("T{index}").into_boxed_str())).collect();
    let tags: Vec<_> = paths.iter().zip(&keys).map(|(path, keys)| tag(path, "UInt16", keys)).collect();
    let source = start(&format!("url = \"tcp://{addr}\"\npoll = \"1ms\""), &tags);
    source.until("a sample", |seen| seen.samples > 0).await;
    let begun = Instant::now();
    assert_eq!(source.write("T39", Value::UInt16(1)).await, Some(StatusCode::GOOD));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let status = source.write("T0", Value::UInt16(1)).await;
    assert_eq!(status, Some(StatusCode::GOOD));
    assert_eq!(source.stop().await, SessionEnd::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn exceptions_become_the_statuses_of_their_tags() {
    for (code, read, write) in [
        (1, StatusCode::BAD_CONFIGURATION_ERROR, StatusCode::BAD_NOT_SUPPORTED),
        (2, StatusCode::BAD_CONFIGURATION_ERROR, StatusCode::BAD_CONFIGURATION_ERROR),
        (3, StatusCode::BAD_CONFIGURATION_ERROR, StatusCode::BAD_OUT_OF_RANGE),
        (4, StatusCode::BAD_DEVICE_FAILURE, StatusCode::BAD_DEVICE_FAILURE),
        (6, StatusCode::BAD_RESOURCE_UNAVAILABLE, StatusCode::BAD_RESOURCE_UNAVAILABLE),
        (8, StatusCode::BAD_DEVICE_FAILURE, StatusCode::BAD_DEVICE_FAILURE),
        (10, StatusCode::BAD_NO_COMMUNICATION, StatusCode::BAD_COMMUNICATION_ERROR),
        (11, StatusCode::BAD_NO_COMMUNICATION, StatusCode::BAD_COMMUNICATION_ERROR),
        (0x41, StatusCode::BAD_DEVICE_FAILURE, StatusCode::BAD_DEVICE_FAILURE),
    ] {
        let addr = hostile(move |request| framed(request, &[request[7] | 0x80, code])).await;
        let tags = [tag("A", "UInt16", "address = \"holding:0\"")];
        let source = start(&format!("url = \"tcp://{addr}\"\npoll = \"20ms\""), &tags);
        source.status("A", read).await;
        assert_eq!(source.write("A", Value::UInt16(1)).await, Some(write), "exception {code}");
        assert!(source.seen(|seen| seen.alive > 0 && seen.connected == 1), "an exception proves the link");
        assert_eq!(source.stop().await, SessionEnd::Stopped);
    }
}
