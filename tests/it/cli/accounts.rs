//! Accounts: registering, signing in, passwords, and who one is.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};

use super::machine::{DevServer, Machine, Run};

pub(super) const PASSWORD: &str = "correct horse battery staple";

/// A person with a machine of their own, who knows where a server is.
pub(super) struct Person<'a> {
    pub(super) machine: Machine,
    pub(super) email: String,
    server: &'a DevServer<'a>,
}

impl<'a> Person<'a> {
    pub(super) fn new(name: &str, server: &'a DevServer<'_>) -> Person<'a> {
        Person { machine: Machine::new(), email: format!("{name}@example.com"), server }
    }

    pub(super) fn ensign(&self, arguments: &str) -> Run<'_> {
        self.machine.ensign(arguments).env("ENSIGN_ENDPOINT", self.server.endpoint())
    }

    /// Makes an account with an organization, verifies its address, and signs in.
    #[track_caller]
    pub(super) fn register(&self, operator: &Machine, organization: &str) {
        let line =
            format!("register --email {} --name Somebody --organization {organization} --accept-terms -q", self.email);
        self.ensign(&line).stdin(PASSWORD).stdout("").stderr("").check();
        let token = operator.ensign("mail show").arg(&self.email).check().text().to_owned();
        self.ensign("register --verify -q").stdin(token).stdout("").stderr("").check();
        self.login("").check();
    }

    pub(super) fn login(&self, arguments: &str) -> Run<'_> {
        self.ensign(&format!("login --email {} --storage file {arguments}", self.email)).stdin(PASSWORD)
    }
}

#[test]
fn registering_and_verifying() {
    let servers = Machine::new();
    let server = servers.dev_server();
    let ann = Person::new("ann", &server);
    let endpoint = server.endpoint();

    let register = "register --email ann@example.com --name Ann --organization Acme --workspace acme --accept-terms";
    ann.ensign(register)
        .stdin(format!("{PASSWORD}\n"))
        .stdout("")
        .stderr(&format!(
            "registered ann@example.com at {endpoint}, the owner of organization Acme (workspace acme)\n\
             next: `ensign register --verify` with the link that was mailed, or that is in the log of a server that \
             mails nothing; then `ensign login --email ann@example.com`\n"
        ))
        .check();
    ann.ensign(register)
        .stdin(PASSWORD)
        .code(1)
        .stderr(
            "error: user or organization already exists\n\
             hint: sign in with `ensign login --email ADDRESS`, or choose another workspace\n",
        )
        .check();

    // Whoever knows the password is told that the address has to be verified; nobody else is.
    ann.login("")
        .code(4)
        .stdout("")
        .stderr(
            "error: Please verify your email address and try again!\n\
             hint: `ensign register --verify` takes the token of the mail, which is in the log of a server that mails \
             nothing; `ensign register --resend --email ADDRESS` makes another\n",
        )
        .check();
    let wrong = format!(
        "error: http://{endpoint} refused the credentials: Unable to login with those details - please try again!\n\
         hint: check the address and the password; nothing was stored; `ensign password forgot` replaces a password \
         that was forgotten\n"
    );
    ann.login("").stdin("wrong").code(4).stdout("").stderr(&wrong).check();
    assert!(!ann.machine.path(".config/ensign").exists(), "nothing was stored");

    ann.ensign("register --verify").stdin("nonsense").code(1).stderr("error: invalid token\n").check();
    let token = servers.ensign("mail show ann@example.com").stderr("").check().text().to_owned();
    ann.ensign("register --verify")
        .stdin(&token)
        .stdout("")
        .stderr("the address is verified; sign in with `ensign login --email ADDRESS`\n")
        .check();
    ann.login("").stdin("wrong").code(4).stderr(&wrong).check();
}

