//! Topics, and the formats of lists.

use serde_json::json;

use super::machine::Machine;

#[test]
fn a_topic_from_its_creation_to_its_end() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine
        .ensign("topic list")
        .stdout("")
        .stderr("there are no topics; `ensign topic create NAME` makes one\n")
        .check();
    machine.ensign("topic create flights").stdout("").stderr("created topic flights\n").check();
    machine
        .ensign("topic create flights")
        .code(1)
        .stderr("error: there is a topic flights already\nhint: --exist-ok takes that for success\n")
        .check();
    machine.ensign("topic create flights --exist-ok").stdout("").stderr("").check();
    machine
        .ensign("topic create 1st")
        .code(2)
        .stderr(
            "error: \"1st\" can't be the name of a topic\n\
             hint: use a letter, then letters, digits, `.`, `-` and `_`; at most 512\n",
        )
        .check();

    let shown = machine.ensign("topic show flights -o json").stderr("").check().json();
    assert_eq!((&shown["name"], &shown["state"], &shown["events"]), (&json!("flights"), &json!("ready"), &json!(0)));
    let by_id = machine.ensign("topic show -o json").arg(shown["id"].as_str().unwrap()).check().json();
    assert_eq!(by_id, shown);

    machine.ensign("topic archive flights").stderr("archived topic flights\n").check();
    machine.ensign("topic show flights --jq .state").stdout("archived\n").check();
    machine
        .ensign("topic destroy flights")
        .code(2)
        .stderr("error: destroying topic flights needs a confirmation\nhint: add --yes if you are sure\n")
        .check();
    machine.ensign("topic destroy flights --yes").stderr("destroyed topic flights\n").check();
    machine
        .ensign("topic show nowhere")
        .code(3)
        .stderr("error: there is no topic nowhere\nhint: `ensign topic list` shows what there is\n")
        .check();
}

#[test]
fn formats_of_a_list() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine.ensign("topic create b a").check();
    let names = |arguments: &str| machine.ensign(&format!("topic list {arguments}")).stderr("").check();
    assert_eq!(names("--jq .[].name").text(), "a\nb\n");
    assert_eq!(names("-o json").json().as_array().unwrap().len(), 2);
    assert_eq!(names("-o jsonl").text().lines().count(), 2);
    assert!(names("-o yaml").text().starts_with("- name: a\n"));
    assert!(names("-o csv").text().starts_with("name,state,events,size,created,id\na,ready,0,0 B,"));
    let table = names("").text().to_owned();
    let mut lines = table.lines();
    assert_eq!(
        lines.next().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["NAME", "STATE", "EVENTS", "SIZE", "CREATED", "ID"]
    );
    assert!(lines.next().unwrap().starts_with("a     ready  0"), "{table}");

    machine
        .ensign("topic list -o raw")
        .code(2)
        .stderr("error: raw and template are formats for events\nhint: use -o table, json, jsonl, yaml or csv\n")
        .check();
    machine
        .ensign("topic list --jq .[")
        .code(2)
        .stderr(
            "error: --jq \".[\" is no filter: it can't be parsed\nhint: for example --jq '.[].name', as in the manual \
             of jq\n",
        )
        .check();
    machine.ensign("topic list -q").env("ENSIGN_OUTPUT", "json").env("ENSIGN_JQ", "length").stdout("2\n").check();
}

#[test]
fn info_counts_the_project_and_shows_the_storage() {
    let machine = Machine::new();
    let server = machine.dev_server();
    machine.ensign("topic create empty").check();
    machine.ensign("publish orders").stdin("1\n2\n").check();
    machine.ensign("topic archive orders").check();
    let shown = machine.ensign("info -o json").stderr("").check().json();
    let counts = ["topics", "archived_topics", "events", "duplicates"].map(|name| shown[name].as_u64());
    assert_eq!(counts, [2, 1, 2, 0].map(Some), "{shown}");
    let nothing = json!({ "segments": 0, "bytes": 0, "live_bytes": 0, "dead_bytes": 0, "small_block_bytes": 0 });
    assert_eq!(shown["storage"], nothing, "all of it is in the segment that is written");
    let expected = format!(
        "endpoint      {}\nproject       {}\ntopics        2, 1 archived\nevents        2\nbytes         {} B\n\
         storage       0 segments, 0 B\nlive          0 B\nsmall blocks  0 B\ndead          0 B\n",
        shown["endpoint"].as_str().unwrap(),
        shown["project_id"].as_str().unwrap(),
        shown["bytes"],
    );
    machine.ensign("info").stdout(&expected).stderr("").check();
    drop(server);
    machine.ensign("info").code(5).stdout("").check();
}
