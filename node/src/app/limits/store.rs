//! The store of limits on disk: what of budgets was opened, what was witnessed of other nodes, and what of rates was free
//! at the end.
//!
//! It is replaced as a whole. A file that is torn or changed reads as none: then peers know that it is older than what
//! they witnessed, and the node forfeits its shares of the budgets that run.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use grapevine_base::files;
use grapevine_core::escrow::LIMITS_MAX;
use grapevine_core::escrow::calendar::WallTime;
use grapevine_core::escrow::message::StoreVersion;
use grapevine_core::escrow::spec::{LimitId, LimitWindow};
use grapevine_core::escrow::store::{
    BudgetMark, ForfeitedWindows, MARKS_MAX, StopNote, StoreImage,
};
use grapevine_core::ids::{Generation, NodeName};
use serde::{Deserialize, Serialize};
use tracing::warn;

/// The form of the file.
const FORM: u32 = 1;

/// The longest file that is read: each mark, and each limit of a note, takes less than 128 bytes.
const FILE_BYTES_MAX: u64 = 128 * (MARKS_MAX + LIMITS_MAX) as u64 + 64 * 1_024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreText {
    form: u32,
    version: u64,
    generation: u64,
    /// Id in hexadecimal digits, whether of a month, its number, units.
    marks: Vec<(String, bool, u32, u64)>,
    witnessed: Vec<(String, u64)>,
    /// Day and month.
    forfeited: (u32, u32),
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stopped: Option<StopText>,
}

/// A [`StopNote`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StopText {
    /// In milliseconds since 1970.
    at: u64,
    /// Units by id.
    withheld: Vec<(String, u64)>,
}

/// Reads the file at `path`; the default where there is none, or none that can be trusted.
///
/// # Errors
/// When it exists and cannot be read.
pub(super) fn load(path: &Path) -> io::Result<StoreImage> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(StoreImage::default()),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(read(&bytes).unwrap_or_else(|| {
        warn!(path = %path.display(), "the file of limits is torn or of another version: it counts as lost");
        StoreImage::default()
    }))
}

/// Replaces the file at `path`: after a crash it is the old one or the new one.
///
/// # Errors
/// When it cannot be written; the old one stays.
pub(super) fn save(path: &Path, image: &StoreImage) -> io::Result<()> {
    files::replace(path, &written(image)?)
}

/// A line of JSON, and one with its hash.
fn written(image: &StoreImage) -> io::Result<Vec<u8>> {
    let id = |limit: &LimitId| format!("{:032x}", limit.0);
    let mark = |(limit, mark): (&LimitId, &BudgetMark)| {
        let is_month = mark.window == LimitWindow::Month;
        (id(limit), is_month, mark.number, mark.opened)
    };
    let note = |note: &StopNote| {
        let at = u64::try_from(note.at.0.as_millis()).unwrap_or(u64::MAX);
        let withheld = note.withheld.iter();
        let withheld = withheld.map(|(limit, units)| (id(limit), *units));
        StopText {
            at,
            withheld: withheld.collect(),
        }
    };
    let witnessed = image.witnessed.iter();
    let text = StoreText {
        form: FORM,
        version: image.version.0,
        generation: image.generation.0,
        marks: image.marks.iter().map(mark).collect(),
        witnessed: witnessed
            .map(|(name, version)| (name.as_str().to_owned(), version.0))
            .collect(),
        forfeited: (image.forfeited.day, image.forfeited.month),
        stopped: image.stopped.as_ref().map(note),
    };
    let mut bytes = serde_json::to_vec(&text)?;
    bytes.extend(hash_line(&bytes));
    bytes.push(b'\n');
    Ok(bytes)
}

/// The line that tells a torn file: 64 bits of SHA-256. It is no proof against somebody who can write the file.
fn hash_line(bytes: &[u8]) -> [u8; 17] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let mut line = [b'\n'; 17];
    for (at, digit) in line[1..].iter_mut().enumerate() {
        let byte = digest.as_ref()[at / 2];
        let half = if at % 2 == 0 { byte >> 4 } else { byte & 0xf };
        *digit = b"0123456789abcdef"[usize::from(half)];
    }
    line
}

fn read(bytes: &[u8]) -> Option<StoreImage> {
    let (bytes, hash) = bytes.strip_suffix(b"\n")?.split_last_chunk::<17>()?;
    if *hash != hash_line(bytes) {
        return None;
    }
    let text: StoreText = serde_json::from_slice(bytes).ok()?;
    if text.form != FORM {
        return None;
    }
    let id = |text: String| Some(LimitId(u128::from_str_radix(&text, 16).ok()?));
    let mark = |(limit, is_month, number, opened): (String, bool, u32, u64)| {
        let limit = id(limit)?;
        let window = match is_month {
            true => LimitWindow::Month,
            false => LimitWindow::Day,
        };
        let mark = BudgetMark {
            window,
            number,
            opened,
        };
        Some((limit, mark))
    };
    let witnessed =
        |(name, version): (String, u64)| Some((NodeName::new(&name).ok()?, StoreVersion(version)));
    let stopped = match text.stopped {
        None => None,
        Some(text) => {
            let line = |(limit, units): (String, u64)| Some((id(limit)?, units));
            let withheld = text.withheld.into_iter().map(line);
            Some(StopNote {
                at: WallTime(Duration::from_millis(text.at)),
                withheld: withheld.collect::<Option<_>>()?,
            })
        }
    };
    Some(StoreImage {
        version: StoreVersion(text.version),
        generation: Generation(text.generation),
        marks: text.marks.into_iter().map(mark).collect::<Option<_>>()?,
        witnessed: text
            .witnessed
            .into_iter()
            .map(witnessed)
            .collect::<Option<_>>()?,
        forfeited: ForfeitedWindows {
            day: text.forfeited.0,
            month: text.forfeited.1,
        },
        stopped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> StoreImage {
        let mark = |window| BudgetMark {
            window,
            number: 24_311,
            opened: u64::MAX,
        };
        StoreImage {
            version: StoreVersion(7),
            generation: Generation(9),
            marks: [
                (LimitId(1), mark(LimitWindow::Day)),
                (LimitId(u128::MAX), mark(LimitWindow::Month)),
            ]
            .into(),
            witnessed: [(NodeName::new("fra-1").expect("a name"), StoreVersion(3))].into(),
            forfeited: ForfeitedWindows { day: 1, month: 2 },
            stopped: Some(StopNote {
                at: WallTime(Duration::from_millis(1_711_929_540_017)),
                withheld: [(LimitId(5), 60)].into(),
            }),
        }
    }

    #[test]
    fn store_is_read_back_as_it_was_written() {
        let bytes = written(&image()).expect("JSON");
        assert_eq!(read(&bytes), Some(image()));
    }

    #[test]
    fn store_that_is_cut_or_changed_reads_as_none() {
        let bytes = written(&image()).expect("JSON");
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), None, "{end}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(read(&changed), None, "{at}");
        }
    }

    #[test]
    fn store_is_replaced_as_a_whole() {
        let name = format!("grapevine-limits-{}.json", std::process::id());
        let path = std::env::temp_dir().join(name);
        assert_eq!(load(&path).expect("no file"), StoreImage::default());
        save(&path, &image()).expect("written");
        assert_eq!(load(&path).expect("read"), image());
        save(&path, &StoreImage::default()).expect("written");
        assert_eq!(load(&path).expect("read"), StoreImage::default());
        std::fs::remove_file(&path).expect("removed");
    }
}