#[test]
fn signing_in_with_an_account_and_out() {
    let servers = Machine::new();
    let server = servers.dev_server();
    let ann = Person::new("ann", &server);
    let endpoint = server.endpoint();
    ann.register(&servers, "Acme");
    ann.login("")
        .stdout("")
        .stderr(&format!(
            "signed in to {endpoint} as ann@example.com of Acme in profile localhost; the password is in {}, as you \
             wanted\n",
            ann.machine.path(".config/ensign/insecure-secrets.json").display()
        ))
        .check();
    let profiles = fs::read_to_string(ann.machine.path(".config/ensign/profiles.yaml")).unwrap();
    assert!(!profiles.contains(PASSWORD) && profiles.contains("email: ann@example.com"), "{profiles}");

    let shown = ann.ensign("whoami -o json").stderr("").check().json();
    let account = &shown["account"];
    assert_eq!(
        (&account["email"]["value"], &account["role"], &account["organization"], &shown["client_id"]),
        (&json!("ann@example.com"), &json!("Owner"), &json!("Acme"), &Value::Null),
        "{shown}"
    );
    let done = ann.ensign("whoami").check();
    assert!(done.text().contains("\nacts in       Acme as Owner\n"), "{}", done.text());

    ann.ensign("logout").stdout("").stderr(&format!("signed out of {endpoint} (profile localhost)\n")).check();
    ann.ensign("org list")
        .code(4)
        .stdout("")
        .stderr(&format!(
            "error: not signed in to {endpoint} with an account\n\
             hint: sign in with `ensign login --email ADDRESS`, or make an account with `ensign register`; an API key \
             can't do this\n"
        ))
        .check();
    let secrets = fs::read_to_string(ann.machine.path(".config/ensign/insecure-secrets.json")).unwrap();
    assert!(!secrets.contains(PASSWORD), "it was forgotten");
}

#[test]
fn registering_says_what_is_missing() {
    let servers = Machine::new();
    let server = servers.dev_server();
    let ann = Person::new("ann", &server);
    ann.ensign("register --name Ann --organization Acme")
        .code(2)
        .stderr("error: registering needs --email ADDRESS\n")
        .check();
    ann.ensign("register --email ann@example.com --name Ann --organization Acme")
        .stdin(PASSWORD)
        .code(2)
        .stdout("")
        .stderr(&format!(
            "error: {} registers only who agrees to the terms of use and the privacy policy of whoever runs it\n\
             hint: ask them for these if you don't know them, and add --accept-terms\n",
            server.endpoint()
        ))
        .check();
    let register = |email: &str, password: &str| {
        let line = format!("register --email {email} --name Ann --organization Acme --accept-terms -o json");
        ann.ensign(&line).stdin(password)
    };
    register("ann@example.com", "")
        .code(2)
        .stderr(
            "{\"error\":{\"code\":\"usage\",\"message\":\"a password for ann@example.com is missing\",\"hint\":\"pass it \
             on standard input, or with --password-file FILE\"}}\n",
        )
        .check();
    let weak = register("ann@example.com", "12345678").code(1).stdout("").check();
    assert!(weak.stderr.contains("password is too weak"), "{}", weak.stderr);
    let bad = register("nobody", PASSWORD).code(1).stdout("").check();
    assert!(bad.stderr.contains("error"), "{}", bad.stderr);
    let made = register("ann@example.com", PASSWORD).stderr("").check().json();
    assert_eq!((&made["email"], &made["role"]), (&json!("ann@example.com"), &json!("Owner")));
}

