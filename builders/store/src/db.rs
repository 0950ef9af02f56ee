//! Nix's database: which paths are valid, and what refers to what.
//!
//! The schema is Nix's schema 10 to the letter (the tests compare it with one that Nix made), so
//! that either program may write. Like Nix, every process holds `db/big-lock` shared while it has
//! the database open; whoever creates or changes the schema holds it alone.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_formats::{FormatError, Sha256, StorePath};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, TransactionBehavior, params};
use rustix::fs::FlockOperation;

use crate::error::{At as _, Result, StoreError};
use crate::info::PathInfo;
use crate::layout::Layout;
use crate::lock;

const SCHEMA: u32 = 10;

/// How long to wait for another process's transaction. Ours take milliseconds; a Nix that
/// registers a big closure takes seconds.
const BUSY: Duration = Duration::from_secs(60);

/// Nix deletes this file when it collects garbage on a full disk, so that the database can grow
/// while rows go away. It makes it when it is missing; so do we, to give the same protection.
const RESERVED_BYTES: u64 = 8 << 20;

/// What of it is given to whoever opens the database on a full disk: enough for the log's index, and
/// little, as somebody else may take it when we end.
const LENT_BYTES: u64 = 128 << 10;

const SELECT: &str = "select id, path, hash, registrationTime, deriver, narSize, ca from ValidPaths";

pub(crate) struct Db {
    connection: Mutex<Connection>,
    path: PathBuf,
    reserved: PathBuf,
    _big_lock: File,
}

impl Db {
    pub fn open(layout: &Layout) -> Result<Self> {
        let dir = layout.db_dir();
        let path = dir.join("db.sqlite");
        let big_lock_path = dir.join("big-lock");
        let big_lock = lock::open_lock_file(&big_lock_path)?;
        rustix::fs::flock(&big_lock, FlockOperation::LockShared).at("lock", &big_lock_path)?;

        let schema_path = dir.join("schema");
        if read_schema(layout, &schema_path)?.is_none() {
            rustix::fs::flock(&big_lock, FlockOperation::LockExclusive).at("lock", &big_lock_path)?;
            // Another process may have been first while we held no lock.
            if read_schema(layout, &schema_path)?.is_none() {
                let connection = connect(&path)?;
                connection.execute_batch(include_str!("schema.sql")).map_err(|e| failed(&path, e))?;
                write_schema(&dir, &schema_path)?;
            }
            rustix::fs::flock(&big_lock, FlockOperation::LockShared).at("lock", &big_lock_path)?;
        }
        let reserved = dir.join("reserved");
        reserve(&reserved);
        let connection = match connect(&path) {
            // Also to read, SQLite needs room: for the index of its log.
            Err(StoreError::NoSpace { .. }) if lend(&reserved) => connect(&path)?,
            other => other?,
        };
        let connection = Mutex::new(connection);
        Ok(Self { connection, path, reserved, _big_lock: big_lock })
    }

    /// Gives the reserved bytes back before rows are deleted on a disk that may be full.
    pub fn release_reserve(&self) {
        if let Err(error) = std::fs::remove_file(&self.reserved) {
            tracing::debug!(%error, "no reserved file to release");
        }
    }

    pub fn restore_reserve(&self) {
        reserve(&self.reserved);
    }

    pub fn query(&self, path: &StorePath) -> Result<Option<PathInfo>> {
        let connection = self.connection();
        let mut select = connection.prepare_cached(&format!("{SELECT} where path = ?1")).map_err(|e| self.failed(e))?;
        let row = select.query_row([path.absolute()], Record::read).optional().map_err(|e| self.failed(e))?;
        let Some(row) = row else { return Ok(None) };
        let references = self.references_of(&connection, row.id)?;
        row.into_info(references).map(Some)
    }

    pub fn is_valid(&self, path: &StorePath) -> Result<bool> {
        let connection = self.connection();
        Ok(self.id_of(&connection, path)?.is_some())
    }

