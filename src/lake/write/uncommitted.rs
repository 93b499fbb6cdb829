//! Files that were written and that no commit names yet.
//!
//! They have an owner at any time: a writer, an [`Uncommitted`], a change, a commit in progress. An owner that
//! is dropped deletes them. Only a commit whose answer was lost leaves them in storage (I6).

use iceberg::spec::DataFile;

use crate::lake::Lake;

/// Paths of written files. Dropped, it deletes them in the background.
pub(in crate::lake) struct Written {
    lake: Lake,
    paths: Vec<String>,
}

impl std::fmt::Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Written").field(&self.paths).finish()
    }
}

impl Written {
    pub(in crate::lake) fn nothing(lake: &Lake) -> Self {
        Self { lake: lake.clone(), paths: vec![] }
    }

    /// Adds a path; the file need not exist yet.
    pub(in crate::lake) fn push(&mut self, path: String) {
        self.paths.push(path);
    }

    /// A commit may name them from now on: they are no longer deleted. Returns their paths.
    pub(in crate::lake) fn keep(mut self) -> Vec<String> {
        std::mem::take(&mut self.paths)
    }

    /// Deletes them now.
    pub(in crate::lake) async fn discard(self) {
        let lake = self.lake.clone();
        lake.delete_unnamed(self.keep()).await;
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let paths = std::mem::take(&mut self.paths);
        if paths.is_empty() {
            return;
        }
        let lake = self.lake.clone();
        // Without a runtime the process is ending: the file stays as an orphan, which harms nothing.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { lake.delete_unnamed(paths).await });
        }
    }
}

/// Data files that were written for a table and that no commit names yet.
///
/// A commit consumes them and returns them where another commit came first. Dropped, they are deleted in the
/// background; [`Uncommitted::discard`] deletes them now.
#[derive(Debug)]
#[must_use = "data files that no commit takes are deleted"]
pub struct Uncommitted {
    written: Written,
    files: Vec<DataFile>,
    /// The id of the partition spec of each file: a [`DataFile`] does not show it.
    specs: Vec<i32>,
}

/// Files that a commit may name, with the ids of their partition specs.
pub(in crate::lake) type Kept = (Vec<DataFile>, Vec<i32>);

impl Uncommitted {
    /// No files.
    pub fn nothing(lake: &Lake) -> Self {
        Self::of(lake, (vec![], vec![]))
    }

    pub(in crate::lake) fn of(lake: &Lake, (files, specs): Kept) -> Self {
        let mut written = Written::nothing(lake);
        files.iter().for_each(|file| written.push(file.file_path().to_owned()));
        Self { written, files, specs }
    }

    /// The files.
    pub fn files(&self) -> &[DataFile] {
        &self.files
    }

    /// The files, each with the id of its partition spec.
    pub(in crate::lake) fn with_specs(&self) -> impl Iterator<Item = (&DataFile, i32)> {
        self.files.iter().zip(self.specs.iter().copied())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Adds others.
    pub fn extend(&mut self, mut others: Self) {
        self.written.paths.append(&mut others.written.paths);
        self.files.append(&mut others.files);
        self.specs.append(&mut others.specs);
    }

    /// Removes and returns the file at `path`, where it is one of them.
    pub fn take(&mut self, path: &str) -> Option<Self> {
        let index = self.files.iter().position(|file| file.file_path() == path)?;
        let (file, spec) = (self.files.remove(index), self.specs.remove(index));
        self.written.paths.retain(|written| written != path);
        Some(Self::of(&self.written.lake, (vec![file], vec![spec])))
    }

    /// Deletes them now. A file that cannot be deleted is an orphan, which harms nothing.
    pub async fn discard(self) {
        self.written.discard().await;
    }

    /// A commit may name them from now on: they are no longer deleted.
    pub(in crate::lake) fn keep(self) -> Kept {
        self.written.keep();
        (self.files, self.specs)
    }
}
