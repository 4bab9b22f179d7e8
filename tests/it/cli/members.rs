//! Organizations, their members, and invitations.

use super::{
    accounts::{PASSWORD, Person},
    machine::Machine,
};

#[test]
fn organizations_are_listed_shown_switched_and_renamed() {
    let servers = Machine::new();
    let server = servers.dev_server();
    let ann = Person::new("ann", &server);
    ann.register(&servers, "Acme");
    ann.ensign("org rename Acme_Air --workspace acme-air")
        .stdout("")
        .stderr("organization Acme is now called Acme_Air, its workspace acme-air\n")
        .check();
    let shown = ann.ensign("org show acme-air -o json").check().json();
    assert_eq!((shown["name"].as_str(), shown["current"].as_bool()), (Some("Acme_Air"), Some(true)), "{shown}");
    ann.ensign("org show nowhere")
        .code(3)
        .stdout("")
        .stderr("error: there is no organization nowhere\nhint: `ensign org list` shows what there is\n")
        .check();
    ann.ensign("org switch nowhere").code(3).check();

    // A second organization, which ann is invited to.
    let token = servers.ensign("member invite ann@example.com --role admin -q").check().text().to_owned();
    ann.ensign("invite accept --storage file -q").stdin(format!("{token}{PASSWORD}\n")).check();
    let mut names: Vec<String> =
        ann.ensign("org list --jq .[].name").check().text().lines().map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, ["Acme_Air", "Local"]);
    ann.ensign("org list --jq").arg(".[]|select(.current).name").stdout("Local\n").check();
    ann.ensign("org switch acme_air")
        .stdout("")
        .stderr("profile localhost acts in organization Acme_Air, 0 projects; `ensign project use` chooses one\n")
        .check();
    ann.ensign("org list --jq").arg(".[]|select(.current).name").stdout("Acme_Air\n").check();
    ann.login("--org Local -q").check();
    ann.ensign("org show --jq .name").stdout("Local\n").check();
    // An admin may not touch the organization.
    ann.ensign("org rename Mine")
        .code(4)
        .stderr(
            "error: organization Local: user does not have permission to perform this operation\n\
             hint: `ensign whoami` tells your role; an owner or an admin may be able to\n",
        )
        .check();
}

#[test]
fn a_member_from_the_invitation_to_the_end() {
    let servers = Machine::new();
    let server = servers.dev_server();
    let bob = Person::new("bob", &server);

    let done = servers.ensign("member invite bob@example.com").check();
    let token = done.text().to_owned();
    assert!(done.stderr.starts_with("invited bob@example.com to Local as Member, until "), "{}", done.stderr);
    assert!(!done.stderr.contains(token.trim()), "it is shown once");
    bob.ensign("invite show")
        .stdin(&token)
        .stdout(
            "organization  Local\nrole          Member\ninvited by    dev\nemail         bob@example.com\n\
             account       a new one is needed\n",
        )
        .check();
    bob.ensign("invite show").stdin("nonsense").code(1).stdout("").stderr("error: invalid invitation\n").check();
    let accept = |arguments: &str| {
        let line = format!("invite accept --storage file {arguments}");
        bob.ensign(&line).stdin(format!("{token}{PASSWORD}\n"))
    };
    accept("").code(2).stderr("error: bob@example.com has no account yet, and a new one needs --name NAME\n").check();
    accept("--name Bob")
        .code(2)
        .stderr(
            "error: a new account takes your agreement to the terms of use and the privacy policy of whoever runs the \
             server\nhint: ask them for these if you don't know them, and add --accept-terms\n",
        )
        .check();
    let done = accept("--name Bob --accept-terms").stdout("").check();
    let said = "bob@example.com is Member of Local now, and signed in as profile localhost; the password is in ";
    assert!(done.stderr.starts_with(said), "{}", done.stderr);
    // It is good once.
    accept("--name Bob --accept-terms").code(1).stdout("").check();

    let members = servers.ensign("member list --jq").arg(".[]|\"\\(.name) \\(.email) \\(.role)\"").check();
    let mut members: Vec<&str> = members.text().lines().collect();
    members.sort_unstable();
    assert_eq!(members, ["Bob bob@example.com Member", "dev dev@localhost Owner"]);

    let denied = "error: member dev@localhost: user does not have permission to perform this operation\n\
                  hint: `ensign whoami` tells your role; an owner or an admin may be able to\n";
    bob.ensign("member remove dev@localhost --yes").code(4).stdout("").stderr(denied).check();
    bob.ensign("member role dev@localhost observer").code(4).stdout("").stderr(denied).check();

    servers.ensign("member role bob@example.com admin").stdout("").stderr("bob@example.com is Admin now\n").check();
    servers
        .ensign("member role bob@example.com admin")
        .code(1)
        .stderr("error: member bob@example.com: user already has the specified role\n")
        .check();
    servers
        .ensign("member role dev@localhost member")
        .code(1)
        .stderr("error: member dev@localhost: organization must have at least one owner\n")
        .check();
    servers
        .ensign("member role bob@example.com king")
        .code(2)
        .stderr(
            "error: invalid value 'king' for '<ROLE>' [possible values: owner, admin, member, observer]\n\
             hint: `ensign --help` explains the commands\n",
        )
        .check();
    servers
        .ensign("member role eve@example.com admin")
        .code(3)
        .stderr("error: there is no member eve@example.com\nhint: `ensign member list` shows what there is\n")
        .check();
}

