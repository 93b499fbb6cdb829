//! Every kind of catalog, with the files that its tables live in.

use std::sync::Arc;

use aws_sdk_s3::config::SharedCredentialsProvider;
use silversmith::ambient::{SharedAmbient, SystemAmbient};
use silversmith::aws::service::{Call, Service};
use silversmith::aws::signing::Signer;
use silversmith::lake::catalog::{
    Catalog, GlueCatalog, JdbcCatalog, Login, MemoryCatalog, RestCatalog, RestSettings,
    S3TablesCatalog, Secret,
};
use silversmith::lake::{FileIO, Lake, TableName, local_files, memory_files, s3_files};

use crate::emulator::stand::{clients_at, config_at, create_bucket};

/// Services live by the machine's clock.
pub fn clock() -> SharedAmbient {
    Arc::new(SystemAmbient)
}

/// A setting of the suite, made by `tests/run`. A test that needs it fails without it.
pub fn setting(name: &str) -> String {
    #[allow(clippy::disallowed_methods, reason = "the test suite's own setting")]
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run the suite by `bash tests/run`"))
}

/// The URL of the Postgres that `tests/run` starts.
pub fn postgres_url() -> String {
    setting("SILVERSMITH_TEST_POSTGRES")
}

/// A catalog, and where its tables go.
pub struct Backing {
    pub kind: &'static str,
    pub catalog: Arc<dyn Catalog>,
    pub files: FileIO,
    pub warehouse: String,
    /// A namespace that no other run uses.
    pub namespace: String,
}

impl Backing {
    pub fn table(&self, name: &str) -> TableName {
        TableName::new(&self.namespace, name)
    }

    pub fn lake(&self) -> Lake {
        self.lake_on(self.catalog.clone())
    }

    /// The lake behind a decorated catalog.
    pub fn lake_on(&self, catalog: Arc<dyn Catalog>) -> Lake {
        Lake::new(catalog, self.files.clone(), &self.warehouse, Arc::new(SystemAmbient))
    }

    /// Whether files can be deleted: S3 Tables does that itself, and refuses it to others.
    pub fn deletes_files(&self) -> bool {
        !matches!(self.kind, "s3tables" | "rest of s3tables")
    }

    fn in_memory(kind: &'static str, namespace: &str, catalog: impl Catalog + 'static) -> Self {
        Self {
            kind,
            catalog: Arc::new(catalog),
            files: memory_files(),
            warehouse: "memory:/warehouse".to_owned(),
            namespace: namespace.to_owned(),
        }
    }
}

const CACHE: u64 = 1024 * 1024;

/// A name that no other run uses.
pub fn new_name() -> String {
    #[allow(clippy::disallowed_methods, reason = "a name that no other run uses")]
    let id = uuid::Uuid::new_v4().simple().to_string();
    format!("n{}", &id[..12])
}

/// The URL of moto: the S3 Tables API, and the S3 of its tables.
pub fn moto() -> String {
    setting("SILVERSMITH_TEST_MOTO")
}

/// The URL of ministack: Glue, the REST endpoint of S3 Tables, and the S3 of their tables.
pub fn ministack() -> String {
    setting("SILVERSMITH_TEST_MINISTACK")
}

/// Every kind of catalog, under a name that no other run uses.
pub async fn backings(folder: &tempfile::TempDir) -> Vec<Backing> {
    let name = new_name();
    let sqlite = format!("sqlite:{}", folder.path().join("catalog.db").display());
    let jdbc = async |url: &str| JdbcCatalog::connect(url, &name).await.unwrap();
    vec![
        Backing::in_memory("memory", &name, MemoryCatalog::new()),
        Backing::in_memory("sqlite", &name, jdbc(&sqlite).await),
        Backing::in_memory("postgres", &name, jdbc(&postgres_url()).await),
        s3_tables(&name).await,
        glue(&name).await,
        rest("rest, open", &name, "", Login::None).await,
        rest("rest, token", &name, "/secured", Login::Token(Secret::new("static-token"))).await,
        rest("rest, oauth2", &name, "/secured", oauth2()).await,
        rest_of_s3_tables(&name).await,
    ]
}

