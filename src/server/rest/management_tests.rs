//! Keys, projects, tenants and signing keys as an owner meets them, and the owner of another organization.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::tests::{Reply, World, world};
use crate::{
    broker::{NewTopic, PageRequest},
    identity::NewKey,
    model::{KeyId, Permissions, Principal, ProjectId, Subject, Ulid},
};

const ZERO: &str = "00000000000000000000000000";
const ALL: [&str; 7] =
    ["metrics:read", "publisher", "subscriber", "topics:create", "topics:destroy", "topics:edit", "topics:read"];

/// The owner of the first organization, signed in.
async fn owner() -> (World, String) {
    let world = world().await;
    let login = world.identity.login("dev@localhost", &world.owner_password, None).await;
    let tokens = login.unwrap();
    let token = tokens.access.expose_str().unwrap().to_owned();
    (world, token)
}

impl World {
    async fn call(&self, method: &str, path: &str, token: &str, body: &Value) -> Reply {
        let bearer = format!("Bearer {token}");
        self.ask(method, path, &[("authorization", &bearer), ("user-agent", "tests/1")], body.to_string()).await
    }

    fn project(&self) -> String {
        self.key.key.project.to_string()
    }

    async fn new_key(&self, token: &str, name: &str) -> Value {
        let body = json!({"name": name, "project_id": self.project(), "permissions": ALL, "source": "here"});
        let reply = self.call("POST", "/v1/apikeys", token, &body).await;
        assert_eq!(reply.status, StatusCode::CREATED);
        reply.json()
    }

