//! Queries: results in every form, parameters, mistakes.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::machine::{Done, Machine, Run, repository, wait_for};

const ORDERS: &str = r#"{"order_id":"o-1","total":120,"country":"DE","customer":{"name":"Ada"},"items":[{"sku":"A-1"},{"sku":"B-2"}]}
{"order_id":"o-2","total":80.5,"country":"FR","customer":{"name":"Zoë"},"items":[{"sku":"C-3"}]}
{"order_id":"o-3","total":250,"country":"FR","customer":{"name":"Mei, 美"},"items":[]}
{"order_id":"o-4","total":900,"country":"US","customer":null,"note":"line\nbreak \"quoted\""}
{"order_id":"o-5","total":101,"country":"DE","customer":{"name":"Bob"},"items":[{"sku":"A-1"}]}
"#;

/// Asks a query, with further arguments behind it.
fn query<'a>(machine: &'a Machine, text: &str, arguments: &str) -> Run<'a> {
    let arguments = arguments.split(' ').filter(|argument| !argument.is_empty());
    machine.run(["query", text].into_iter().chain(arguments))
}

/// What standard error says, but for the time that it took.
fn told(done: &Done) -> String {
    let times = done.stderr.lines().map(|line| match line.split_once(" in ") {
        Some((rows, rest)) if rest.contains(" ms") || rest.contains(" s") => {
            let rest = rest.split_once(';').map_or(String::new(), |(_, rest)| format!(";{rest}"));
            format!("{rows}{rest}\n")
        }
        _ => format!("{line}\n"),
    });
    times.collect()
}

/// The examples of docs/ensql.md.
#[test]
fn the_examples_of_the_reference() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish orders -q --format jsonl").stdin(ORDERS).check();
    let done =
        query(&machine, "SELECT * FROM orders WHERE total > 100 AND country IN ('DE', 'FR') LIMIT 10", "-o table")
            .stdout(
                "_offset  order_id  total  country  customer            items\n      \
             1  o-1         120  DE       {\"name\":\"Ada\"}      [{\"sku\":\"A-1\"},{\"sku\":\"B-2\"}]\n      \
             3  o-3         250  FR       {\"name\":\"Mei, 美\"}  []\n      \
             5  o-5         101  DE       {\"name\":\"Bob\"}      [{\"sku\":\"A-1\"}]\n",
            )
            .check();
    assert_eq!(told(&done), "3 rows\n");

    let rows =
        query(&machine, "SELECT customer.name AS who, items[0].sku, _committed FROM orders AFTER '-1h'", "-o json")
            .stderr("")
            .check()
            .json();
    let committed = rows[0]["_committed"].as_str().unwrap();
    assert!(committed.ends_with('Z'), "{committed}");
    assert_eq!(
        rows,
        json!([
            { "who": "Ada", "items[0].sku": "A-1", "_committed": committed },
            { "who": "Zoë", "items[0].sku": "C-3", "_committed": committed },
            { "who": "Mei, 美", "items[0].sku": null, "_committed": committed },
            { "who": null, "items[0].sku": null, "_committed": committed },
            { "who": "Bob", "items[0].sku": "A-1", "_committed": committed },
        ])
    );
    query(
        &machine,
        "SELECT country, count(*) AS n, avg(total), approx_percentile(total, 0.95) FROM orders \
         GROUP BY country HAVING n > 1 ORDER BY n DESC",
        "-q -o csv",
    )
    .stdout("country,n,avg(total),\"approx_percentile(total, 0.95)\"\nDE,2,110.5,120.0\nFR,2,165.25,250.0\n")
    .stderr("")
    .check();
    let windows =
        query(&machine, "SELECT window('5 minutes') AS start, count(*) FROM orders GROUP BY start", "-o json");
    let windows = windows.check().json();
    assert_eq!((windows[0]["count(*)"].as_u64(), windows.as_array().unwrap().len()), (Some(5), 1));
    let backwards = query(&machine, "SELECT * FROM orders ORDER BY _offset DESC LIMIT 10", "-q").check();
    let mut expected: Vec<String> =
        ORDERS.lines().zip(1..).map(|(line, offset)| format!("{{\"_offset\":{offset},{}\n", &line[1..])).collect();
    expected.reverse();
    assert_eq!(backwards.text(), expected.concat());
}

