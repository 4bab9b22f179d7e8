//! Accounts, organizations, members and invitations as a client meets them. What other organizations have is not there;
//! the holes that were found in the original servers have a test each.

use serde_json::{Value, json};

use super::tests::{Reply, World, world};
use crate::{
    identity::NewKey,
    model::{Permissions, UserId},
};

const PASSWORD: &str = "correct horse battery staple";
const ZERO: &str = "00000000000000000000000000";

/// Somebody with an organization.
struct Owner {
    email: String,
    id: String,
    organization: String,
    domain: String,
    token: String,
}

impl World {
    async fn act(&self, token: &str, method: &str, path: &str, body: &Value) -> Reply {
        let bearer = format!("Bearer {token}");
        let headers: &[(&str, &str)] = if token.is_empty() { &[] } else { &[("authorization", bearer.as_str())] };
        self.ask(method, path, headers, body.to_string()).await
    }

    /// The newest token that was not mailed to an address.
    async fn mailed(&self, email: &str, purpose: &str) -> String {
        self.identity.flush().await;
        let operator = self.operator().await;
        let reply = self.act(&operator, "GET", "/api/mail", &Value::Null).await.json();
        let mail = reply["mail"].as_array().unwrap().iter().rev();
        let mut found = mail.filter(|mail| mail["to"] == email && mail["purpose"] == purpose);
        found.next().unwrap()["token"].as_str().unwrap().to_owned()
    }

    async fn operator(&self) -> String {
        let password = self.owner_password.expose_str().unwrap();
        self.login("dev@localhost", password).await
    }

    async fn login(&self, email: &str, password: &str) -> String {
        let reply = self.post("/v1/login", &json!({"email": email, "password": password})).await;
        assert_eq!(reply.status.as_u16(), 200, "{email}");
        reply.json()["access_token"].as_str().unwrap().to_owned()
    }

    async fn registered(&self, name: &str) -> Owner {
        // Each a moment after the other, so that lists have an order.
        self.time.advance(std::time::Duration::from_millis(1));
        let email = format!("{name}@example.com");
        let reply = self.post("/v1/register", &form(&email)).await;
        assert_eq!(reply.status.as_u16(), 201);
        let made = reply.json();
        let token = self.mailed(&email, "verification").await;
        let verified = self.post("/v1/verify", &json!({"token": token})).await.json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Owner {
            id: text(&made["user_id"]),
            organization: text(&made["org_id"]),
            domain: text(&made["org_domain"]),
            token: text(&verified["access_token"]),
            email,
        }
    }

    /// Somebody with an account who is a member of an owner's organization too, signed in to it.
    async fn joined(&self, owner: &Owner, name: &str, role: &str) -> Owner {
        let known = self.registered(name).await;
        let invite = json!({"email": known.email, "role": role});
        assert_eq!(self.act(&owner.token, "POST", "/v1/invites", &invite).await.status.as_u16(), 200);
        let token = self.mailed(&known.email, "invitation").await;
        let accepted = self.act(&known.token, "POST", "/v1/invites/accept", &json!({"token": token})).await.json();
        let token = accepted["access_token"].as_str().unwrap().to_owned();
        Owner { token, organization: owner.organization.clone(), ..known }
    }

    async fn key_of(&self, owner: &Owner, maker: &Owner) {
        let organization = crate::model::OrganizationId(crate::model::Ulid::parse(&owner.organization).unwrap());
        let project = self.identity.create_project(organization, "flights").await.unwrap().id;
        let created_by = Some(UserId(crate::model::Ulid::parse(&maker.id).unwrap()));
        let new = NewKey { name: "hers".to_owned(), project, permissions: Permissions::full_key(), created_by };
        self.identity.create_key(new).await.unwrap();
    }
}

fn form(email: &str) -> Value {
    json!({
        "email": email, "password": PASSWORD, "pwcheck": PASSWORD, "name": "Ann", "organization": "Acme",
        "terms_agreement": true, "privacy_agreement": true,
    })
}

fn with(mut form: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        form[name] = value.clone();
    }
    form
}