#[test]
fn a_password_that_was_forgotten() {
    let servers = Machine::new();
    let server = servers.dev_server();
    let ann = Person::new("ann", &server);
    ann.register(&servers, "Acme");
    ann.ensign("password forgot")
        .stdout("")
        .stderr(
            "if ann@example.com has an account, a mail is on its way, or in the log of a server that mails nothing; \
             `ensign password reset` takes its token\n",
        )
        .check();
    // The same is said of an address without an account.
    ann.ensign("password forgot --email nobody@example.com -q").stdout("").stderr("").check();
    servers
        .ensign("mail show nobody@example.com")
        .code(3)
        .stderr(
            "error: there is no mail to nobody@example.com that was not sent\n\
             hint: `ensign mail list` shows what there is; with a mail server, it was sent\n",
        )
        .check();
    let token = servers.ensign("mail show ann@example.com --purpose password-reset").check().text().to_owned();
    let another = "an entirely different phrase";
    let reset = || ann.ensign("password reset").stdin(format!("{token}{another}\n"));
    reset()
        .stdout("")
        .stderr(
            "the password is replaced, and whatever was signed in with the old one is not any more; sign in with \
             `ensign login --email ADDRESS`\n",
        )
        .check();
    // The token is good once.
    reset().code(1).stdout("").check();
    let done = ann.ensign("org list").code(4).check();
    let hint = "\nhint: sign in again with `ensign login --email ann@example.com`\n";
    assert!(done.stderr.contains("refused the credentials") && done.stderr.ends_with(hint), "{}", done.stderr);
    ann.login("-q").stdin(another).stdout("").stderr("").check();
    ann.ensign("org list --jq .[].name").stdout("Acme\n").check();
}

/// Files, variables and references are as good as standard input, and nothing is asked for in vain.
#[test]
fn where_a_password_comes_from() {
    let servers = Machine::new();
    let server = servers.dev_server();
    let ann = Person::new("ann", &server);
    ann.register(&servers, "Acme");
    let name = || ann.ensign("org list --jq .[].name").stdout("Acme\n");
    let file = ann.machine.file("password.txt", format!("{PASSWORD}\n"));
    let login = || ann.ensign("login --email ann@example.com --storage file -q");
    login().arg("--password-file").file(&file).check();
    name().check();
    login().env("ENSIGN_PASSWORD", PASSWORD).check();
    name().check();
    let reference = format!("file://{}", file.display());
    ann.ensign("login --email ann@example.com -q --secret-reference").arg(&reference).check();
    ann.ensign("profile show --jq .password").stdout(&format!("{reference}\n")).check();
    name().check();
    fs::remove_file(&file).unwrap();
    name().env("ENSIGN_EMAIL", &ann.email).env("ENSIGN_PASSWORD", PASSWORD).check();
    ann.ensign("org list")
        .env("ENSIGN_EMAIL", &ann.email)
        .code(2)
        .stderr("error: ENSIGN_EMAIL is set, and ENSIGN_PASSWORD is not\nhint: set both, or unset ENSIGN_EMAIL to use the profile\n")
        .check();
    ann.ensign("login --email ann@example.com")
        .code(2)
        .stderr(
            "error: the password of ann@example.com is missing\n\
         hint: pass it on standard input, or with --password-file FILE\n",
        )
        .check();
}

/// The profile of a development server has a key and an account, so that every command works.
#[test]
fn a_development_server_s_profile_has_both() {
    let machine = Machine::new();
    let server = machine.dev_server();
    let shown = machine.ensign("whoami -o json").stderr("").check().json();
    assert_eq!(shown["client_id"]["value"], server.ready["client_id"]);
    assert_eq!(shown["account"]["email"], json!({ "value": "dev@localhost", "source": "profile dev" }));
    let profile = machine.ensign("profile show -o json").check().json();
    let password = profile["password"].as_str().unwrap().strip_prefix("file://").unwrap();
    assert_eq!(fs::metadata(password).unwrap().permissions().mode() & 0o777, 0o600);
    let secrets = [fs::read_to_string(password).unwrap(), server.ready["client_secret"].as_str().unwrap().to_owned()];

    // What was chosen in it outlives a restart of the server.
    machine.ensign("project create second --use").check();
    machine.ensign("topic create mine").check();
    machine.ensign("key create laptop --use --storage file -q").check();
    let mut server = server.restart(rustix::process::Signal::TERM);
    machine.ensign("topic list --jq .[].name").stdout("mine\n").check();
    machine.ensign("publish mine -m x -q").check();
    let log = server.end(rustix::process::Signal::TERM).stderr;
    for secret in secrets {
        assert!(!log.contains(secret.trim()), "no secret is in the log");
    }
}
