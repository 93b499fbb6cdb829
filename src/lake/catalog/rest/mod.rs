//! Any catalog that speaks the Iceberg REST protocol
//! ([specification](https://github.com/apache/iceberg/blob/main/open-api/rest-catalog-open-api.yaml)):
//! Polaris, Lakekeeper, Nessie, Unity, Gravitino, the endpoints of S3 Tables and Glue.
//!
//! The catalog writes metadata files. A commit is a POST of requirements and updates, so the token is what the
//! requirements assert: while it holds, a commit that was sent may still be carried out.

mod client;
mod login;

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use iceberg::spec::{Schema, TableMetadata, UnboundPartitionSpec};
use iceberg::{TableRequirement, TableUpdate};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Catalog, CatalogError, Entry, Pointer, Proposal, Swap, Token};
use crate::ambient::SharedAmbient;
use crate::lake::TableName;
use client::{Answer, Client};
pub use login::{Login, Secret};

/// The address of a REST catalog, and the login.
#[derive(Debug, Clone)]
pub struct RestSettings {
    /// Its address, up to and without `/v1`.
    pub uri: String,
    /// The warehouse to request at `/v1/config`.
    pub warehouse: Option<String>,
    /// How requests are signed.
    pub login: Login,
    /// Whether silversmith chooses the location of new tables (below `lake.warehouse`), and not the catalog.
    pub places_tables: bool,
}

/// A REST catalog, connected.
#[derive(Debug)]
pub struct RestCatalog {
    client: Client,
    places_tables: bool,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    defaults: BTreeMap<String, String>,
    #[serde(default)]
    overrides: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct LoadTableResult {
    metadata_location: Option<String>,
    metadata: TableMetadata,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct CreateTable<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a str>,
    schema: &'a Schema,
    partition_spec: UnboundPartitionSpec,
    stage_create: bool,
    properties: &'a HashMap<String, String>,
}

#[derive(Serialize)]
struct CreateNamespace<'a> {
    namespace: Vec<&'a str>,
    properties: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct CommitTable<'a> {
    requirements: &'a [TableRequirement],
    updates: &'a [TableUpdate],
}

#[derive(Deserialize)]
struct Identifier {
    namespace: Vec<String>,
    name: String,
}

/// A page of a list: of namespaces, or of tables.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Page<T> {
    #[serde(alias = "namespaces", alias = "identifiers")]
    items: Vec<T>,
    next_page_token: Option<String>,
}

/// The levels of a namespace are joined by the unit separator in paths (REST specification, parameter `namespace`).
const SEPARATOR: &str = "\u{1f}";

impl RestCatalog {
    /// Asks the catalog for its configuration. `ambient` dates tokens and signatures.
    pub async fn connect(
        settings: RestSettings,
        ambient: &SharedAmbient,
    ) -> Result<Self, CatalogError> {
        let mut client = Client::new(&settings.uri, settings.login, ambient)?;
        let mut query = Vec::new();
        if let Some(warehouse) = &settings.warehouse {
            query.push(("warehouse", warehouse.as_str()));
        }
        let answer = client.read("connect", &["config"], &query).await?;
        let config: Config = answer.ok()?.json()?;
        // Overrides win over the settings, and the settings over defaults: the address is in the settings.
        let uri = config.overrides.get("uri");
        let prefix = config.overrides.get("prefix").or_else(|| config.defaults.get("prefix"));
        client.go_on(uri.map(String::as_str), prefix.map(String::as_str))?;
        Ok(Self { client, places_tables: settings.places_tables })
    }

    async fn make_namespace(&self, namespace: &str) -> Result<(), CatalogError> {
        let body = CreateNamespace {
            namespace: namespace.split('.').collect(),
            properties: BTreeMap::new(),
        };
        let answer =
            self.client.send("create the namespace", Method::POST, &["namespaces"], &body).await?;
        match answer.status {
            StatusCode::CONFLICT => Ok(()),
            _ => answer.ok().map(drop),
        }
    }

    async fn namespaces(&self) -> Result<Vec<Vec<String>>, CatalogError> {
        let mut found = self.children(None).await?;
        let mut looked_into = 0;
        while let Some(parent) = found.get(looked_into).cloned() {
            looked_into += 1;
            for child in self.children(Some(&parent)).await? {
                // A catalog of one level may list all of them again.
                let below = child.len() > parent.len() && child.starts_with(&parent);
                if below && !found.contains(&child) {
                    found.push(child);
                }
            }
        }
        Ok(found)
    }

    async fn children(
        &self,
        parent: Option<&Vec<String>>,
    ) -> Result<Vec<Vec<String>>, CatalogError> {
        let above = parent.map(|levels| levels.join(SEPARATOR));
        let query = above.as_deref().map(|above| ("parent", above));
        let listed = self.list("list namespaces", &["namespaces"], query).await?;
        match listed {
            // … or refuse to list below a namespace.
            Err(refused) if parent.is_some() && refused.status.is_client_error() => Ok(vec![]),
            Err(refused) => refused.ok().map(|_| vec![]),
            Ok(namespaces) => Ok(namespaces),
        }
    }