/// The queries of the original that its documents and its tests name.
#[test]
fn the_queries_that_the_original_names() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish orders -q --format jsonl").stdin(ORDERS).check();
    machine.ensign("publish testing.topics.a -q -m x").check();
    query(&machine, "SELECT * FROM testing.topics.a", "-q").stdout("{\"_offset\":1,\"data\":\"x\"}\n").check();
    query(&machine, "SELECT * FROM orders OFFSET 4;", "-q -o raw")
        .stdout(&format!("{}\n", ORDERS.lines().nth(4).unwrap()))
        .check();
    query(&machine, "SELECT * FROM orders LIMIT 1 OFFSET 1", "-q -o template={offset}").stdout("2\n").check();
    query(&machine, "SELECT * FROM orders OFFSET 1 LIMIT 1", "-q -o")
        .arg("template={topic} {offset}")
        .stdout("orders 2\n")
        .check();
    query(&machine, "SELECT * FROM orders LIMIT 0", "-q").stdout("").check();
    query(&machine, "SELECT DISTINCT country FROM orders", "-q -o csv").stdout("country\nDE\nFR\nUS\n").check();
    query(&machine, "SELECT order_id FROM orders WHERE country == 'DE' AND total == 101", "-q -o csv")
        .stdout("order_id\no-5\n")
        .check();
}

#[test]
fn real_data_in_every_form() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    for topic in ["flights", "earthquakes"] {
        let file = repository("tests/data").join(format!("{topic}.jsonl"));
        machine.ensign(&format!("publish {topic} -q")).file(&file).check();
    }
    let flights = fs::read_to_string(repository("tests/data/flights.jsonl")).unwrap();
    let raw = query(&machine, "SELECT * FROM flights", "-o raw").check();
    assert!(raw.text() == flights, "what comes out is not what was published");
    assert_eq!(told(&raw), "20,000 rows\n");

    let values: Vec<Value> = flights.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let late = values.iter().filter(|flight| flight["delay"].as_i64() > Some(60)).count();
    let counted = format!("{{\"late\":{late}}}\n");
    query(&machine, "SELECT count(*) AS late FROM flights WHERE delay > 60", "-q").stdout(&counted).check();
    let csv = query(&machine, "SELECT * FROM flights", "-q -o csv").check();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut expected = "_offset,date,delay,distance,origin,destination\n".to_owned();
    for (flight, offset) in values.iter().zip(1..) {
        let cells = ["date", "delay", "distance", "origin", "destination"].map(|name| text(&flight[name]));
        writeln!(expected, "{offset},{}", cells.join(",")).unwrap();
    }
    assert!(csv.text() == expected, "not the same as CSV");
    let table = query(&machine, "SELECT date, delay, origin FROM flights", "-q -o table").check();
    let mut lines = table.text().lines();
    assert_eq!(lines.next(), Some("date              delay  origin"));
    for (line, flight) in lines.zip(&values) {
        assert_eq!(
            line,
            format!("{:16}  {:>5}  {}", text(&flight["date"]), text(&flight["delay"]), text(&flight["origin"]))
        );
    }
    let rows = query(&machine, "SELECT * FROM flights", "-o json").check().json();
    assert_eq!((rows.as_array().unwrap().len(), &rows[19_999]["_offset"]), (20_000, &json!(20_000)));
    query(&machine, "SELECT title, mag FROM earthquakes ORDER BY mag DESC LIMIT 1", "-q -o yaml")
        .stdout("- title: M 6.4 - 22km NNE of Hualian, Taiwan\n  mag: 6.4\n")
        .check();
    query(&machine, "SELECT max(mag) FROM earthquakes", "-q --jq").arg(".[\"max(mag)\"]").stdout("6.4\n").check();
}