#[tokio::test]
async fn registering_checks_one_thing_after_the_other() {
    const WEAK: &str =
        "password is too weak: use a combination of upper and lower case letters, numbers, and special characters";
    let world = world().await;
    let malformed = "Unable to register with those details - please try again!";
    let refused = async |changes: Value, status: u16, message: &str| {
        world.post("/v1/register", &with(form("ann@example.com"), &changes)).await.is_error(status, message);
    };
    refused(json!({"email": " ", "password": ""}), 400, "missing required field: email").await;
    refused(json!({"password": " ", "pwcheck": ""}), 400, "missing required field: password").await;
    refused(json!({"pwcheck": "x"}), 400, "passwords do not match").await;
    refused(json!({"password": "abc", "pwcheck": "abc", "terms_agreement": false}), 400, WEAK).await;
    refused(json!({"password": "Password1", "pwcheck": "Password1"}), 400, WEAK).await;
    refused(json!({"terms_agreement": false}), 400, "missing required field: terms_agreement").await;
    refused(json!({"privacy_agreement": null}), 400, "missing required field: privacy_agreement").await;
    refused(json!({"project_id": "garbage"}), 400, malformed).await;
    refused(json!({"name": 5}), 400, malformed).await;
    refused(json!({"email": "nonsense"}), 400, "invalid or unparsable field: email").await;
    refused(json!({"project_id": world.key.key.project.to_string()}), 409, "user or organization already exists").await;
    world.post("/v1/register", &json!([])).await.is_error(400, malformed);

    let padded = format!("  {PASSWORD} ");
    let spaced = json!({"email": " Ann@Example.com ", "password": padded, "domain": " ACME ", "project_id": ZERO});
    let made = world.post("/v1/register", &with(form(""), &spaced)).await;
    assert_eq!(made.status.as_u16(), 201);
    let made = made.json();
    assert_eq!(
        (&made["email"], &made["org_domain"], &made["role"]),
        (&json!("Ann@Example.com"), &json!("acme"), &json!("Owner"))
    );
    assert_eq!((&made["message"], &made["org_name"]), (&json!("Welcome to Ensign!"), &json!("Acme")));
    refused(json!({}), 409, "user or organization already exists").await;
    refused(json!({"email": "bob@example.com", "domain": "Acme"}), 409, "user or organization already exists").await;
}

#[tokio::test]
async fn signing_in_tells_a_stranger_nothing() {
    const REFUSED: &str = "Unable to login with those details - please try again!";
    let world = world().await;
    let unverified =
        json!({"success": false, "error": "Please verify your email address and try again!", "unverified": true});
    world.post("/v1/register", &form("ann@example.com")).await;
    let login = async |body: Value| world.post("/v1/login", &body).await;
    let good = json!({"email": " ANN@example.com ", "password": PASSWORD});
    let reply = login(good.clone()).await;
    assert_eq!((reply.status.as_u16(), reply.json()), (403, unverified));
    login(json!({"email": "ann@example.com", "password": "wrong"})).await.is_error(403, REFUSED);
    login(json!({"email": "bob@example.com", "password": PASSWORD})).await.is_error(403, REFUSED);
    let token = world.mailed("ann@example.com", "verification").await;
    world
        .post("/v1/verify", &json!({"token": token, "org_id": world.key.key.organization.to_string()}))
        .await
        .is_error(403, "invalid credentials");
    let verified = world.post("/v1/verify", &json!({"token": token})).await;
    assert_eq!(verified.status.as_u16(), 200);
    assert_eq!(world.post("/v1/verify", &json!({"token": token})).await.status.as_u16(), 204);
    let first = login(good.clone()).await.json();
    assert!(first.get("last_login").is_none());
    assert_eq!(login(good).await.json()["last_login"], json!("2026-11-18T11:06:40.5Z"));
    for body in [
        json!({"email": "ann@example.com"}),
        json!({"password": PASSWORD}),
        json!({"email": "ann@example.com", "password": PASSWORD, "org_id": ""}),
        json!({"email": "ann@example.com", "password": PASSWORD, "org_id": ZERO.replace('0', "1"), "invite_token": "x"}),
        json!("text"),
    ] {
        login(body).await.is_error(400, REFUSED);
    }
    let foreign =
        json!({"email": "ann@example.com", "password": PASSWORD, "org_id": world.key.key.organization.to_string()});
    login(foreign).await.is_error(403, REFUSED);
    let invited = json!({"email": "ann@example.com", "password": PASSWORD, "invite_token": "unknown"});
    login(invited).await.is_error(400, "Invalid invitation link - please request a new one!");
    for (path, message) in
        [("/v1/resend", "invalid or unparsable field"), ("/v1/forgot-password", "Please enter a valid email address.")]
    {
        for email in ["", "  ", "a".repeat(255).as_str()] {
            world.post(path, &json!({"email": email})).await.is_error(400, message);
        }
        for email in ["nobody@example.com", "ann@example.com"] {
            let reply = world.post(path, &json!({"email": email})).await;
            assert_eq!((reply.status.as_u16(), reply.body.len()), (204, 0), "{path} {email}");
        }
    }
}

