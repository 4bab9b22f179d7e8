//! Projects: what topics and keys belong to.

use http::Method;
use serde::{Deserialize, Serialize};

use super::{Account, page::Page, wire};
use crate::{
    client::{ClientError, rest::encoded},
    model::{Secret, Time},
};

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Project {
    pub id: String,
    #[serde(default)]
    pub tenant_id: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// Incomplete, Active or Deleting.
    #[serde(default)]
    pub status: String,
    /// Who made it; none when the server did, or when they are no member any more.
    #[serde(default)]
    pub owner: Option<ProjectOwner>,
    #[serde(default)]
    pub active_topics: u64,
    #[serde(default)]
    pub data_storage: Storage,
    #[serde(default, deserialize_with = "wire::time")]
    pub created: Option<Time>,
    #[serde(default, deserialize_with = "wire::time")]
    pub modified: Option<Time>,
}

/// A member of the organization who made a project.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ProjectOwner {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub email: String,
}

/// How much a project's events take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Storage {
    /// In bytes.
    #[serde(default)]
    pub value: u64,
}

/// A project that is to be made.
#[derive(Debug, Clone, Serialize)]
pub struct NewProject {
    /// Without one, the organization's oldest.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tenant_id: String,
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

#[derive(Deserialize)]
struct ProjectList {
    #[serde(default)]
    projects: Vec<Project>,
    #[serde(default)]
    next_page_token: String,
}

impl Page for ProjectList {
    type Item = Project;

    fn into_parts(self) -> (Vec<Project>, String) {
        (self.projects, self.next_page_token)
    }
}

/// What of a project is to change.
#[derive(Debug, Clone, Default, Serialize)]
struct Change<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
}

#[derive(Serialize)]
struct Removal<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

#[derive(Deserialize)]
struct RemovalReply {
    token: String,
}

impl Account {
    /// The projects of the organization.
    pub async fn projects(&self) -> Result<Vec<Project>, ClientError> {
        self.all::<ProjectList>("/api/projects").await
    }

    pub async fn project(&self, id: &str) -> Result<Project, ClientError> {
        self.get(&path(id)).await
    }

    pub async fn create_project(&self, project: &NewProject) -> Result<Project, ClientError> {
        self.post("/api/projects", project).await
    }

    /// Gives a project another name, or another description.
    pub async fn update_project(
        &self,
        id: &str,
        name: Option<&str>,
        description: Option<&str>,
    ) -> Result<Project, ClientError> {
        self.json(Method::PATCH, &path(id), Some(&Change { name, description })).await
    }

    /// The first step of removing a project: gives the token that the second one needs. Nothing is removed yet.
    pub async fn prepare_project_removal(&self, id: &str) -> Result<Secret, ClientError> {
        let reply: RemovalReply = self.json(Method::DELETE, &path(id), Some(&Removal { id, token: None })).await?;
        Ok(Secret::new(reply.token))
    }

    /// Removes a project with its topics and keys, for good.
    pub async fn remove_project(&self, id: &str, token: &Secret) -> Result<(), ClientError> {
        self.call(Method::DELETE, &path(id), Some(&Removal { id, token: token.expose_str() })).await.map(drop)
    }
}

fn path(id: &str) -> String {
    format!("/api/projects/{}", encoded(id))
}