#[test]
fn events_that_are_no_objects_and_those_that_differ() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish mixed -q -m").arg("two\nlines").check();
    machine
        .ensign("publish mixed -q --mimetype application/json -m")
        .arg("{\"a\": 1.50,\n \"_offset\":\"own\"}")
        .check();
    machine.ensign("publish mixed -q --mimetype application/json -m [1,2]").check();
    machine.ensign("publish mixed -q").file(&machine.file("x.pb", [0, 255])).check();
    query(&machine, "SELECT * FROM mixed", "-q -o jsonl")
        .stdout(
            "{\"_offset\":1,\"data\":\"two\\nlines\"}\n\
             {\"_offset\":2,\"a\":1.50,\"\\\"_offset\\\"\":\"own\"}\n\
             {\"_offset\":3,\"data\":[1,2]}\n\
             {\"_offset\":4,\"encoding\":\"base64\",\"data\":\"AP8=\"}\n",
        )
        .check();
    query(&machine, "SELECT * FROM mixed", "-q -o table")
        .stdout(
            "_offset  data                              a  \"_offset\"\n      \
             1  two\\nlines\n      \
             2                                 1.50  own\n      \
             3  [1,2]\n      \
             4  (2 B of application/protobuf)\n",
        )
        .check();
    query(&machine, "SELECT * FROM mixed", "-q -o csv")
        .stdout(
            "_offset,data,a,\"\"\"_offset\"\"\",encoding\n1,\"two\nlines\",,,\n2,,1.50,own,\n3,\"[1,2]\",,,\n4,AP8=,,,base64\n",
        )
        .check();

    // Fields that come when the columns are fixed are named.
    let mut lines: Vec<String> = (0..1_000).map(|number| format!("{{\"n\":{number}}}")).collect();
    lines.push("{\"n\":1000,\"later\":true}".to_owned());
    machine.ensign("publish growing -q --format jsonl").stdin(lines.join("\n")).check();
    let done = query(&machine, "SELECT * FROM growing", "-o csv").check();
    assert_eq!(done.text().lines().last(), Some("1001,1000"));
    assert_eq!(
        told(&done),
        "later events have fields that are no columns: later; a SELECT that names them shows them\n1,001 rows\n"
    );
    machine.ensign("publish broken -q --mimetype application/json -m").arg("{\"a\":1").check();
    machine.ensign("publish broken -q --mimetype application/json -m").arg("{\"a\":1}").check();
    let done = query(&machine, "SELECT a FROM broken", "-o csv").stdout("a\n1\n").check();
    assert_eq!(told(&done), "1 row; 1 event could not be decoded\n");
}

/// Events of one record have their header in the metadata, those of a whole table in their data.
#[test]
fn csv_as_it_is_published() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let table = machine.file("people.csv", "name,age,note\r\nAda,36,\r\n\"Zoë, \"\"Z\"\"\",7,\"two\nlines\"\r\n");
    machine.ensign("publish records -q").file(&table).check();
    machine.ensign("publish tables -q --format raw").file(&table).check();
    for topic in ["records", "tables"] {
        query(&machine, &format!("SELECT count(*) AS n, sum(age) AS age FROM {topic}"), "-q -o csv")
            .stdout("n,age\n2,43\n")
            .check();
        query(&machine, &format!("SELECT name, note FROM {topic} WHERE age < 40"), "-q -o jsonl")
            .stdout("{\"name\":\"Ada\",\"note\":null}\n{\"name\":\"Zoë, \\\"Z\\\"\",\"note\":\"two\\nlines\"}\n")
            .check();
    }
    query(&machine, "SELECT * FROM records WHERE name = 'Ada'", "-q -o raw").stdout("Ada,36,\n").check();
}

#[test]
fn odd_events_do_not_stand_in_the_way_of_others() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    for data in [r#"{"a":1}"#, r#"{"\ud800":1}"#, r#"{"a":1e999}"#, r#"{"a":2}"#] {
        machine.ensign("publish odd -q --mimetype application/json -m").arg(data).check();
    }
    for (format, expected) in [
        (
            "-o table",
            "_offset  a  data\n      1  1\n      2     {\"\\ud800\":1}\n      3     {\"a\":1e999}\n      4  2\n",
        ),
        ("-o csv", "_offset,a,data\n1,1,\n2,,\"{\"\"\\ud800\"\":1}\"\n3,,\"{\"\"a\"\":1e999}\"\n4,2,\n"),
        (
            "-o yaml",
            "- _offset: 1\n  a: 1\n- _offset: 2\n  data: '{\"\\ud800\":1}'\n- _offset: 3\n  data: '{\"a\":1e999}'\n\
             - _offset: 4\n  a: 2\n",
        ),
        ("--jq ._offset", "1\n2\n3\n4\n"),
    ] {
        query(&machine, "SELECT * FROM odd", &format!("-q {format}")).stdout(expected).check();
    }
    let wide: Vec<String> = (0..600).map(|number| format!("\"k{number}\":1")).collect();
    machine.ensign("publish wide -q --format jsonl").stdin(format!("{{{}}}", wide.join(","))).check();
    let done = query(&machine, "SELECT * FROM wide", "-o csv").check();
    assert_eq!(done.text().lines().next().map(|line| line.split(',').count()), Some(500));
    assert_eq!(
        told(&done),
        "there are more than 500 fields, and what comes behind them is left out; `-o jsonl` shows all, and so does a \
         SELECT of fewer\n1 row\n"
    );
}