/// The original renamed the organization that the body named.
#[tokio::test]
async fn hole_1_an_update_of_another_organization() {
    let world = world().await;
    let (ann, eve) = (world.registered("ann").await, world.registered("eve").await);
    let name = "Organization with the specified ID was not found.";
    let (own, foreign) =
        (format!("/v1/organizations/{}", ann.organization), format!("/v1/organizations/{}", eve.organization));
    let body = |id: &str, domain: &str| json!({"id": id, "name": "Mine", "domain": domain});
    world.act(&ann.token, "PUT", &own, &body(&eve.organization, "mine")).await.is_error(404, name);
    world.act(&ann.token, "PUT", &foreign, &body(&eve.organization, "mine")).await.is_error(404, name);
    world.act(&ann.token, "PUT", &foreign, &body(&ann.organization, "mine")).await.is_error(404, name);
    world.act(&ann.token, "GET", &foreign, &Value::Null).await.is_error(404, "organization not found");
    let seen = world.act(&eve.token, "GET", &foreign, &Value::Null).await.json();
    assert_eq!((&seen["name"], &seen["domain"]), (&json!("Acme"), &json!(eve.domain)));

    let taken = "An organization with that workspace already exists.";
    world.act(&ann.token, "PUT", &own, &body(&ann.organization, &eve.domain)).await.is_error(409, taken);
    world
        .act(&ann.token, "PUT", &own, &json!({"id": ann.organization, "name": "x"}))
        .await
        .is_error(400, "missing required field: domain");
    let changed = world.act(&ann.token, "PUT", &own, &body(&ann.organization, " Mine ")).await.json();
    assert_eq!(
        (&changed["name"], &changed["domain"], &changed["projects"]),
        (&json!("Mine"), &json!("mine"), &json!(0))
    );
    let list = world.act(&ann.token, "GET", "/v1/organizations", &Value::Null).await.json();
    assert_eq!(list, json!({"organizations": [changed]}));
    for (domain, own) in [("mine", true), (eve.domain.as_str(), false)] {
        let found = world.act(&ann.token, "GET", &format!("/v1/workspace?domain={domain}"), &Value::Null).await.json();
        assert_eq!(found["org_id"], json!(if own { ann.organization.as_str() } else { ZERO }));
        assert_eq!((found.get("name").is_some(), &found["is_available"]), (own, &json!(false)));
    }
    let free = world.act(&ann.token, "GET", "/v1/workspace?check_available=1&domain=free", &Value::Null).await.json();
    assert_eq!(free, json!({"org_id": ZERO, "domain": "free", "is_available": true}));
    let missing = world.act(&ann.token, "GET", "/v1/workspace?domain=free", &Value::Null).await;
    missing.is_error(404, "Organization with specified domain not found.");
}

/// The original removed whoever the token was issued for, whatever path and body said.
#[tokio::test]
async fn hole_2_a_confirmation_for_another_member() {
    let world = world().await;
    let ann = world.registered("ann").await;
    let (bob, cleo) = (world.joined(&ann, "bob", "Member").await, world.joined(&ann, "cleo", "Member").await);
    world.key_of(&ann, &bob).await;
    let asked = world.act(&ann.token, "DELETE", &format!("/v1/users/{}", bob.id), &Value::Null).await.json();
    assert_eq!((&asked["api_keys"], &asked["deleted"]), (&json!(["hers"]), &json!(false)));
    let token = &asked["token"];
    let confirm = async |path: &str, body: Value| {
        world.act(&ann.token, "DELETE", &format!("/v1/users/{path}/confirm"), &body).await
    };
    confirm(&cleo.id, json!({"token": token})).await.is_error(400, "invalid confirmation token");
    let other = confirm(&bob.id, json!({"id": cleo.id, "token": token})).await;
    other.is_error(400, "resource id does not match id of endpoint");
    confirm(&bob.id, json!({})).await.is_error(400, "missing required field: token");
    confirm("garbage", json!({"token": token})).await.is_error(400, "could not parse request");
    for id in [&bob.id, &cleo.id] {
        let seen = world.act(&ann.token, "GET", &format!("/v1/users/{id}"), &Value::Null).await;
        assert_eq!(seen.status.as_u16(), 200);
    }
    let done = confirm(&bob.id, json!({"id": bob.id, "token": token})).await;
    assert_eq!((done.status.as_u16(), done.body.len()), (204, 0));
    confirm(&bob.id, json!({"token": token})).await.is_error(400, "invalid confirmation token");
    let gone = world.act(&ann.token, "GET", &format!("/v1/users/{}", bob.id), &Value::Null).await;
    gone.is_error(404, "user not found");
}