    async fn key_token(&self) -> String {
        let tokens = self.identity.authenticate(&self.key.key.client_id, &self.key.secret).await.unwrap();
        tokens.access.expose_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_key_is_made_found_renamed_and_revoked() {
    let (world, token) = owner().await;
    let made = world.new_key(&token, " First ").await;
    let id = made["id"].as_str().unwrap();
    let path = format!("/v1/apikeys/{id}");
    assert_eq!((made["client_id"].as_str().unwrap().len(), made["client_secret"].as_str().unwrap().len()), (32, 64));
    assert_eq!(
        (&made["name"], &made["source"], &made["user_agent"]),
        (&json!("First"), &json!("here"), &json!("tests/1"))
    );
    assert_eq!((&made["permissions"], &made["last_used"]), (&json!(ALL), &json!("0001-01-01T00:00:00Z")));
    let owner = made["created_by"].as_str().unwrap();
    assert_ne!(owner, ZERO);

    let mut expected = made.clone();
    expected.as_object_mut().unwrap().remove("client_secret");
    assert_eq!(world.call("GET", &path, &token, &json!(null)).await.json(), expected);
    assert_eq!(world.call("GET", &path.to_lowercase(), &token, &json!(null)).await.json(), expected);

    world.time.advance(std::time::Duration::from_secs(1));
    let renamed = world.call("PUT", &path, &token, &json!({"id": id, "name": "Second"})).await.json();
    assert_eq!((&renamed["name"], &renamed["created"]), (&json!("Second"), &made["created"]));
    assert_ne!(renamed["modified"], made["modified"]);

    let credentials = json!({"client_id": made["client_id"], "client_secret": made["client_secret"]});
    let signed_in = world.post("/v1/authenticate", &credentials).await.json();
    let access = signed_in["access_token"].as_str().unwrap();
    assert_eq!(world.call("GET", "/v1/apikeys/permissions", access, &json!(null)).await.json(), json!(ALL));
    let deleted = world.call("DELETE", &path, &token, &json!(null)).await;
    assert_eq!((deleted.status, deleted.body.len()), (StatusCode::NO_CONTENT, 0));
    world
        .call("GET", "/v1/apikeys/permissions", access, &json!(null))
        .await
        .is_error(401, "this endpoint requires authentication");
    for method in ["GET", "DELETE"] {
        world.call(method, &path, &token, &json!(null)).await.is_error(404, "api key not found");
    }
    world.call("PUT", &path, &token, &json!({"name": "x"})).await.is_error(404, "api key not found");
    world.call("GET", "/v1/apikeys/nonsense", &token, &json!(null)).await.is_error(404, "apikey not found");
    let project = world.call("GET", &format!("/v1/projects/{}", world.project()), &token, &json!(null)).await.json();
    assert_eq!((&project["apikeys_count"], &project["revoked_count"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn what_a_key_may_not_be() {
    let (world, token) = owner().await;
    let good = json!({"name": "K", "project_id": world.project(), "permissions": ["publisher"]});
    let refused = async |field: &str, value: Value, message: &str| {
        let mut body = good.clone();
        body[field] = value;
        world.call("POST", "/v1/apikeys", &token, &body).await.is_error(400, message);
    };
    let some = json!("01ARYZ6S41041061050R3GG28A");
    for field in ["id", "org_id", "created_by"] {
        refused(field, some.clone(), &format!("field restricted for request: {field}")).await;
    }
    for field in ["client_id", "client_secret", "user_agent"] {
        refused(field, json!("x"), &format!("field restricted for request: {field}")).await;
    }
    refused("last_used", json!("2026-01-01T00:00:00Z"), "field restricted for request: last_used").await;
    for (field, value) in [("name", json!("  ")), ("project_id", json!(ZERO)), ("permissions", json!([]))] {
        refused(field, value, &format!("missing required field: {field}")).await;
    }
    refused("project_id", some, "validation error: invalid project id for apikey").await;
    for permission in ["projects:read", "topics:dance", "everything"] {
        refused("permissions", json!([permission]), "validation error: invalid permission specified for apikey").await;
    }
    for body in [json!(null), json!([]), json!({"name": 5})] {
        world.call("POST", "/v1/apikeys", &token, &body).await.is_error(400, "could not parse request");
    }
    let mut zeros = good.clone();
    for field in ["id", "org_id", "created_by"] {
        zeros[field] = json!(ZERO);
    }
    zeros["permissions"] = json!(["publisher", "subscriber", "publisher"]);
    let made = world.call("POST", "/v1/apikeys", &token, &zeros).await;
    assert_eq!((made.status.as_u16(), &made.json()["permissions"]), (201, &json!(["publisher", "subscriber"])));
    // A key manages nothing.
    let key = world.key_token().await;
    let denied = world.call("POST", "/v1/apikeys", &key, &good).await;
    denied.is_error(403, "user does not have permission to perform this operation");
}

#[tokio::test]
async fn keys_come_in_pages_newest_first() {
    let (world, token) = owner().await;
    for name in ["a", "b", "c"] {
        world.time.advance(std::time::Duration::from_secs(1));
        world.new_key(&token, name).await;
    }
    let page = async |query: &str| world.call("GET", &format!("/v1/apikeys?{query}"), &token, &json!(null)).await;
    let names = |page: &Value| {
        page["apikeys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let first = page("page_size=3").await.json();
    assert_eq!(names(&first), ["c", "b", "a"]);
    assert_eq!((&first["apikeys"][0]["status"], &first["apikeys"][0]["partial"]), (&json!("Unused"), &json!(false)));
    let next = first["next_page_token"].as_str().unwrap();
    // The token knows the size.
    let second = page(&format!("page_size=1&next_page_token={next}")).await.json();
    assert_eq!((names(&second), second.get("next_page_token")), (vec!["dev".to_owned()], None));
    assert_eq!(names(&page(&format!("project_id={}", world.project())).await.json()).len(), 4);
    assert!(names(&page("project_id=01ARYZ6S41041061050R3GG28A").await.json()).is_empty());

    page("page_size=-1").await.is_error(400, "validation error: cannot list database without a page size");
    page("page_size=many").await.is_error(400, "could not parse query");
    page("project_id=nonsense").await.is_error(400, "invalid or unparsable field: project_id");
    page("next_page_token=nonsense").await.is_error(400, "could not parse the next page token");
    let elsewhere = format!("/v1/projects?next_page_token={next}");
    world.call("GET", &elsewhere, &token, &json!(null)).await.is_error(400, "could not parse the next page token");

    world.key_token().await;
    let used = page("").await.json();
    assert_eq!(used["apikeys"][3]["status"], json!("Active"));
    world.time.advance(std::time::Duration::from_mins(50));
    let next = page("page_size=1").await.json()["next_page_token"].as_str().unwrap().to_owned();
    world.time.advance(std::time::Duration::from_hours(24));
    assert!(world.identity.verify(&token).is_err());
    let again = world.identity.page(
        crate::identity::List::newest_first("apikeys"),
        world.key.key.organization,
        &crate::identity::PageRequest { size: 0, token: next },
        vec![1],
        |_| Default::default(),
    );
    assert_eq!(again, Err(crate::identity::PageError::Expired));
}

#[tokio::test]
async fn projects_have_the_identifiers_that_clients_choose() {
    let (world, token) = owner().await;
    let id = "01ARYZ6S41041061050R3GG28A";
    let post = async |body: &Value| world.call("POST", "/v1/projects", &token, body).await;
    world.time.advance(std::time::Duration::from_secs(1));
    let made = post(&json!({"project_id": id.to_lowercase()})).await;
    assert_eq!((made.status.as_u16(), &made.json()["project_id"]), (200, &json!(id)));
    post(&json!({"project_id": id})).await.is_error(409, "a project with this id exists already");
    let wrong = "Unable to create a project with those details - please correct them and try again!";
    post(&json!({})).await.is_error(400, wrong);
    post(&json!({"project_id": id, "org_id": id})).await.is_error(400, wrong);
    post(&json!({"project_id": "nonsense"}))
        .await
        .is_error(400, "Unable to create or access that project - please try again!");
    let list = world.call("GET", "/v1/projects", &token, &json!(null)).await.json();
    let ids: Vec<_> =
        list["projects"].as_array().unwrap().iter().map(|one| one["project_id"].as_str().unwrap()).collect();
    assert_eq!(ids, [id, &world.project()]);
    world
        .call("GET", "/v1/projects/nonsense", &token, &json!(null))
        .await
        .is_error(404, "Project with the specified ID was not found.");
}

/// Hole 7: a key had access to every project of its organization.
#[tokio::test]
async fn access_is_for_one_project_and_for_topics_alone() {
    let (world, token) = owner().await;
    let other = world.identity.create_project(world.key.key.organization, "other").await.unwrap().id.to_string();
    let ask = async |token: &str, body: &Value| world.call("POST", "/v1/projects/access", token, body).await;
    let reply = ask(&token, &json!({"project_id": other})).await.json();
    assert_eq!(reply.as_object().unwrap().keys().collect::<Vec<_>>(), ["access_token"]);
    let narrow = reply["access_token"].as_str().unwrap();
    let principal = world.identity.verify(narrow).unwrap();
    assert_eq!(principal.project.map(|project| project.to_string()), Some(other.clone()));
    let names: Vec<_> = principal.permissions.iter().map(crate::model::Permission::name).collect();
    assert_eq!(names, ["topics:create", "topics:edit", "topics:destroy", "topics:read", "metrics:read"]);

    let no_access = "Unable to create or access that project - please try again!";
    let key = world.key_token().await;
    for (token, project) in [(key.as_str(), &other), (narrow, &world.project())] {
        ask(token, &json!({"project_id": project})).await.is_error(400, no_access);
    }
    assert_eq!(ask(&key, &json!({"project_id": world.project()})).await.status, StatusCode::OK);
    ask(&token, &json!({"project_id": "01ARYZ6S41041061050R3GG28A"})).await.is_error(400, no_access);
    ask(&token, &json!({})).await.is_error(400, "missing required field: project_id");
    ask(&token, &json!({"org_id": other, "project_id": other}))
        .await
        .is_error(400, "field restricted for request: org_id");
    world.time.advance(std::time::Duration::from_mins(5));
    assert!(world.identity.verify(narrow).is_err());
}

#[tokio::test]
async fn every_organization_has_tenants() {
    let (world, token) = owner().await;
    let call = async |method: &str, path: &str, body: Value| world.call(method, path, &token, &body).await;
    let list = call("GET", "/api/tenants", json!(null)).await.json();
    let names: Vec<_> = list["tenants"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Production", "Staging", "Development"]);
    let development = list["tenants"][2]["id"].as_str().unwrap();
    let projects = call("GET", &format!("/api/tenants/{development}/projects"), json!(null)).await.json();
    assert_eq!(projects["projects"][0]["name"], json!("dev"));

    let made = call("POST", "/api/tenants", json!({"name": "Lab", "environment_type": "Testing"})).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let path = format!("/api/tenants/{}", made.json()["id"].as_str().unwrap());
    call("POST", "/api/tenants", json!({"name": "Lab", "environment_type": "x"}))
        .await
        .is_error(409, "a tenant with this name or id exists already");
    call("POST", "/api/tenants", json!({"name": "Other"}))
        .await
        .is_error(400, "missing required field: environment_type");
    let renamed = call("PUT", &path, json!({"name": "Laboratory"})).await.json();
    assert_eq!((&renamed["name"], &renamed["environment_type"]), (&json!("Laboratory"), &json!("Testing")));
    assert_eq!(call("DELETE", &path, json!(null)).await.status, StatusCode::NO_CONTENT);
    call("GET", &path, json!(null)).await.is_error(404, "tenant not found");
    call("DELETE", &format!("/api/tenants/{development}"), json!(null)).await.is_error(409, "the tenant has projects");
    for tenant in [0, 1] {
        let path = format!("/api/tenants/{}", list["tenants"][tenant]["id"].as_str().unwrap());
        assert_eq!(call("DELETE", &path, json!(null)).await.status, StatusCode::NO_CONTENT);
    }
    call("DELETE", &format!("/api/tenants/{development}"), json!(null))
        .await
        .is_error(409, "an organization keeps at least one tenant");
}

#[tokio::test]
async fn a_project_is_removed_with_its_topics_and_keys() {
    let (world, token) = owner().await;
    let call = async |method: &str, path: &str, body: Value| world.call(method, path, &token, &body).await;
    let made = call("POST", "/api/projects", json!({"name": "Shop", "description": "Orders"})).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let made = made.json();
    assert_eq!((&made["status"], &made["active_topics"]), (&json!("Incomplete"), &json!(0)));
    assert_eq!(made["owner"]["email"].as_str().map(str::is_empty), Some(false));
    let (id, path) = (made["id"].as_str().unwrap(), format!("/api/projects/{}", made["id"].as_str().unwrap()));
    let project = ProjectId(Ulid::parse(id).unwrap());
    let new = NewKey { name: "k".to_owned(), project, permissions: Permissions::full_key(), created_by: None };
    let issued = world.identity.create_key(new).await.unwrap();
    let access = world.identity.authenticate(&issued.key.client_id, &issued.secret).await.unwrap().access;
    let principal = world.identity.verify(access.expose_str().unwrap()).unwrap();
    let topic = NewTopic { name: "orders".to_owned(), ..NewTopic::default() };
    world.state.broker.create_topic(&principal, topic).await.unwrap();
    assert_eq!(call("GET", &path, json!(null)).await.json()["status"], json!("Active"));
    let renamed = call("PATCH", &path, json!({"description": "All orders"})).await.json();
    assert_eq!((&renamed["name"], &renamed["description"]), (&json!("Shop"), &json!("All orders")));
    call("PATCH", &path, json!({"description": "x".repeat(2001)})).await.is_error(400, "the description is too long");

    call("DELETE", &path, json!({})).await.is_error(400, "id in request body does not match id in URL");
    let step = call("DELETE", &path, json!({"id": id})).await.json();
    assert_eq!(step["name"], json!("Shop"));
    let dev = format!("/api/projects/{}", world.project());
    let elsewhere = json!({"id": world.project(), "token": step["token"]});
    call("DELETE", &dev, elsewhere).await.is_error(412, "invalid confirmation token");
    call("DELETE", &path, json!({"id": id, "token": "x"})).await.is_error(412, "invalid confirmation token");
    assert!(world.identity.verify(access.expose_str().unwrap()).is_ok());
    let late = step["token"].clone();
    world.time.advance(std::time::Duration::from_mins(5));
    call("DELETE", &path, json!({"id": id, "token": late})).await.is_error(412, "invalid confirmation token");

    // One that was interrupted behind its first step is still there, and can be removed.
    let (_, first) = world.identity.prepare_project_removal(world.key.key.organization, project).await.unwrap();
    world.identity.begin_project_removal(world.key.key.organization, project, &first).await.unwrap();
    assert_eq!(call("GET", &path, json!(null)).await.json()["status"], json!("Deleting"));
    assert!(world.identity.verify(access.expose_str().unwrap()).is_err());
    let key = json!({"name": "late", "project_id": id, "permissions": ["publisher"]});
    call("POST", "/v1/apikeys", key).await.is_error(400, "validation error: invalid project id for apikey");
    let step = call("DELETE", &path, json!({"id": id})).await.json();
    let removed = call("DELETE", &path, json!({"id": id, "token": step["token"]})).await;
    assert_eq!((removed.status.as_u16(), &removed.json()["status"]), (202, &json!("DELETED")));
    call("GET", &path, json!(null)).await.is_error(404, "project not found");
    assert!(world.identity.authenticate(&issued.key.client_id, &issued.secret).await.is_err());
    let anybody = Principal { subject: Subject::Key(KeyId::default()), ..principal };
    assert_eq!(world.state.broker.topic_names(&anybody, &PageRequest::default()).unwrap().items.len(), 0);
    let again = world.call("POST", "/v1/projects", &token, &json!({"project_id": id})).await;
    again.is_error(409, "a project with this id exists already");
}

#[tokio::test]
async fn a_new_signing_key_leaves_old_tokens_good() {
    let (world, token) = owner().await;
    let jwks = async || world.get("/.well-known/jwks.json").await.json()["keys"].as_array().unwrap().len();
    assert_eq!(jwks().await, 1);
    let denied = world.call("POST", "/api/signing-keys/rotate", &world.key_token().await, &json!(null)).await;
    denied.is_error(403, "user does not have permission to perform this operation");
    let rotated = world.call("POST", "/api/signing-keys/rotate", &token, &json!(null)).await.json();
    assert_eq!((rotated["keys"].as_array().unwrap().len(), jwks().await), (2, 2));
    assert!(world.identity.verify(&token).is_ok());
    assert!(world.identity.verify(&world.key_token().await).is_ok());
    // The last token that the first key signed has ended by then.
    world.time.advance(std::time::Duration::from_hours(2));
    world.identity.rotate_signing_key().await.unwrap();
    assert_eq!(jwks().await, 2);
    world.time.advance(std::time::Duration::from_hours(90 * 24 - 1));
    world.key_token().await;
    assert_eq!(jwks().await, 2);
    world.time.advance(std::time::Duration::from_hours(1));
    let before = world.identity.jwks();
    world.key_token().await;
    assert_ne!(world.identity.jwks(), before);
}

/// What belongs to another organization is not there.
#[tokio::test]
async fn other_organizations_see_nothing() {
    let (world, token) = owner().await;
    let foreign = world.identity.create_organization("Foreign").await.unwrap().id;
    let project = world.identity.create_project(foreign, "theirs").await.unwrap().id;
    let new = NewKey { name: "k".to_owned(), project, permissions: Permissions::full_key(), created_by: None };
    let key = world.identity.create_key(new).await.unwrap().key.id;
    let tenant = world.identity.tenants(foreign).await.unwrap()[0].id;
    for (method, path, body) in [
        ("GET", format!("/v1/apikeys/{key}"), json!(null)),
        ("PUT", format!("/v1/apikeys/{key}"), json!({"name": "mine"})),
        ("DELETE", format!("/v1/apikeys/{key}"), json!(null)),
        ("GET", format!("/v1/projects/{project}"), json!(null)),
        ("GET", format!("/api/projects/{project}"), json!(null)),
        ("PATCH", format!("/api/projects/{project}"), json!({"name": "mine"})),
        ("DELETE", format!("/api/projects/{project}"), json!({"id": project.to_string()})),
        ("GET", format!("/api/tenants/{tenant}"), json!(null)),
        ("PUT", format!("/api/tenants/{tenant}"), json!({"name": "mine"})),
        ("DELETE", format!("/api/tenants/{tenant}"), json!(null)),
        ("GET", format!("/api/tenants/{tenant}/projects"), json!(null)),
    ] {
        let reply = world.call(method, &path, &token, &body).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{method} {path}");
    }
    let moved = world
        .call("PATCH", &format!("/api/projects/{}", world.project()), &token, &json!({"tenant_id": tenant.to_string()}))
        .await;
    moved.is_error(404, "tenant not found");
    let lists = [
        ("/v1/apikeys", "apikeys", 1),
        ("/v1/projects", "projects", 1),
        ("/api/projects", "projects", 1),
        ("/api/tenants", "tenants", 3),
    ];
    for (path, name, count) in lists {
        let list = world.call("GET", path, &token, &json!(null)).await.json();
        assert_eq!(list[name].as_array().unwrap().len(), count, "{path}");
    }
    world.identity.key(key).await.unwrap();
}