#[test]
fn a_result_without_rows() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish orders -q --format jsonl").stdin(ORDERS).check();
    let none = "SELECT country, total FROM orders WHERE false";
    for (format, expected) in [
        ("table", "country  total\n"),
        ("csv", "country,total\n"),
        ("json", "[]\n"),
        ("jsonl", ""),
        ("yaml", "[]\n"),
        ("raw", ""),
    ] {
        query(&machine, none, &format!("-q -o {format}")).stdout(expected).stderr("").check();
    }
    assert_eq!(told(&query(&machine, none, "").stdout("").check()), "0 rows\n");
    query(&machine, "SELECT * FROM orders WHERE false", "-q -o csv").stdout("").check();
}

#[test]
fn parameters_of_every_kind() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish orders -q --format jsonl").stdin(ORDERS).check();
    let ids = |condition: &str, parameters: &[&str], expected: &[&str]| {
        let text = format!("SELECT order_id FROM orders WHERE {condition}");
        let flags = parameters.iter().flat_map(|parameter| ["--param", parameter]);
        let done = machine.run(["query", &text, "-q", "--jq", ".order_id"].into_iter().chain(flags)).stderr("").check();
        assert_eq!(done.text().lines().collect::<Vec<_>>(), expected, "{condition}");
    };
    ids("total > :min AND country = :country", &["min=100", "country=DE"], &["o-1", "o-5"]);
    ids("total = @total", &["@total=80.5"], &["o-2"]);
    ids("total > ? AND country = ?", &["=200", "=FR"], &["o-3"]);
    ids("(total > 500) = :large", &["large=true"], &["o-4"]);
    ids("customer.name = :name", &["name='Ada'"], &["o-1"]);
    ids("'101' = :text AND total = 101", &["text='101'"], &["o-5"]);
    ids("CAST(country AS BLOB) = :bytes", &["bytes=x'5553'"], &["o-4"]);
    ids("total = 101 AND :nothing IS NULL", &["nothing=null"], &["o-5"]);
    query(&machine, "SELECT order_id FROM orders WHERE total > :min", "")
        .code(2)
        .stdout("")
        .stderr("error: no value is given for the parameter :min\n")
        .check();
    query(&machine, "SELECT order_id FROM orders", "--param min")
        .code(2)
        .stderr(
            "error: invalid value 'min' for '--param <NAME=VALUE>': write it as NAME=VALUE, or as =VALUE for a `?`\n\
             hint: `ensign --help` explains the commands\n",
        )
        .check();
}