    /// Every valid path, in order of its name.
    pub fn valid_paths(&self) -> Result<Vec<StorePath>> {
        let connection = self.connection();
        self.paths(&connection, "select path from ValidPaths order by path", params![])
    }

    /// The direct references of a path; `None` when it is not valid.
    pub fn references(&self, path: &StorePath) -> Result<Option<BTreeSet<StorePath>>> {
        let connection = self.connection();
        let Some(id) = self.id_of(&connection, path)? else { return Ok(None) };
        self.references_of(&connection, id).map(Some)
    }

    /// Makes all of `infos` valid in one transaction, whatever their order. What is valid already
    /// stays as it is: equal content has equal rows.
    pub fn register(&self, infos: &[PathInfo]) -> Result<()> {
        let mut connection = self.connection();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|e| self.failed(e))?;
        let mut added = Vec::new();
        for info in infos {
            if self.id_of(&transaction, &info.path)?.is_none() {
                transaction
                    .prepare_cached(
                        "insert into ValidPaths (path, hash, registrationTime, deriver, narSize, ca) values (?1, ?2, ?3, ?4, ?5, ?6)",
                    )
                    .and_then(|mut insert| {
                        insert.insert(params![
                            info.path.absolute(),
                            format!("sha256:{}", info.nar_hash.hex()),
                            info.registered,
                            info.deriver.as_ref().map(StorePath::absolute),
                            info.nar_size.cast_signed(),
                            info.ca.map(|ca| ca.to_string()),
                        ])
                    })
                    .map(|id| added.push((id, info)))
                    .map_err(|e| self.failed(e))?;
            }
        }
        for (id, info) in added {
            for reference in &info.references {
                let target = self.id_of(&transaction, reference)?.ok_or_else(|| StoreError::InvalidReference {
                    path: info.path.clone(),
                    reference: reference.clone(),
                })?;
                transaction
                    .prepare_cached("insert into Refs (referrer, reference) values (?1, ?2)")
                    .and_then(|mut insert| insert.execute([id, target]))
                    .map_err(|e| self.failed(e))?;
            }
        }
        transaction.commit().map_err(|e| self.failed(e))
    }

    /// Makes all of `paths` invalid in one transaction. Referrers come before what they refer to.
    pub fn invalidate(&self, paths: &[StorePath]) -> Result<()> {
        let mut connection = self.connection();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|e| self.failed(e))?;
        for path in paths {
            transaction
                .prepare_cached("delete from ValidPaths where path = ?1")
                .and_then(|mut delete| delete.execute([path.absolute()]))
                .map_err(|e| self.failed(e))?;
        }
        transaction.commit().map_err(|e| self.failed(e))
    }

    fn references_of(&self, connection: &Connection, id: i64) -> Result<BTreeSet<StorePath>> {
        let sql = "select path from Refs join ValidPaths on reference = id where referrer = ?1 and reference != ?1";
        Ok(self.paths(connection, sql, params![id])?.into_iter().collect())
    }

    fn paths(&self, connection: &Connection, sql: &str, params: &[&dyn rusqlite::ToSql]) -> Result<Vec<StorePath>> {
        let mut select = connection.prepare_cached(sql).map_err(|e| self.failed(e))?;
        let rows = select.query_map(params, |row| row.get::<_, String>(0)).map_err(|e| self.failed(e))?;
        rows.map(|row| {
            let path = row.map_err(|e| self.failed(e))?;
            StorePath::from_absolute(&path).map_err(|source| StoreError::BadRow { path, column: "path", source })
        })
        .collect()
    }

    fn id_of(&self, connection: &Connection, path: &StorePath) -> Result<Option<i64>> {
        connection
            .prepare_cached("select id from ValidPaths where path = ?1")
            .and_then(|mut select| select.query_row([path.absolute()], |row| row.get(0)).optional())
            .map_err(|e| self.failed(e))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere leaves no transaction open: it was rolled back when it unwound.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, source: rusqlite::Error) -> StoreError {
        failed(&self.path, source)
    }
}