    async fn tables_of(&self, namespace: &[String]) -> Result<Vec<TableName>, CatalogError> {
        let joined = namespace.join(SEPARATOR);
        let path = ["namespaces", joined.as_str(), "tables"];
        let listed = self.list::<Identifier>("list tables", &path, None).await?;
        let identifiers = listed.or_else(|refused| refused.ok().map(|_| vec![]))?;
        Ok(identifiers.into_iter().map(|i| TableName::new(i.namespace.join("."), i.name)).collect())
    }

    /// All pages of a list, or the answer of a failed request.
    async fn list<T: DeserializeOwned>(
        &self,
        doing: &'static str,
        path: &[&str],
        query: Option<(&str, &str)>,
    ) -> Result<Result<Vec<T>, Answer>, CatalogError> {
        let (mut found, mut token) = (Vec::new(), None::<String>);
        loop {
            let mut query: Vec<_> = query.into_iter().collect();
            query.extend(token.as_deref().map(|token| ("pageToken", token)));
            let answer = self.client.read(doing, path, &query).await?;
            if !answer.status.is_success() {
                return Ok(Err(answer));
            }
            let page: Page<T> = answer.json()?;
            found.extend(page.items);
            match page.next_page_token.filter(|token| !token.is_empty()) {
                Some(next) => token = Some(next),
                None => return Ok(Ok(found)),
            }
        }
    }
}

fn levels(table: &TableName) -> String {
    table.namespace().split('.').collect::<Vec<_>>().join(SEPARATOR)
}

#[async_trait]
impl Catalog for RestCatalog {
    fn writes_metadata(&self) -> bool {
        true
    }

    async fn place(&self, _table: &TableName) -> Result<Option<String>, CatalogError> {
        Ok((!self.places_tables).then(String::new))
    }

    async fn load(&self, table: &TableName) -> Result<Option<Entry>, CatalogError> {
        let namespace = levels(table);
        let path = ["namespaces", namespace.as_str(), "tables", table.table()];
        let answer = self.client.read("load a table", &path, &[]).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let loaded: LoadTableResult = answer.ok()?.json()?;
        let pointer = Pointer {
            metadata_location: loaded.metadata_location.unwrap_or_default(),
            token: token(&loaded.metadata),
        };
        Ok(Some(Entry { pointer, metadata: Some(loaded.metadata) }))
    }

    async fn create(&self, table: &TableName, first: &Proposal) -> Result<Swap, CatalogError> {
        let namespace = levels(table);
        let path = ["namespaces", namespace.as_str(), "tables"];
        let metadata = &first.metadata;
        let mut properties = metadata.properties().clone();
        // Only here can a creation set it; servers have defaults of their own.
        properties.insert("format-version".to_owned(), "2".to_owned());
        let body = CreateTable {
            name: table.table(),
            location: Some(metadata.location()).filter(|location| !location.is_empty()),
            schema: metadata.current_schema(),
            partition_spec: metadata.default_partition_spec().as_ref().clone().into_unbound(),
            stage_create: false,
            properties: &properties,
        };
        const DOING: &str = "create a table";
        let mut answer = self.client.send(DOING, Method::POST, &path, &body).await?;
        if answer.status == StatusCode::NOT_FOUND {
            self.make_namespace(table.namespace()).await?;
            answer = self.client.send(DOING, Method::POST, &path, &body).await?;
        }
        match answer.status {
            StatusCode::CONFLICT => Ok(Swap::Refused),
            _ => answer.ok().map(|_| Swap::Swapped),
        }
    }

    async fn swap(
        &self,
        table: &TableName,
        _base: &Pointer,
        next: &Proposal,
    ) -> Result<Swap, CatalogError> {
        let namespace = levels(table);
        let path = ["namespaces", namespace.as_str(), "tables", table.table()];
        let body = CommitTable { requirements: &next.requirements, updates: &next.updates };
        let answer =
            self.client.send("swap a table's metadata", Method::POST, &path, &body).await?;
        match answer.status {
            StatusCode::CONFLICT | StatusCode::NOT_FOUND => Ok(Swap::Refused),
            _ => answer.ok().map(|_| Swap::Swapped),
        }
    }

    async fn tables(&self) -> Result<Vec<TableName>, CatalogError> {
        let mut found = Vec::new();
        for namespace in self.namespaces().await? {
            found.extend(self.tables_of(&namespace).await?);
        }
        found.sort();
        Ok(found)
    }
}

/// What the requirements of a commit on this state assert, and the sequence number, which never repeats.
fn token(metadata: &TableMetadata) -> Token {
    Token(format!(
        "{} main={:?} sequence={} schema={} fields={} spec={}",
        metadata.uuid(),
        metadata.current_snapshot_id(),
        metadata.last_sequence_number(),
        metadata.current_schema_id(),
        metadata.last_column_id(),
        metadata.default_partition_spec_id(),
    ))
}