/// The original took a reset token again, and as a verification.
#[tokio::test]
async fn hole_3_a_reset_token_after_its_use() {
    let world = world().await;
    let ann = world.registered("ann").await;
    world.post("/v1/forgot-password", &json!({"email": ann.email})).await;
    let token = world.mailed(&ann.email, "password reset").await;
    let new = "another good passphrase";
    let reset = async |token: &str, password: &str, again: &str| {
        world.post("/v1/reset-password", &json!({"token": token, "password": password, "pwcheck": again})).await
    };
    let refused = "Unable to reset your password. Please contact support@rotational.io for assistance.";
    reset("", new, new).await.is_error(400, "missing required field: token");
    reset(&token, "", "").await.is_error(400, "missing required field: password");
    reset(&token, new, "x").await.is_error(400, "passwords do not match");
    reset("unknown", new, new).await.is_error(400, refused);
    world.post("/v1/verify", &json!({"token": token})).await.is_error(400, "invalid token");
    assert_eq!(reset(&format!(" {token} "), new, new).await.status.as_u16(), 204);
    reset(&token, new, new).await.is_error(400, refused);
    world.post("/v1/verify", &json!({"token": token})).await.is_error(400, "invalid token");
    world
        .act(&ann.token, "GET", "/v1/users", &Value::Null)
        .await
        .is_error(401, "this endpoint requires authentication");
    world.login(&ann.email, new).await;
}

/// The original took a refresh token for an access token.
#[tokio::test]
async fn hole_4_a_refresh_token_as_access_token() {
    let world = world().await;
    let ann = world.registered("ann").await;
    let pair = world.post("/v1/login", &json!({"email": ann.email, "password": PASSWORD})).await.json();
    world.time.advance(std::time::Duration::from_mins(46));
    let refresh = pair["refresh_token"].as_str().unwrap();
    let refused = world.act(refresh, "GET", "/v1/organizations", &Value::Null).await;
    refused.is_error(401, "this endpoint requires authentication");
    let again = world.post("/v1/refresh", &json!({"refresh_token": refresh})).await.json();
    let list = world.act(again["access_token"].as_str().unwrap(), "GET", "/v1/users", &Value::Null).await;
    assert_eq!(list.status.as_u16(), 200);
}

/// In the original, admins could make owners, also of themselves, and old tokens kept old permissions.
#[tokio::test]
async fn hole_8_admins_and_old_tokens() {
    let world = world().await;
    let ann = world.registered("ann").await;
    let (bob, cleo) = (world.joined(&ann, "bob", "Admin").await, world.joined(&ann, "cleo", "Member").await);
    let role = async |by: &Owner, who: &Owner, role: &str| {
        world.act(&by.token, "POST", &format!("/v1/users/{}", who.id), &json!({"role": role})).await
    };
    let refused = "user does not have permission to perform this operation";
    role(&bob, &bob, "Owner").await.is_error(403, refused);
    role(&bob, &cleo, "Owner").await.is_error(403, refused);
    role(&bob, &ann, "Observer").await.is_error(403, refused);
    world.act(&bob.token, "DELETE", &format!("/v1/users/{}", ann.id), &Value::Null).await.is_error(403, refused);
    let invite = json!({"email": "new@example.com", "role": "Owner"});
    world.act(&bob.token, "POST", "/v1/invites", &invite).await.is_error(403, refused);
    role(&cleo, &bob, "Observer").await.is_error(403, refused);

    role(&ann, &ann, "Admin").await.is_error(400, "organization must have at least one owner");
    role(&ann, &bob, "Admin").await.is_error(400, "user already has the specified role");
    role(&ann, &bob, "admin").await.is_error(400, "unknown user role");
    role(&ann, &bob, "").await.is_error(400, "missing required field: role");
    let changed = role(&ann, &bob, "Observer").await.json();
    assert_eq!((&changed["role"], &changed["email"]), (&json!("Observer"), &json!("bob@example.com")));
    let ended = role(&bob, &cleo, "Observer").await;
    ended.is_error(401, "this endpoint requires authentication");
    assert_eq!(role(&ann, &cleo, "Owner").await.status.as_u16(), 200);
    assert_eq!(role(&ann, &ann, "Admin").await.status.as_u16(), 200);
}