/// A service on a stand-in for AWS, as the program calls it.
pub async fn service_at(endpoint: &str, id: &str) -> Service {
    Service::new(&config_at(endpoint).await, id, clock()).unwrap()
}

/// Creates a table bucket. Returns its ARN.
pub async fn table_bucket(endpoint: &str, name: &str) -> String {
    let call = Call::put(&["buckets"], serde_json::json!({"name": name}));
    let made = service_at(endpoint, "S3Tables").await.send(&call).await.unwrap();
    made.json::<serde_json::Value>().unwrap()["arn"].as_str().unwrap().to_owned()
}

async fn s3_tables(name: &str) -> Backing {
    let endpoint = moto();
    let arn = table_bucket(&endpoint, name).await;
    let service = service_at(&endpoint, "S3Tables").await;
    Backing {
        kind: "s3tables",
        catalog: Arc::new(S3TablesCatalog::new(service, &arn)),
        files: s3_files(clients_at(&endpoint).await.0, CACHE, &clock()),
        warehouse: String::new(),
        namespace: name.to_owned(),
    }
}

/// A bucket on ministack.
pub async fn new_bucket(name: &str) -> (String, aws_sdk_s3::Client) {
    let endpoint = ministack();
    let (s3, _) = clients_at(&endpoint).await;
    create_bucket(&s3, name).await;
    (endpoint, s3)
}

async fn glue(name: &str) -> Backing {
    let (endpoint, s3) = new_bucket(&format!("{name}-glue")).await;
    let service = service_at(&endpoint, "Glue").await;
    Backing {
        kind: "glue",
        catalog: Arc::new(GlueCatalog::new(service, "")),
        files: s3_files(s3, CACHE, &clock()),
        warehouse: format!("s3://{name}-glue/lake"),
        namespace: name.to_owned(),
    }
}

/// The REST catalog that `tests/run` starts: PyIceberg's behind HTTP.
pub fn rest_url() -> String {
    setting("SILVERSMITH_TEST_REST")
}

/// The login that the secured part of that catalog knows.
pub fn oauth2() -> Login {
    Login::OAuth2 {
        server: format!("{}/secured/v1/oauth/tokens", rest_url()),
        client_id: "silversmith".to_owned(),
        client_secret: Secret::new("secret"),
        scope: "catalog".to_owned(),
    }
}

async fn rest(kind: &'static str, name: &str, part: &str, login: Login) -> Backing {
    let settings = RestSettings {
        uri: format!("{}{part}", rest_url()),
        warehouse: Some("lake".to_owned()),
        login,
        places_tables: false,
    };
    let kind_of = kind.replace([',', ' '], "_");
    Backing {
        kind,
        catalog: Arc::new(RestCatalog::connect(settings, &clock()).await.unwrap()),
        files: local_files(),
        warehouse: String::new(),
        namespace: format!("{name}_{kind_of}"),
    }
}

/// The REST endpoint of S3 Tables, with signed requests; the catalog chooses the location of tables.
async fn rest_of_s3_tables(name: &str) -> Backing {
    let endpoint = ministack();
    let warehouse = table_bucket(&endpoint, &format!("{name}-rest")).await;
    let credentials = aws_sdk_s3::config::Credentials::new("test", "test", None, None, "test");
    let credentials = SharedCredentialsProvider::new(credentials);
    let signer = Signer::new(credentials, "eu-west-1", "s3tables", clock());
    let settings = RestSettings {
        uri: format!("{endpoint}/iceberg"),
        warehouse: Some(warehouse),
        login: Login::SigV4(Arc::new(signer)),
        places_tables: false,
    };
    Backing {
        kind: "rest of s3tables",
        catalog: Arc::new(RestCatalog::connect(settings, &clock()).await.unwrap()),
        files: s3_files(clients_at(&endpoint).await.0, CACHE, &clock()),
        warehouse: String::new(),
        namespace: name.to_owned(),
    }
}
