//! Forwarding events to an address: what is posted, what is tried again, and where it goes on.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::machine::{Machine, wait_for};

/// What was posted.
#[derive(Debug, Clone)]
struct Request {
    line: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: &TcpStream) -> Option<Request> {
        let mut reader = BufReader::new(stream);
        let mut next = || {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            Some(line.trim_end().to_owned())
        };
        let line = next()?;
        let mut headers = BTreeMap::new();
        while let Some((name, value)) = next()?.split_once(": ") {
            headers.insert(name.to_owned(), value.to_owned());
        }
        let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        Some(Request { line, headers, body })
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// An HTTP server that answers what it is told to, and else that all is well. It ends with the test.
struct Receiver {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    answers: Arc<Mutex<VecDeque<&'static str>>>,
}

impl Receiver {
    fn start() -> Receiver {
        Receiver::at(0)
    }

    fn at(port: u16) -> Receiver {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver = Receiver { port, requests: Arc::default(), answers: Arc::default() };
        let (requests, answers) = (receiver.requests.clone(), receiver.answers.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(request) = Request::read(&stream) else { continue };
                let answer = answers.lock().unwrap().pop_front().unwrap_or("204 No Content\r\n");
                requests.lock().unwrap().push(request);
                drop(write!(stream, "HTTP/1.1 {answer}connection: close\r\ncontent-length: 0\r\n\r\n"));
            }
        });
        receiver
    }

    fn answer(&self, answers: impl IntoIterator<Item = &'static str>) {
        self.answers.lock().unwrap().extend(answers);
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/in", self.port)
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The bodies of all requests, in order.
    fn bodies(&self) -> String {
        self.requests().iter().flat_map(|request| [request.text().to_owned(), "\n".to_owned()]).collect()
    }
}

#[test]
fn each_event_is_posted_once_and_in_order() {
    let machine = Machine::new();
    let server = machine.dev_server();
    let receiver = Receiver::start();
    machine.ensign("publish a -q --type order@1.2.0 --key k1 --meta source=web").stdin("1\n2\n3\n").check();
    let secret = machine.private_file("headers", "Authorization: Bearer hidden\n\nX-Tenant: 7\n");
    let forward = format!("tail a --from start --forward {}?token=hidden --header X-Other:8", receiver.url());
    let forward = format!("{forward} --cloud-events binary --header-file");
    let done = machine.ensign(&forward).file(&secret).arg("-n2").arg("-vvv").stdout("").check();
    assert!(!done.stderr.contains("hidden"), "{}", done.stderr);
    assert!(done.stderr.ends_with(&format!("forwarded 2 events to {}\n", receiver.url())), "{}", done.stderr);
    assert_eq!(receiver.bodies(), "1\n2\n");

    // It goes on where it stopped, also behind a broker that was killed.
    let _server = server.restart(Signal::KILL);
    machine.ensign(&forward).file(&secret).arg("-n1").stdout("").check();
    assert_eq!(receiver.bodies(), "1\n2\n3\n");

    let request = receiver.requests().remove(2);
    assert_eq!(request.line, "POST /in?token=hidden HTTP/1.1");
    let header = |name: &str| request.headers.get(name).map_or("", String::as_str);
    let said = ["authorization", "x-tenant", "x-other", "content-type", "ce-specversion", "ce-type", "ce-offset"];
    assert_eq!(said.map(header), ["Bearer hidden", "7", "8", "text/plain", "1.0", "order", "3"]);
    assert_eq!(["ce-typeversion", "ce-partitionkey", "ce-metasource"].map(header), ["1.2.0", "k1", "web"]);
    assert!(header("ce-source").ends_with("/a") && header("ce-source").starts_with("ensign://"));
    let record = machine.ensign("tail a --from 3 -n 1 -o json").check().json();
    assert_eq!(header("ce-id"), record[0]["id"].as_str().unwrap());
}