#[test]
fn the_text_of_a_query_from_elsewhere() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish orders -q --format jsonl").stdin(ORDERS).check();
    let text = "-- how many?\nSELECT count(*) AS n\nFROM orders;\n";
    let file = machine.file("count.sql", text);
    machine.ensign("query -q -f").file(&file).stdout("{\"n\":5}\n").check();
    machine.ensign("query -q").stdin(text).stdout("{\"n\":5}\n").check();
    machine.ensign("query -q -f -").stdin(text).stdout("{\"n\":5}\n").check();
    let two = "SELECT count(*) AS n FROM orders; -- and\nSELECT max(total) AS most FROM orders;\n";
    for (format, expected) in [
        ("jsonl", "{\"n\":5}\n{\"most\":900}\n"),
        ("json", "[\n{\"n\":5}\n]\n[\n{\"most\":900}\n]\n"),
        ("csv", "n\n5\n\nmost\n900\n"),
        ("table", "n\n5\n\nmost\n 900\n"),
        ("yaml", "- n: 5\n---\n- most: 900\n"),
    ] {
        machine.ensign(&format!("query -q -o {format}")).stdin(two).stdout(expected).stderr("").check();
    }
    machine
        .ensign("query -q")
        .stdin("SELECT count(*) AS n FROM orders;\nSELECT * FROM orders LIMIT x;\nSELECT 1")
        .code(2)
        .stdout("{\"n\":5}\n")
        .stderr(
            "error: syntax error at position 27 near \"x\": invalid limit\n  \
             SELECT * FROM orders LIMIT x\n                             ^\n",
        )
        .check();
    machine
        .ensign("query --follow")
        .stdin(two)
        .code(2)
        .stderr(
            "error: --follow takes one query, and these are 2\n\
             hint: a query that is followed goes on until it is ended\n",
        )
        .check();
    machine.ensign("query -q -f none.sql").code(3).stderr("error: there is no file none.sql\n").check();
    let nothing = "error: there is no query\n\
                   hint: for example `ensign query 'SELECT * FROM flights LIMIT 10'`; -f FILE reads it from a file\n";
    machine.ensign("query").stdin(" \n").code(2).stderr(nothing).check();
    machine
        .ensign("query")
        .stdin(b"SELECT \xff")
        .code(2)
        .stderr("error: standard input is no text in UTF-8, from byte 7 on\n")
        .check();
}

#[test]
fn a_mistake_is_shown_in_the_query() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish orders -q --format jsonl").stdin(ORDERS).check();
    let check = |text: &str, code, expected: &str| {
        query(&machine, text, "").code(code).stdout("").stderr(expected).check();
        query(&machine, text, "--explain").code(code).stdout("").stderr(expected).check();
    };
    check(
        "SELECT * FORM orders",
        2,
        "error: syntax error at position 9 near \"FORM\": invalid select fields statement\n  \
         SELECT * FORM orders\n           ^\n\
         hint: an alias needs AS; a comma stands between columns, and FROM behind them\n",
    );
    check(
        "\n  SELECT 'größe', 美\n\tFROM orders LIMIT",
        2,
        "error: syntax error at position 40 near \"\": invalid limit\n\
         line 2:  FROM orders LIMIT\n                          ^\n",
    );
    check("SELECT", 2, "error: topic name cannot be empty\n");
    let unknown = "error: there is no topic flihgts\nhint: `ensign topic list` shows what there is\n";
    check("SELECT * FROM flihgts", 3, unknown);
    let error = query(&machine, "SELECT * FORM orders", "-o json").code(2).stdout("").check();
    assert_eq!(
        serde_json::from_str::<Value>(&error.stderr).unwrap(),
        json!({ "error": {
            "code": "usage",
            "message": "syntax error at position 9 near \"FORM\": invalid select fields statement",
            "hint": "an alias needs AS; a comma stands between columns, and FROM behind them",
        } })
    );
    query(&machine, "SELECT total FROM orders", "-o template={data}")
        .code(2)
        .stdout("")
        .stderr(
            "error: a template is for events, which SELECT * gives; this query gives rows\n\
             hint: use -o table, json, jsonl, yaml, csv or raw\n",
        )
        .check();
}

#[test]
fn what_a_query_would_do() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish orders -q --format jsonl").stdin(ORDERS).check();
    let text =
        "SELECT country, count(*) AS n FROM orders OFFSET 1 WHERE total > ? GROUP BY country ORDER BY n DESC LIMIT 3";
    let plan = query(&machine, text, "--explain --param =x'00' -o json").stderr("").check().json();
    assert_eq!((&plan["topic"], &plan["columns"]), (&json!("orders"), &json!(["country", "n"])));
    assert_eq!((&plan["from_offset"], &plan["until_offset"], &plan["events"]), (&json!(2), &json!(6), &json!(4)));
    let size = plan["bytes"].as_u64().unwrap();
    query(&machine, text, "--explain --param =100")
        .stderr("")
        .stdout(&format!(
            "topic        orders\n\
             reads        4 events, offsets 2 to 5, in about 1 block with {size} B\n\
             of the data  country, total\n\
             where        total > ?\n\
             group by     country\n\
             order by     n DESC\n\
             limit        3\n\
             gives        a row for each group, at the end\n\
             columns      country, n\n"
        ))
        .check();
    query(&machine, "SELECT * FROM orders BEFORE 1", "--explain -o table")
        .stdout(
            "topic        orders\nreads        nothing\n\
             of the data  nothing, events are given as they are stored\ngives        events, as they are found\n",
        )
        .check();
}

