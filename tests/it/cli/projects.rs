//! Tenants and projects, and topics in them without a key.

use serde_json::json;

use super::{
    accounts::{PASSWORD, Person},
    machine::Machine,
};

#[test]
fn tenants_are_made_listed_and_removed() {
    let machine = Machine::new();
    let _server = machine.dev_server();
    machine
        .ensign("tenant create europe --environment production")
        .stdout("")
        .stderr("created tenant europe\n")
        .check();
    let tenants = machine.ensign("tenant list -o json").check().json();
    let europe = tenants.as_array().unwrap().iter().find(|tenant| tenant["name"] == "europe").unwrap().clone();
    assert_eq!((&europe["environment"], &europe["projects"]), (&json!("production"), &json!(0)));

    machine.ensign("project create flights --tenant europe").stderr("created project flights\n").check();
    machine.ensign("tenant remove europe --yes").code(1).stdout("").check();
    machine.ensign("project remove flights --yes").stderr("removed project flights\n").check();
    machine
        .ensign("tenant remove europe")
        .code(2)
        .stderr("error: removing tenant europe needs a confirmation\nhint: add --yes if you are sure\n")
        .check();
    machine.ensign("tenant remove europe --yes").stdout("").stderr("removed tenant europe\n").check();
    machine
        .ensign("tenant remove europe --yes")
        .code(3)
        .stderr("error: there is no tenant europe\nhint: `ensign tenant list` shows what there is\n")
        .check();
    machine.run(["tenant", "create", " "]).code(2).stderr("error: a tenant's name can't be empty\n").check();
}

#[test]
fn a_project_from_its_creation_to_its_end() {
    let machine = Machine::new();
    let server = machine.dev_server();
    let first = server.ready["project_id"].as_str().unwrap();
    machine
        .run(["project", "create", "flights", "--description", "Positions of aircraft"])
        .stdout("")
        .stderr("created project flights\n")
        .check();
    let shown = machine.ensign("project show flights -o json").stderr("").check().json();
    assert_eq!(
        (&shown["name"], &shown["description"], &shown["keys"]),
        (&json!("flights"), &json!("Positions of aircraft"), &json!(0)),
        "{shown}"
    );
    machine.ensign("project show --jq .id").stdout(&format!("{first}\n")).check();
    machine.ensign("project rename flights positions").stderr("project flights is now called positions\n").check();
    machine.ensign("project use positions").stdout("").stderr("profile dev uses project positions\n").check();
    machine.ensign("project list --jq").arg(".[]|select(.used).name").stdout("positions\n").check();

    // The key is of the first project; what an account may, it does in this one.
    machine.ensign("topic create t").stderr("created topic t\n").check();
    machine.ensign("topic list --jq .[].name --project").arg(first).stdout("").check();
    let id = shown["id"].as_str().unwrap();
    machine
        .ensign("publish t -m x")
        .code(4)
        .stdout("")
        .stderr(&format!(
            "error: publishing takes an API key; dev@localhost is signed in to project {id}\n\
             hint: `ensign key create NAME --project {id} --permissions full --use` makes one for this profile\n"
        ))
        .check();
    let done = machine.ensign("tail t --from start").code(4).stdout("").check();
    assert!(done.stderr.starts_with("error: reading events takes an API key; dev@localhost "), "{}", done.stderr);
    machine.ensign("key create k --storage file --use --project").arg(id).stdout("").check();
    machine.ensign("publish t -m x -q").check();
    machine.ensign("tail t --from start -n 1 -o raw").stdout("x\n").check();

    machine
        .ensign("project remove positions")
        .code(2)
        .stderr("error: destroying project positions needs a confirmation\nhint: add --yes if you are sure\n")
        .check();
    machine.ensign("project remove positions --yes").stdout("").stderr("removed project positions\n").check();
    machine
        .ensign("project show positions")
        .code(3)
        .stderr("error: there is no project positions\nhint: `ensign project list` shows what there is\n")
        .check();
    let done = machine.ensign("tail t --from start -n 1").code(4).stdout("").check();
    assert!(done.stderr.starts_with("error: "), "{}", done.stderr);
}

/// Who has an account and no key works with topics all the same, and an observer only looks.
#[test]
fn topics_without_a_key() {
    let servers = Machine::new();
    let server = servers.dev_server();
    servers.ensign("topic create t").check();
    let eve = Person::new("eve", &server);
    let token = servers.ensign("member invite eve@example.com --role observer -q").check().text().to_owned();
    eve.ensign("invite accept --name Eve --accept-terms --storage file -q")
        .stdin(format!("{token}{PASSWORD}\n"))
        .check();
    eve.ensign("topic list --jq .[].name").stdout("t\n").check();
    eve.ensign("info --jq .topics").stdout("1\n").check();
    let done = eve.ensign("topic create u").code(4).stdout("").check();
    assert!(done.stderr.starts_with("error: topic u: "), "{}", done.stderr);
    eve.ensign("project create mine")
        .code(4)
        .stdout("")
        .stderr(
            "error: project mine: user does not have permission to perform this operation\n\
             hint: `ensign whoami` tells your role; an owner or an admin may be able to\n",
        )
        .check();
}