#[test]
fn an_event_as_a_document() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let receiver = Receiver::start();
    machine.ensign("publish a -q --mimetype application/json -m {\"a\":1}").check();
    let forward = format!("tail a --from start -n 1 -q --forward {}", receiver.url());
    machine.ensign(&forward).stdout("").stderr("").check();
    let request = receiver.requests().remove(0);
    assert_eq!(request.headers["content-type"], "application/cloudevents+json; charset=utf-8");
    let document: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((&document["datacontenttype"], &document["data"]), (&json!("application/json"), &json!({ "a": 1 })));
    assert_eq!((&document["type"], &document["offset"]), (&json!("dev.ensign.event"), &json!("1")));
}

#[test]
fn what_is_not_taken_is_tried_again_before_the_next() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish a -q").stdin("1\n2\n").check();
    // Nobody is there at first.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut process = machine
        .ensign(&format!("tail a --from start -n 2 --cloud-events binary --forward http://127.0.0.1:{port}/in"))
        .spawn();
    wait_for("an attempt", || process.stderr().contains("; trying again in ").then_some(()));
    let receiver = Receiver::at(port);
    receiver.answer(["503 Service Unavailable\r\nretry-after: 0\r\n", "429 Too Many Requests\r\n", "200 OK\r\n"]);
    let done = process.finish();
    assert_eq!((done.code, done.text()), (Some(0), ""), "{}", done.stderr);
    assert_eq!(receiver.bodies(), "1\n1\n1\n2\n");
    let busy = format!(
        "topic a, offset 1: {} did not take the event: 429 Too Many Requests; trying again in ",
        receiver.url()
    );
    assert!(done.stderr.contains(&busy), "{}", done.stderr);
}

#[test]
fn what_is_refused_is_the_end_or_is_put_away() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    let receiver = Receiver::start();
    machine.ensign("publish a -q").stdin("1\n2\n3\n").check();
    let forward = format!("tail a --from start --group f --cloud-events binary --forward {}", receiver.url());
    receiver.answer(["200 OK\r\n", "400 Bad Request\r\n"]);
    let done = machine.ensign(&forward).code(1).stdout("").check();
    let error = format!("error: topic a, offset 2: {} refused event ", receiver.url());
    let hint = ": 400 Bad Request\nhint: the same command goes on with this event; \
                --max-deliveries 5 puts such events away in another topic\n";
    assert!(done.stderr.contains(&error) && done.stderr.ends_with(hint), "{}", done.stderr);
    // The same event again, delivered for the second time, which now goes elsewhere, and the one behind it.
    receiver.answer(["400 Bad Request\r\n"]);
    machine.ensign(&forward).arg("--max-deliveries=2").arg("-n1").stdout("").check();
    assert_eq!(receiver.bodies(), "1\n2\n2\n3\n");
    machine.ensign("expect a.dead-letter --from start --data 2 --timeout 1h -o raw").stdout("2\n").check();
}

#[test]
fn what_can_not_be_forwarded() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("publish a -q -m 1").check();
    let url = "http://127.0.0.1:9/in";
    for wrong in [
        "tail a --header x:y".to_owned(),
        "tail a --forward ftp://localhost/".to_owned(),
        format!("tail a --forward {url} --ack none"),
        format!("tail a --forward {url} --until now"),
        format!("tail a --forward {url} --delivery at-most-once"),
        format!("tail a --forward {url} --header x"),
        format!("tail a --forward {url} -o json"),
        format!("tail a --forward {url} --jq ."),
    ] {
        machine.ensign(&wrong).code(2).stdout("").check();
    }
    let stderr = "error: the address holds a user or a password\n\
                  hint: put an Authorization header into a file, and name it with --header-file\n";
    machine.ensign("tail a --forward http://me:hidden@localhost/").code(2).stdout("").stderr(stderr).check();
    let secret = machine.private_file("headers", "X-Tenant: 7\nhidden\n");
    let stderr = format!("error: {}, line 2: write it as NAME: VALUE\n", secret.display());
    machine.ensign(&format!("tail a --forward {url} --header-file")).file(&secret).code(2).stderr(&stderr).check();
}