/// In the original, who had been removed kept access until the token's end.
#[tokio::test]
async fn hole_9_a_removed_members_token() {
    let world = world().await;
    let ann = world.registered("ann").await;
    let bob = world.joined(&ann, "bob", "Member").await;
    let remove =
        async |who: &Owner| world.act(&ann.token, "DELETE", &format!("/v1/users/{}", who.id), &Value::Null).await;
    remove(&ann).await.is_error(409, "cannot remove only owner from organization");
    assert_eq!(remove(&bob).await.json(), json!({"deleted": true}));
    let ended = world.act(&bob.token, "GET", "/v1/users", &Value::Null).await;
    ended.is_error(401, "this endpoint requires authentication");
    remove(&bob).await.is_error(404, "user not found");
    world.login(&bob.email, PASSWORD).await;
}

#[tokio::test]
async fn members_of_other_organizations_are_not_there() {
    let world = world().await;
    let (ann, eve) = (world.registered("ann").await, world.registered("eve").await);
    let path = format!("/v1/users/{}", eve.id);
    let call = async |method: &str, path: &str, body: Value| world.act(&ann.token, method, path, &body).await;
    call("GET", &path, Value::Null).await.is_error(404, "user not found");
    call("GET", "/v1/users/garbage", Value::Null).await.is_error(404, "user id not found");
    call("PUT", &path, json!({"user_id": eve.id, "name": "x"})).await.is_error(404, "user id not found");
    call("POST", &path, json!({"role": "Observer"})).await.is_error(404, "user not found");
    call("DELETE", &path, Value::Null).await.is_error(404, "user not found");
    call("DELETE", "/v1/users/garbage", Value::Null).await.is_error(400, "could not parse request");
    let list = call("GET", "/v1/users", Value::Null).await.json();
    let users = list["users"].as_array().unwrap();
    assert_eq!((users.len(), &users[0]["user_id"], &users[0]["org_id"]), (1, &json!(ann.id), &json!(ZERO)));

    let own = format!("/v1/accounts/{}", ann.id);
    call("PUT", &own, json!({"name": "x"})).await.is_error(400, "missing required field: user_id");
    call("PUT", &own, json!({"user_id": ann.id})).await.is_error(400, "missing required field: name");
    let other = "resource id does not match id of endpoint";
    call("PUT", &own, json!({"user_id": eve.id, "name": "x"})).await.is_error(400, other);
    call("PUT", &format!("/v1/accounts/{}", eve.id), json!({"user_id": eve.id, "name": "x"}))
        .await
        .is_error(400, other);
    call("PUT", "/v1/accounts/garbage", json!({"name": "x"})).await.is_error(404, "user not found");
    let renamed = call("PUT", &own, json!({"user_id": ann.id, "name": " Anna "})).await.json();
    assert_eq!((&renamed["name"], &renamed["email"]), (&json!("Anna"), &json!(ann.email)));

    let key = world.post("/v1/authenticate", &world.credentials()).await.json();
    let key = key["access_token"].as_str().unwrap();
    for (method, path) in [("GET", "/v1/users"), ("GET", "/api/mail")] {
        let refused = world.act(key, method, path, &json!({"user_id": ann.id, "name": "x"})).await;
        refused.is_error(403, "user does not have permission to perform this operation");
    }
    let switch = json!({"org_id": ann.organization});
    world.act(key, "POST", "/v1/switch", &switch).await.is_error(403, "invalid credentials");
}

