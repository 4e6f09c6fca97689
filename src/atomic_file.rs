//! A file that appears under its name complete or not at all.

use crate::error::{Error, Result, bail};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A new file in the folder of its destination, under a name of its own until [`commit`](Self::commit). Dropped before
/// that, it is removed.
#[derive(Debug)]
#[must_use = "a file that is not committed is removed"]
pub struct AtomicFile {
    /// `None` once closed.
    file: Option<File>,
    part: PathBuf,
    path: PathBuf,
}

impl AtomicFile {
    /// Creates the temporary file beside `path`.
    pub fn create(path: &Path) -> Result<AtomicFile> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        if path.file_name().is_none() {
            bail!(InvalidArgument, "{} does not name a file", path.display());
        }
        loop {
            let n = COUNTER.fetch_add(1, Ordering::Relaxed);
            let part = path.with_file_name(format!(".oribi-{}-{n}.part", std::process::id()));
            match File::create_new(&part) {
                Ok(file) => return Ok(AtomicFile { file: Some(file), part, path: path.to_owned() }),
                // Left by a process of the same id that was killed.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(Error::io(format_args!("create {}", part.display()), e)),
            }
        }
    }

    /// Sets who may read and write it.
    pub(crate) fn set_permissions(&self, permissions: std::fs::Permissions) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        file.set_permissions(permissions).map_err(|e| Error::io(format_args!("write {}", self.path.display()), e))
    }

    /// Waits until the bytes are on the disk and gives the file its name, in place of any other file of that name.
    pub fn commit(mut self) -> Result<()> {
        if let Some(file) = self.file.take() {
            file.sync_all().map_err(|e| Error::io(format_args!("write {}", self.path.display()), e))?;
            // Closed here: some systems do not rename an open file.
        }
        rename(&self.part, &self.path)?; // or `drop` removes the part
        self.part.clear();
        Ok(())
    }
}

/// Gives a closed file whose bytes are on the disk another name, in place of any other file of that name.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to)
        .map_err(|e| Error::io(format_args!("rename {} to {}", from.display(), to.display()), e))?;
    #[cfg(unix)]
    sync_folder(to);
    Ok(())
}

/// Makes a new name last through a power failure. The file itself is whole either way, and some file systems cannot do
/// this, so a failure is not an error.
#[cfg(unix)]
fn sync_folder(path: &Path) {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| file.flush())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        drop(self.file.take());
        if !self.part.as_os_str().is_empty() {
            let _ = std::fs::remove_file(&self.part);
        }
    }
}