/// An invitation is good once: whoever accepted it has to know that, although the password could not be kept.
#[test]
fn an_accepted_invitation_without_a_place_for_the_password() {
    let servers = Machine::new();
    let server = servers.dev_server();
    let bob = Person::new("bob", &server);
    let token = servers.ensign("member invite bob@example.com -q").check().text().to_owned();
    bob.ensign("invite accept --storage vault --name Bob --accept-terms")
        .stdin(format!("{token}{PASSWORD}\n"))
        .code(4)
        .stdout("")
        .stderr(
            "error: bob@example.com is Member of Local now, but no profile could be made: the vault needs its passphrase\n\
             hint: set ENSIGN_VAULT_PASSPHRASE, or run this on a terminal; then sign in with \
             `ensign login --email bob@example.com`\n",
        )
        .check();
    bob.login("-q").check();

    // A profile that is not there yet is made.
    let eve = Person::new("eve", &server);
    let token = servers.ensign("member invite eve@example.com -q").check().text().to_owned();
    eve.ensign("invite accept --profile work --storage file --name Eve --accept-terms -q")
        .stdin(format!("{token}{PASSWORD}\n"))
        .check();
    eve.ensign("profile list --jq .[].name").stdout("work\n").check();
}

#[test]
fn removing_a_member_names_the_keys_that_end() {
    let servers = Machine::new();
    let server = servers.dev_server();
    let bob = Person::new("bob", &server);
    let token = servers.ensign("member invite bob@example.com -q").check().text().to_owned();
    bob.ensign("invite accept --name Bob --accept-terms --storage file -q")
        .stdin(format!("{token}{PASSWORD}\n"))
        .check();
    bob.ensign("key create bobs --secret-file secret.txt -q").check();

    servers
        .ensign("member remove dev@localhost --yes")
        .code(1)
        .stderr("error: member dev@localhost: cannot remove only owner from organization\n")
        .check();
    servers
        .ensign("member remove bob@example.com")
        .code(2)
        .stdout("")
        .stderr("error: removing member bob@example.com needs a confirmation\nhint: add --yes if you are sure\n")
        .check();
    servers
        .ensign("member remove bob@example.com --yes")
        .stdout("")
        .stderr("removed member bob@example.com, and revoked the API key bobs\n")
        .check();
    servers.ensign("member list --jq .[].email").stdout("dev@localhost\n").check();
    let done = bob.ensign("member list").code(4).stdout("").check();
    assert!(done.stderr.contains("refused the credentials"), "{}", done.stderr);
}