fn failed(path: &Path, source: rusqlite::Error) -> StoreError {
    StoreError::database(path, source, BUSY)
}

fn connect(path: &Path) -> Result<Connection> {
    // NO_MUTEX: our own mutex already serialises the connection.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // With WAL's usual `normal`, power loss forgets the last commits; a profile could then
        // point to a path that is no longer valid, and the collector would sweep it.
        connection.pragma_update(None, "synchronous", "full")?;
        connection.set_prepared_statement_cache_capacity(16);
        Ok(connection)
    };
    open().map_err(|e| failed(path, e))
}

fn read_schema(layout: &Layout, path: &Path) -> Result<Option<u32>> {
    let text = match std::fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.at("read", path)?,
    };
    match text.trim().parse::<u32>() {
        Ok(SCHEMA) => Ok(Some(SCHEMA)),
        Ok(found) if found > SCHEMA => Err(StoreError::SchemaNewer { path: path.to_path_buf(), found }),
        Ok(found) => {
            Err(StoreError::SchemaOlder { path: path.to_path_buf(), root: layout.root().to_path_buf(), found })
        }
        Err(_) => {
            Err(StoreError::SchemaUnreadable { path: path.to_path_buf(), found: text.chars().take(40).collect() })
        }
    }
}

/// The file says that the tables are there, so it appears whole or not at all.
fn write_schema(dir: &Path, path: &Path) -> Result<()> {
    let new = dir.join("schema.new");
    let mut file = File::create(&new).at("create", &new)?;
    file.write_all(SCHEMA.to_string().as_bytes()).and_then(|()| file.sync_all()).at("write", &new)?;
    std::fs::rename(&new, path).at("create", path)
}

fn reserve(path: &Path) {
    let right_size = || path.metadata().is_ok_and(|m| m.len() == RESERVED_BYTES);
    if right_size() {
        return;
    }
    // It is a help, not a need: on a full disk what there is of it stays, and no more is taken.
    let made = lock::open_lock_file(path).map(|file| {
        let before = file.metadata().map_or(0, |meta| meta.len());
        let whole = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RESERVED_BYTES);
        whole.or_else(|_| rustix::fs::ftruncate(&file, before))
    });
    if !matches!(made, Ok(Ok(()))) {
        tracing::debug!(path = %path.display(), "no space reserved for the collector");
    }
}

/// Gives some of the reserved bytes back; whether there were any.
fn lend(path: &Path) -> bool {
    let lent = || {
        let file = File::options().write(true).open(path)?;
        let rest = file.metadata()?.len().checked_sub(LENT_BYTES).ok_or(io::ErrorKind::StorageFull)?;
        file.set_len(rest)
    };
    lent().is_ok()
}

struct Record {
    id: i64,
    path: String,
    hash: String,
    registered: i64,
    deriver: Option<String>,
    nar_size: Option<i64>,
    ca: Option<String>,
}

impl Record {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            path: row.get(1)?,
            hash: row.get(2)?,
            registered: row.get(3)?,
            deriver: row.get(4)?,
            nar_size: row.get(5)?,
            ca: row.get(6)?,
        })
    }

    fn into_info(self, references: BTreeSet<StorePath>) -> Result<PathInfo> {
        let bad = |column| {
            let path = self.path.clone();
            move |source: FormatError| StoreError::BadRow { path, column, source }
        };
        Ok(PathInfo {
            path: StorePath::from_absolute(&self.path).map_err(bad("path"))?,
            nar_hash: Sha256::parse_any(&self.hash).map_err(bad("hash"))?,
            nar_size: self.nar_size.unwrap_or(0).cast_unsigned(),
            references,
            // Nix also writes `text:` for derivations; such a path is valid, and not ours to add.
            ca: self.ca.as_deref().and_then(|ca| ca.parse().ok()),
            registered: self.registered,
            deriver: match self.deriver.as_deref() {
                None | Some("") => None,
                Some(deriver) => Some(StorePath::from_absolute(deriver).map_err(bad("deriver"))?),
            },
        })
    }
}