#[tokio::test]
async fn invitations_and_switching() {
    let world = world().await;
    let (ann, eve) = (world.registered("ann").await, world.registered("eve").await);
    let invite = async |body: Value| world.act(&ann.token, "POST", "/v1/invites", &body).await;
    invite(json!({"role": "Member"})).await.is_error(400, "missing required field: email");
    invite(json!({"email": eve.email})).await.is_error(400, "missing required field: role");
    invite(json!({"email": eve.email, "role": "King"})).await.is_error(400, "unknown user role");
    invite(json!({"email": "nonsense", "role": "Member"})).await.is_error(400, "invalid or unparsable field: email");
    invite(json!({"email": ann.email, "role": "Member"}))
        .await
        .is_error(409, "user is a member of the organization already");
    let made = invite(json!({"email": eve.email, "role": "Observer"})).await.json();
    assert_eq!(
        (&made["user_id"], &made["organization"], &made["role"]),
        (&json!(eve.id), &json!("Acme"), &json!("Observer"))
    );
    let newcomer = invite(json!({"email": "new@example.com", "role": "Member"})).await.json();
    assert_eq!((&newcomer["user_id"], &newcomer["name"]), (&json!(ZERO), &json!("")));

    let token = world.mailed(&eve.email, "invitation").await;
    let preview = world.get(&format!("/v1/invites/{token}")).await.json();
    let expected =
        json!({"email": eve.email, "org_name": "Acme", "inviter_name": "Ann", "role": "Observer", "user_exists": true});
    assert_eq!(preview, expected);
    world.get("/v1/invites/unknown").await.is_error(400, "invalid invitation");
    let accept =
        async |token: &str, by: &str| world.act(by, "POST", "/v1/invites/accept", &json!({"token": token})).await;
    let invalid = "Invalid invitation link - please request a new one!";
    accept("", &eve.token).await.is_error(400, "Unable to login with those details - please try again!");
    accept(&token, &ann.token).await.is_error(400, invalid);
    let joined = accept(&token, &eve.token).await.json();
    accept(&token, &eve.token).await.is_error(400, invalid);
    let joined = joined["access_token"].as_str().unwrap();
    let page = world.act(joined, "GET", "/v1/organizations?page_size=1", &Value::Null).await.json();
    assert_eq!(page["organizations"][0]["id"], json!(ann.organization));
    let next = page["next_page_token"].as_str().unwrap();
    let rest =
        world.act(joined, "GET", &format!("/v1/organizations?next_page_token={next}"), &Value::Null).await.json();
    assert_eq!((&rest["organizations"][0]["id"], rest.get("next_page_token")), (&json!(eve.organization), None));
    let foreign = world.act(joined, "GET", &format!("/v1/users?next_page_token={next}"), &Value::Null).await;
    foreign.is_error(400, "could not parse the next page token");
    let garbage = world.act(joined, "GET", "/v1/organizations?next_page_token=garbage", &Value::Null).await;
    garbage.is_error(400, "invalid next page token");
    let negative = world.act(joined, "GET", "/v1/users?page_size=-1", &Value::Null).await;
    negative.is_error(400, "validation error: cannot list database without a page size");

    let switch = async |body: Value| world.act(joined, "POST", "/v1/switch", &body).await;
    switch(json!({})).await.is_error(400, "missing organization id");
    switch(json!({"org_id": "x"})).await.is_error(400, "could not parse request");
    let same = "cannot switch into the organization you are currently logged into";
    switch(json!({"org_id": ann.organization})).await.is_error(400, same);
    switch(json!({"org_id": world.key.key.organization.to_string()})).await.is_error(403, "invalid credentials");
    let back = switch(json!({"org_id": eve.organization})).await.json();
    let seen = world.act(back["access_token"].as_str().unwrap(), "GET", "/api/mail", &Value::Null).await;
    assert_eq!(seen.json(), json!({"mail": []}), "the other organization's invitation is not there");

    let token = world.mailed("new@example.com", "invitation").await;
    let invited = with(form("new@example.com"), &json!({"invite_token": token}));
    world.post("/v1/register", &invited).await.is_error(400, "field restricted for request: organization");
    let invited = with(invited, &json!({"organization": ""}));
    let made = world.post("/v1/register", &invited).await.json();
    assert_eq!((&made["org_id"], &made["role"]), (&json!(ann.organization), &json!("Member")));
    world.post("/v1/register", &invited).await.is_error(400, invalid);
    world.login("new@example.com", PASSWORD).await;
}
