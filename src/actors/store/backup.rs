//! Makes a backup: all records as they were at one moment, then the logs of the commands among them.
//!
//! The records are copied by the writer's thread between two commits, into a file without a name: that is the moment.
//! Logs only grow while they are copied after it, so each has at least what its command's record says.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write};
use std::path::Path;

use nixfleet_protocol::{CommandId, HostId, Time};

use super::archive::{Head, LogHead, Place, Totals, Writer};
use super::folder::Folder;
use super::health::Busy;
use super::migrations::SCHEMA;
use super::trees::{self, Tree, Trees};
use crate::actors::host::log::{LogFile, log_path};

/// The first part of a backup, done.
#[derive(Debug)]
pub struct Export {
    records: File,
    place: Place,
    /// Commands that may have a log.
    commands: Vec<(HostId, CommandId)>,
}

/// The head of a backup that is made now.
pub fn head(logs: bool) -> Head {
    Head::new(SCHEMA, Time::now(), logs)
}

/// Writes all records. On the writer's thread: nothing changes meanwhile.
pub(super) fn export(trees: &Trees, folder: &Folder, head: &Head, busy: &Busy) -> io::Result<Export> {
    let mut writer = Writer::new(folder.scratch()?, head)?;
    let mut commands = Vec::new();
    for tree in Tree::ALL {
        for entry in trees.at(tree) {
            let (key, value) = entry.map_err(io::Error::other)?;
            writer.record(tree, &key, &value)?;
            if tree == Tree::CommandsByHost && head.logs {
                commands.extend(trees::host_in(&key).zip(trees::command_in(&key)));
            }
            busy.went_on(1);
        }
    }
    let (mut records, place) = writer.pause()?;
    records.rewind()?;
    Ok(Export { records, place, commands })
}

/// Writes the whole backup: what was exported, then the logs. Blocks.
pub fn write(export: Export, data_dir: &Path, mut out: impl Write) -> io::Result<Totals> {
    let Export { mut records, place, commands } = export;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = records.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        out.write_all(&buffer[..read])?;
    }
    drop(records);
    let mut writer = Writer::resumed(out, place)?;
    for (host, command) in commands {
        let path = log_path(data_dir, &host, command);
        if let Err(error) = add_log(&mut writer, &path, &host, command) {
            match error {
                Bad::Log(error) => writer.missing(format!("the log of {command} on {host}: {error}")),
                Bad::Out(error) => return Err(error),
            }
        }
    }
    Ok(writer.end()?.1)
}

enum Bad {
    /// What is in it so far stays; what can't be read is named at the end.
    Log(io::Error),
    Out(io::Error),
}

fn add_log(writer: &mut Writer<impl Write>, path: &Path, host: &HostId, command: CommandId) -> Result<(), Bad> {
    // Many a command prints nothing, and retention may have been faster.
    let Some(log) = LogFile::open(path).map_err(Bad::Log)? else { return Ok(()) };
    let length = log.length().map_err(Bad::Log)?;
    writer.log(&LogHead { host: host.clone(), command, length }).map_err(Bad::Out)?;
    for piece in log.pieces(length) {
        let (at, bytes) = piece.map_err(Bad::Log)?;
        writer.piece(at, &bytes).map_err(Bad::Out)?;
    }
    Ok(())
}
