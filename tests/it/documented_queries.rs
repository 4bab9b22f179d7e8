//! The queries that the documents of the original and of its SDKs show, over the wire: each has the result that they promise.
//!
//! A result is the whole event, as `#` and its offset, or a row, as JSON.

use bytes::Bytes;
use ensign::api::ensign::{
    Event, EventWrapper, OpenStream, Parameter, PublisherRequest, Query, Topic, Type, ensign_client::EnsignClient,
    parameter::Value, publisher_reply::Embed as Reply, publisher_request::Embed as Sent,
};
use futures_util::stream;
use prost::Message;
use tonic::{Code, Request, Status, metadata::AsciiMetadataValue, transport::Channel};

use crate::harness::TestServer;

const JSON: i32 = 50;

/// The type of row events.
const ROW_TYPE: &str = "EnSQL";

/// Sensors with readings: type, version, data.
const SENSORS: [(&str, u32, &str); 6] = [
    (
        "Reading",
        1,
        r#"{"id": 1, "timestamp": "2023-07-29T12:03:04-05:00", "sensor": "Alpha", "reading": 11.5, "ok": true}"#,
    ),
    (
        "Reading",
        1,
        r#"{"id": 2, "timestamp": "2023-07-29T12:03:05-05:00", "sensor": "beta", "reading": -3, "ok": false}"#,
    ),
    (
        "Reading",
        2,
        r#"{"id": 3, "timestamp": "2023-07-29T12:03:06-05:00", "sensor": "alphabet", "reading": 40, "ok": true}"#,
    ),
    ("Status", 1, r#"{"id": 4, "timestamp": "2023-07-29T12:03:07-05:00", "sensor": "gamma", "ok": false}"#),
    (
        "Reading",
        2,
        r#"{"id": 5, "timestamp": "2023-07-29T12:03:08-05:00", "sensor": "it's", "reading": 40, "ok": true}"#,
    ),
    (
        "Reading",
        8,
        r#"{"id": 6, "timestamp": "2023-07-29T12:03:09-05:00", "sensor": "beta", "reading": 7, "asset": "a-1"}"#,
    ),
];

const ALBUMS: [(&str, u32, &str); 4] = [
    ("Album", 1, r#"{"pid": "S49se6A0jDYazozoQoVlVq", "name": "one", "year": "2001"}"#),
    ("Album", 1, r#"{"pid": "e6AsYazVS0jQolVqzoD49o", "name": "two", "year": "2008"}"#),
    ("Album", 1, r#"{"pid": "S49se6A0jDYazozoQoVlVq", "name": "one", "year": "2001"}"#),
    ("Album", 1, r#"{"pid": "lqQjVYoazoVse649A0ozDS", "name": "three", "year": "2000"}"#),
];

const LISTENS: [(&str, u32, &str); 4] = [
    (
        "Listen",
        1,
        r#"{"user": "112", "pid": "lqQjVYoazoVse649A0ozDS", "track": "1", "timestamp": "2022-02-08T09:30:34-04:00"}"#,
    ),
    (
        "Listen",
        1,
        r#"{"user": "745", "pid": "e6AsYazVS0jQolVqzoD49o", "track": "5", "timestamp": "2022-02-11T08:33:15-04:00"}"#,
    ),
    (
        "Listen",
        1,
        r#"{"user": "112", "pid": "e6AsYazVS0jQolVqzoD49o", "track": "1", "timestamp": "2022-05-11T12:59:59-04:00"}"#,
    ),
    (
        "Listen",
        1,
        r#"{"user": "933", "pid": "lqQjVYoazoVse649A0ozDS", "track": "1", "timestamp": "2022-05-11T13:54:28-04:00"}"#,
    ),
];

/// A server with topics, and a client of it.
struct Scene {
    server: TestServer,
    client: EnsignClient<Channel>,
    token: AsciiMetadataValue,
}

impl Scene {
    fn new() -> Scene {
        let server = TestServer::start();
        let (token, addr) = server.access();
        let channel = Channel::from_shared(format!("http://{addr}")).unwrap();
        let channel = server.block_on(channel.connect()).unwrap();
        Scene { server, client: EnsignClient::new(channel), token: format!("Bearer {token}").parse().unwrap() }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.token.clone());
        request
    }

    /// Makes a topic, and publishes events to it; gives their identifiers.
    fn publish(&self, topic: &str, events: &[(&str, u32, &str)]) -> Vec<String> {
        let mut client = self.client.clone();
        let created = client.create_topic(self.request(Topic { name: topic.to_owned(), ..Topic::default() }));
        let topic_id = self.server.block_on(created).unwrap().into_inner().id;
        let wrapper = |(at, (name, version, data)): (usize, &(&str, u32, &str))| {
            let event = Event {
                data: Bytes::copy_from_slice(data.as_bytes()),
                mimetype: JSON,
                r#type: Some(Type { name: (*name).to_owned(), major_version: *version, ..Type::default() }),
                ..Event::default()
            };
            EventWrapper {
                topic_id: topic_id.clone(),
                event: event.encode_to_vec().into(),
                local_id: Bytes::copy_from_slice(&at.to_be_bytes()),
                ..EventWrapper::default()
            }
        };
        let open = Sent::OpenStream(OpenStream { client_id: "documents".to_owned(), topics: Vec::new() });
        let sent = std::iter::once(open).chain(events.iter().enumerate().map(wrapper).map(Sent::Event));
        let sent: Vec<_> = sent.map(|embed| PublisherRequest { embed: Some(embed) }).collect();
        let request = self.request(stream::iter(sent));
        let acks = self.server.block_on(async {
            let mut replies = client.publish(request).await.unwrap().into_inner();
            let mut acks = 0;
            while let Some(reply) = replies.message().await.unwrap() {
                acks += usize::from(matches!(reply.embed, Some(Reply::Ack(_))));
            }
            acks
        });
        assert_eq!(acks, events.len());
        let stored = self.events(&format!("SELECT * FROM '{topic}'"), Vec::new()).unwrap();
        stored.iter().map(|event| ensign::model::Rlid::from_slice(&event.id).unwrap().to_string()).collect()
    }

    fn events(&self, query: &str, params: Vec<Parameter>) -> Result<Vec<EventWrapper>, Status> {
        let mut client = self.client.clone();
        let request = self.request(Query { query: query.to_owned(), params, include_duplicates: false });
        self.server.block_on(async {
            let mut answer = client.en_sql(request).await?.into_inner();
            let mut events = Vec::new();
            while let Some(event) = answer.message().await? {
                events.push(event);
            }
            Ok(events)
        })
    }

    fn results(&self, query: &str, params: Vec<Parameter>) -> Result<Vec<String>, Status> {
        let result = |wrapper: &EventWrapper| {
            let event = Event::decode(&*wrapper.event).unwrap();
            let is_row = event.r#type.is_some_and(|kind| kind.name == ROW_TYPE);
            if is_row { String::from_utf8(event.data.to_vec()).unwrap() } else { format!("#{}", wrapper.offset) }
        };
        Ok(self.events(query, params)?.iter().map(result).collect())
    }

    #[track_caller]
    fn check(&self, query: &str, expected: &[&str]) {
        let found = self.results(query, Vec::new());
        assert_eq!(found.unwrap_or_else(|status| panic!("{query:.200}: {status}")), expected, "{query:.200}");
    }

    #[track_caller]
    fn check_refused(&self, query: &str, message: &str) {
        let status = self.results(query, Vec::new()).unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, message), "{query:.200}");
    }
}

#[test]
fn the_reference_of_the_syntax() {
    let scene = Scene::new();
    let ids = scene.publish("sensors", &SENSORS);
    for (query, expected) in [
        // SELECT
        ("SELECT * FROM sensors", &["#1", "#2", "#3", "#4", "#5", "#6"][..]),
        ("select * from sensors;", &["#1", "#2", "#3", "#4", "#5", "#6"]),
        (
            "SELECT timestamp, reading FROM sensors LIMIT 2",
            &[
                r#"{"timestamp":"2023-07-29T12:03:04-05:00","reading":11.5}"#,
                r#"{"timestamp":"2023-07-29T12:03:05-05:00","reading":-3}"#,
            ],
        ),
        ("SELECT reading AS sensor_reading FROM sensors LIMIT 1", &[r#"{"sensor_reading":11.5}"#]),
        ("SELECT reading FROM sensors WHERE id = 4", &[r#"{"reading":null}"#]),
        ("SELECT asset, id AS order_id FROM sensors WHERE id = 6", &[r#"{"asset":"a-1","order_id":6}"#]),
        // FROM
        ("SELECT * FROM sensors.Reading", &["#1", "#2", "#3", "#5", "#6"]),
        ("SELECT * FROM sensors.Reading.1", &["#1", "#2"]),
        ("SELECT * FROM sensors.Reading.010", &["#6"]),
        ("SELECT * FROM sensors.Status", &["#4"]),
        ("SELECT * FROM sensors.*", &["#1", "#2", "#3", "#4", "#5", "#6"]),
        ("SELECT * FROM sensors.Other", &[]),
        // WHERE
        ("SELECT * FROM sensors WHERE reading = 40", &["#3", "#5"]),
        ("SELECT * FROM sensors WHERE sensor = 'beta'", &["#2", "#6"]),
        (r"SELECT * FROM sensors WHERE sensor = 'it\'s'", &["#5"]),
        ("SELECT * FROM sensors WHERE ok = t", &[]),
        ("SELECT * FROM sensors WHERE ok = true", &["#1", "#3", "#5"]),
        ("SELECT * FROM sensors WHERE ok = False", &["#2", "#4"]),
        ("SELECT * FROM sensors WHERE (reading = 40 AND id = 3) OR sensor = 'gamma'", &["#3", "#4"]),
        ("SELECT * FROM sensors.Reading.2 WHERE id > 3", &["#5"]),
        // LIMIT and OFFSET
        ("SELECT * FROM sensors LIMIT 2", &["#1", "#2"]),
        ("SELECT * FROM sensors LIMIT 100", &["#1", "#2", "#3", "#4", "#5", "#6"]),
        ("SELECT * FROM sensors LIMIT 0", &[]),
        ("SELECT * FROM sensors OFFSET 4", &["#5", "#6"]),
        ("SELECT * FROM sensors OFFSET 0", &["#1", "#2", "#3", "#4", "#5", "#6"]),
        ("SELECT * FROM sensors OFFSET 100", &[]),
        ("SELECT * FROM sensors OFFSET 1 LIMIT 2", &["#2", "#3"]),
        ("SELECT * FROM sensors LIMIT 2 OFFSET 1", &["#2", "#3"]),
        ("SELECT * FROM sensors WHERE ok = true OFFSET 1 LIMIT 1", &["#3"]),
        // What was announced: NOT, BEFORE, AFTER, DISTINCT.
        ("SELECT * FROM sensors WHERE NOT ok = true AND id > 2", &["#4"]),
        ("SELECT * FROM sensors AFTER 2 BEFORE 5", &["#3", "#4"]),
        ("SELECT DISTINCT sensor FROM sensors.Reading.1", &[r#"{"sensor":"Alpha"}"#, r#"{"sensor":"beta"}"#]),
    ] {
        scene.check(query, expected);
    }
    scene.check(&format!("SELECT * FROM sensors OFFSET '{}'", ids[4]), &["#5", "#6"]);
    scene.check(&format!("SELECT * FROM sensors AFTER '{}'", ids[4]), &["#6"]);
    scene.check(&format!("SELECT * FROM sensors BEFORE '{}'", ids[1]), &["#1"]);
}

#[test]
fn the_reference_of_the_operators() {
    let scene = Scene::new();
    scene.publish("sensors", &SENSORS);
    for (condition, expected) in [
        ("reading = 40", &["#3", "#5"][..]),
        ("reading != 40", &["#1", "#2", "#6"]),
        ("reading <> 40", &["#1", "#2", "#6"]),
        ("reading > 7", &["#1", "#3", "#5"]),
        ("reading >= 7", &["#1", "#3", "#5", "#6"]),
        ("reading < 7", &["#2"]),
        ("reading <= 7", &["#2", "#6"]),
        ("reading = -3", &["#2"]),
        ("reading > 11.4", &["#1", "#3", "#5"]),
        ("sensor like 'beta'", &["#2", "#6"]),
        ("sensor like 'alpha%'", &["#3"]),
        ("sensor LIKE '%a'", &["#1", "#2", "#4", "#6"]),
        ("sensor like '_eta'", &["#2", "#6"]),
        ("sensor ilike 'ALPHA%'", &["#1", "#3"]),
        ("ok = true AND reading = 40", &["#3", "#5"]),
        ("reading = 40 OR sensor = 'beta'", &["#2", "#3", "#5", "#6"]),
        // AND goes before OR, on either side, and parentheses before both; NOT before AND.
        ("id = 1 OR id = 2 AND ok = true", &["#1"]),
        ("id = 2 AND ok = true OR id = 1", &["#1"]),
        ("(id = 1 OR id = 2) AND ok = true", &["#1"]),
        ("ok = true AND (id = 1 OR id = 2 OR (id = 3 AND reading = 40))", &["#1", "#3"]),
        ("NOT id = 1 AND ok = true", &["#3", "#5"]),
    ] {
        scene.check(&format!("SELECT * FROM sensors WHERE {condition}"), expected);
    }
}

/// The guides and the code that come with the original.
#[test]
fn the_examples() {
    let scene = Scene::new();
    let position = r#"{"icao24": "ac2f83", "callsign": "", "origin_country": "United States"}"#;
    let kinds = ["FlightVector", "FlightUpdate", "FlightVector", "FlightUpdate", "FlightVector"];
    scene.publish("flight-positions", &kinds.map(|kind| (kind, 0, position)));
    scene.publish("albums", &ALBUMS);
    scene.publish("listens", &LISTENS);
    for (query, expected) in [
        ("SELECT * FROM flight-positions", &["#1", "#2", "#3", "#4", "#5"][..]),
        ("SELECT * FROM flight-positions.FlightUpdate", &["#2", "#4"]),
        ("SELECT * FROM flight-positions OFFSET 1", &["#2", "#3", "#4", "#5"]),
        ("SELECT * FROM flight-positions OFFSET 1 LIMIT 3", &["#2", "#3", "#4"]),
        ("SELECT * FROM flight-positions LIMIT 10", &["#1", "#2", "#3", "#4", "#5"]),
        ("SELECT * FROM albums ORDER BY year;", &["#4", "#1", "#3", "#2"]),
        // Sample queries with the quotes that their values need.
        (
            "SELECT DISTINCT pid, name FROM albums WHERE pid IN ('S49se6A0jDYazozoQoVlVq', 'e6AsYazVS0jQolVqzoD49o');",
            &[r#"{"pid":"S49se6A0jDYazozoQoVlVq","name":"one"}"#, r#"{"pid":"e6AsYazVS0jQolVqzoD49o","name":"two"}"#],
        ),
        (
            "SELECT DISTINCT user FROM listens WHERE timestamp < '2022-05-11T13:00:00-04:00';",
            &[r#"{"user":"112"}"#, r#"{"user":"745"}"#],
        ),
        (
            "SELECT DISTINCT user FROM listens WHERE CAST(timestamp AS TIMESTAMP) < '2022-05-11T17:00:00Z';",
            &[r#"{"user":"112"}"#, r#"{"user":"745"}"#],
        ),
        ("SELECT * FROM listens WHERE pid == 'lqQjVYoazoVse649A0ozDS' AND track == '1';", &["#1", "#4"]),
        // Without them a value is the name of a field, which no event has.
        ("SELECT * FROM listens WHERE pid == lqQjVYoazoVse649A0ozDS AND track == 1;", &[]),
    ] {
        scene.check(query, expected);
    }
    for (query, message) in [
        (
            "SELECT DISTINCT FROM albums WHERE pid IN (S49se6A0jDYazozoQoVlVq, e6AsYazVS0jQolVqzoD49o);",
            "SELECT requires field projection or *",
        ),
        (
            "SELECT DISTINCT user FROM listens WHERE timestamp < 2022-05-11T13:00:00-04:00;",
            r#"syntax error at position 62 near "T13": invalid where clause"#,
        ),
        (
            "SELECT albums.pid, albums.name FROM albums INNER JOIN listens ON albums.pid=listens.pid;",
            r#"syntax error at position 43 near "INNER": invalid from clause"#,
        ),
        ("SELECT * FROM topic LIMIT", r#"syntax error at position 25 near "": invalid limit"#),
        ("", "invalid query"),
        ("  ", "empty query is invalid"),
        ("SELECT * FROM otters", "unknown topic in query"),
    ] {
        scene.check_refused(query, message);
    }
}

#[test]
fn parameters_of_every_kind() {
    let scene = Scene::new();
    scene.publish("sensors", &SENSORS);
    let named = |name: &str, value: Value| Parameter { name: name.to_owned(), value: Some(value) };
    for (condition, value, expected) in [
        ("id = :v", Value::I(3), &["#3"][..]),
        ("reading = :v", Value::I(-3), &["#2"]),
        ("reading > :v", Value::D(11.25), &["#1", "#3", "#5"]),
        ("ok = :v", Value::B(false), &["#2", "#4"]),
        ("CAST(sensor AS BLOB) = @v", Value::Y(Bytes::from_static(b"gamma")), &["#4"]),
        ("sensor = @v", Value::S("it's".to_owned()), &["#5"]),
        ("sensor LIKE ?", Value::S("%a".to_owned()), &["#1", "#2", "#4", "#6"]),
        ("id > 1 LIMIT :v", Value::I(2), &["#2", "#3"]),
        // A value is a value, whatever it looks like.
        ("sensor = :v", Value::S("x' OR 'a' = 'a".to_owned()), &[]),
        ("id = :v", Value::S("3".to_owned()), &[]),
    ] {
        let query = format!("SELECT * FROM sensors WHERE {condition}");
        let found = scene.results(&query, vec![named("v", value), named("unused", Value::I(1))]).unwrap();
        assert_eq!(found, expected, "{query}");
    }
}

/// What is made to hurt ends with an error or an answer, and the server goes on.
#[test]
fn hostile_queries() {
    let scene = Scene::new();
    scene.publish("sensors", &SENSORS);
    let conditions = |count: usize| format!("SELECT * FROM sensors WHERE id = 3{}", " AND reading = 40".repeat(count));
    let nested = |open: &str, close: &str, depth: usize| {
        format!("SELECT * FROM sensors WHERE {}id = 3{}", open.repeat(depth), close.repeat(depth))
    };
    scene.check(&conditions(2_000), &["#3"]);
    scene.check(&nested("(", ")", 45), &["#3"]);
    scene.check(&nested("NOT NOT ", "", 20), &["#3"]);
    scene.check(&nested("CAST(", " AS BOOLEAN)", 45), &["#3"]);
    scene.check(&nested("CASE WHEN ", " THEN true END", 22), &["#3"]);
    let refused = |query: &str, reason: &str| {
        let status = scene.results(query, Vec::new()).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{query:.100}");
        assert!(status.message().ends_with(reason), "{} for {query:.100}", status.message());
    };
    refused(&conditions(5_000), "a query has at most 8000 words and signs");
    for (open, close) in
        [("(", ")"), ("NOT ", ""), ("CAST(", " AS BOOLEAN)"), ("lower(", ")"), ("CASE WHEN ", " THEN 1 END")]
    {
        for depth in [50, 1_000] {
            refused(&nested(open, close, depth), "an expression is nested at most 50 deep");
        }
    }
    refused(
        &format!("SELECT * FROM sensors WHERE id{}", "::int".repeat(3_900)),
        "an expression is nested at most 64 deep",
    );
    refused(
        &format!("SELECT * FROM sensors WHERE id IN ({}1)", "1,".repeat(500_000)),
        "a query has at most 50000 numbers and texts",
    );
    scene.check(&format!("SELECT * FROM sensors WHERE sensor LIKE '{}b'", "%a%_".repeat(50_000)), &[]);
    scene.check("SELECT * FROM sensors LIMIT 1", &["#1"]);
}
