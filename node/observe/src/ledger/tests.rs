use std::fs;
use std::path::Path;

use grapevine_core::date::CalendarDay;

use super::super::usage_book::UsageGroup;
use super::super::usage_book::tests::row;
use super::*;

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("grapevine-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn settings(&self) -> LedgerSettings {
        LedgerSettings {
            file: self.0.join("usage.jsonl"),
            bytes_max: 1 << 20,
            age_max: Duration::from_secs(86_400),
            retention: Duration::from_secs(10 * 86_400),
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn at(day: &str) -> Duration {
    day.parse::<CalendarDay>().expect("a day").begins()
}

fn rows(count: usize) -> Vec<LedgerRow> {
    vec![row("app", "gpt-4o", "2026-11-30"); count]
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).expect("text").lines().count()
}

const TODAY: &str = "2026-11-30";

fn requests(book: &UsageBook) -> u64 {
    let sums = book.sum("1970-01-01".parse().expect("a day"), &[UsageGroup::Key]);
    sums.values().map(|sum| sum.requests).sum()
}

#[test]
fn rows_are_on_disk_after_a_flush_and_counted_again_after_a_restart() {
    let folder = Folder::new("ledger-flush");
    let settings = folder.settings();
    let ledger = Ledger::open(settings.clone(), UsageBook::default()).expect("a ledger");
    for row in rows(100) {
        ledger.record(row);
    }
    ledger.flush(Duration::from_secs(60));
    assert_eq!((lines(&settings.file), ledger.lost()), (100, 0));
    let book = UsageBook::default();
    let writer = LedgerWriter::open(settings, at(TODAY)).expect("the same");
    assert_eq!(writer.replay(&book, at(TODAY)).expect("read"), 0);
    assert_eq!(requests(&book), 100);
}

#[test]
fn line_that_a_crash_cut_costs_no_other() {
    let folder = Folder::new("ledger-torn");
    let settings = folder.settings();
    let mut writer = LedgerWriter::open(settings.clone(), at(TODAY)).expect("a ledger");
    writer.append(&rows(2), at(TODAY)).expect("written");
    let whole = fs::read(&settings.file).expect("bytes");
    fs::write(&settings.file, &whole[..whole.len() - 9]).expect("cut");
    let mut writer = LedgerWriter::open(settings, at(TODAY)).expect("the same");
    writer.append(&rows(1), at(TODAY)).expect("written");
    let book = UsageBook::default();
    assert_eq!(writer.replay(&book, at(TODAY)).expect("read"), 1);
    assert_eq!(requests(&book), 2);
}

#[test]
fn full_and_old_files_are_renamed_and_deleted_after_their_time() {
    let folder = Folder::new("ledger-full");
    let settings = LedgerSettings {
        bytes_max: 600,
        ..folder.settings()
    };
    let mut writer = LedgerWriter::open(settings, at(TODAY)).expect("a ledger");
    writer.append(&rows(3), at(TODAY)).expect("written");
    writer.append(&rows(1), at(TODAY)).expect("written");
    let first = format!("usage.jsonl.{}", at(TODAY).as_secs());
    assert_eq!(folder.names(), ["usage.jsonl".to_owned(), first.clone()]);
    // By age.
    writer.append(&rows(1), at("2026-12-01")).expect("written");
    assert_eq!(folder.names().len(), 3);
    let book = UsageBook::default();
    assert_eq!(writer.replay(&book, at("2026-12-01")).expect("read"), 0);
    assert_eq!(requests(&book), 5);
    writer.append(&rows(1), at("2026-12-11")).expect("written");
    let names = folder.names();
    assert!(!names.contains(&first) && names.len() == 3, "{names:?}");
}

#[test]
fn rows_that_cannot_be_written_are_counted_and_the_next_ones_are_whole() {
    let folder = Folder::new("ledger-gone");
    let settings = folder.settings();
    let mut writer = LedgerWriter::open(settings.clone(), at(TODAY)).expect("a ledger");
    writer.append(&rows(1), at(TODAY)).expect("written");
    // A full device: what is renamed away cannot be begun again in a folder that is gone.
    fs::remove_dir_all(&folder.0).expect("removed");
    assert!(writer.append(&rows(1), at("2026-12-02")).is_err());
    fs::create_dir_all(&folder.0).expect("a folder");
    writer.file = None;
    writer.bytes = 0;
    writer.append(&rows(2), at("2026-12-02")).expect("written");
    assert_eq!(lines(&settings.file), 2);
}

#[test]
fn full_device_loses_rows_and_counts_them() {
    // Linux has a device that is always full.
    if !Path::new("/dev/full").exists() {
        return;
    }
    let folder = Folder::new("ledger-device");
    let mut writer = LedgerWriter::open(folder.settings(), at(TODAY)).expect("a ledger");
    let full = fs::OpenOptions::new().write(true).open("/dev/full");
    writer.file = Some(full.expect("the device"));
    let (sender, waiting) = sync_channel(8);
    let lost = AtomicU64::new(0);
    for row in rows(3) {
        sender
            .send(LedgerMessage::Row(Box::new(row)))
            .expect("room");
    }
    drop(sender);
    run(&mut writer, &waiting, &lost);
    assert_eq!(lost.load(Ordering::Relaxed), 3);
}