#[test]
fn what_can_not_be_read() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish orders -q --format jsonl").stdin(ORDERS).check();
    machine.ensign("encryption rotate -q").check();
    machine.ensign("publish orders -q -m after").check();
    machine.ensign("encryption suspend 1 -q").check();
    let done = query(&machine, "SELECT * FROM orders", "").code(1).stdout("").check();
    assert!(
        done.stderr.contains("data key version 1 is suspended")
            && done.stderr.ends_with("\nhint: --skip-unreadable leaves such events out\n"),
        "{}",
        done.stderr
    );
    let done = query(&machine, "SELECT * FROM orders", "--skip-unreadable");
    let done = done.stdout("{\"_offset\":6,\"data\":\"after\"}\n").check();
    assert_eq!(told(&done), "1 row; 5 events left out, whose data key is suspended or revoked\n");
}

#[test]
fn events_under_a_topic_key() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("topic create orders -q").check();
    let made = machine.ensign("encryption topic-key new orders --storage file -q -o json").check().json();
    let key = made["key"].as_str().unwrap();
    machine.ensign("publish orders --encrypt -q --format jsonl").stdin(ORDERS.lines().next().unwrap()).check();
    query(&machine, "SELECT * FROM orders", "-q -o table")
        .stdout(&format!("_offset  data\n      1  [encrypted, key {key}]\n"))
        .check();
    let row = query(&machine, "SELECT * FROM orders", "-o json").check().json();
    assert_eq!(row[0]["encoding"], "base64");
    query(&machine, "SELECT * FROM orders", "-q --decrypt -o raw")
        .stdout(&format!("{}\n", ORDERS.lines().next().unwrap()))
        .stderr("")
        .check();
    query(&machine, "SELECT total FROM orders", "--decrypt")
        .code(2)
        .stderr(
            "error: the server can't read fields of what is encrypted, and the query names some\n\
             hint: --decrypt works with SELECT *\n",
        )
        .check();
    machine.ensign("publish orders -q -m plain").check();
    let done = query(&machine, "SELECT * FROM orders OFFSET 1", "-q --decrypt").code(1).check();
    assert_eq!(
        done.stderr,
        "error: topic orders, offset 2: the event is not encrypted\nhint: --allow-unencrypted shows it as it is\n"
    );
    query(&machine, "SELECT * FROM orders OFFSET 1", "-q --decrypt --allow-unencrypted -o raw")
        .stdout("plain\n")
        .check();
}

/// Whoever reads may leave, and ctrl-c ends the query with what there is.
#[test]
fn nobody_has_to_wait_for_the_end() {
    let machine = Machine::new();
    let server = machine.dev_server();
    let file = repository("tests/data/flights.jsonl");
    machine.ensign("publish flights -q").file(&file).file(&file).file(&file).check();
    // More than the pipe and everybody's buffers hold.
    let text = "SELECT date || date || date || date || date || date || date || date || date || date AS d FROM flights";
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_ensign"))
        .args(["query", text, "-q"])
        .env_clear()
        .env("HOME", machine.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("{\"d\":\"2001/01/01"), "{first}");
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8(ended.stderr).unwrap()), (Some(0), String::new()));

    let slow = format!("SELECT count(*) FROM flights WHERE {}", vec!["date LIKE '%_z_%_y_%'"; 400].join(" OR "));
    let mut waiting = query(&machine, &slow, "").spawn();
    let of_queries =
        |line: &str| line.contains("method=\"EnSQL\"").then(|| line.rsplit_once(' ')?.1.parse::<u64>().ok())?;
    let sum = |name: &str| {
        server.get("/metrics").lines().filter(|line| line.starts_with(name)).filter_map(of_queries).sum::<u64>()
    };
    let running = || sum("grpc_server_started") - sum("grpc_server_handled_total");
    wait_for("the query to run", || (running() == 1).then_some(()));
    waiting.signal(Signal::INT);
    let done = waiting.finish();
    assert_eq!((done.code, done.text(), done.stderr.as_str()), (Some(130), "", ""));
    wait_for("the query to end on the server", || (running() == 0).then_some(()));
}
