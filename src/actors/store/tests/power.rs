//! The power is cut. A process commits on a file system of its own, on a loop device without a cache below
//! it. It is stopped, and the image is copied as it is: what the kernel still holds in memory is not in it,
//! as after a power cut. Every record that was acknowledged before must be in the copy.

use super::super::disk::NO_SYNC;
use super::kill::{Committing, missing, some_millis};
use super::mounts::{Mounted, skipped};

/// What the process does besides committing.
#[derive(Clone, Copy, PartialEq)]
enum Doing {
    /// Nothing.
    Commits,
    /// It compacts the store again and again, and writes and compresses logs.
    Upkeep,
}

/// Cuts the power once. Gives how many of how many acknowledged records are gone, or why it can't be tried.
/// A store that does not even open any more has lost all.
async fn cut(sync: bool, doing: Doing) -> Result<(usize, usize), String> {
    let images = tempfile::tempdir().unwrap();
    let (image, copy) = (images.path().join("disk"), images.path().join("disk-after-the-cut"));
    let disk = Mounted::made(&image)?;
    let data = disk.path().join("data");
    std::fs::create_dir(&data).unwrap();
    if !sync {
        std::fs::write(data.join(NO_SYNC), "").unwrap();
    }
    rustix::fs::sync();

    let committing = match doing {
        Doing::Commits => Committing::start(&data),
        Doing::Upkeep => Committing::start_with_upkeep(&data),
    };
    committing.wait_for(50);
    std::thread::sleep(some_millis(300));
    let pid = rustix::process::Pid::from_child(&committing.child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    // What the device has begun ends; nobody begins anything new.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let acknowledged = committing.so_far();
    std::fs::copy(&image, &copy).unwrap();
    committing.kill();
    drop(disk);

    let disk = Mounted::of(&copy)?;
    let data = disk.path().join("data");
    let count = acknowledged.len();
    let gone = tokio::spawn(async move { missing(&data, &acknowledged).await.len() }).await;
    Ok((gone.unwrap_or(count), count))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_loses_nothing_that_was_acknowledged() {
    for round in 0..6 {
        match cut(true, Doing::Commits).await {
            Ok((gone, acknowledged)) => {
                println!("cut {round}: {acknowledged} acknowledged, {gone} gone");
                assert_eq!(gone, 0, "of {acknowledged}");
            }
            Err(reason) => return skipped("a_power_cut_loses_nothing_that_was_acknowledged", &reason),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_while_it_compacts_and_compresses_loses_nothing_that_was_acknowledged() {
    for round in 0..5 {
        match cut(true, Doing::Upkeep).await {
            Ok((gone, acknowledged)) => {
                println!("cut {round}: {acknowledged} acknowledged, {gone} gone");
                assert_eq!(gone, 0, "of {acknowledged}");
            }
            Err(reason) => {
                let name = "a_power_cut_while_it_compacts_and_compresses_loses_nothing_that_was_acknowledged";
                return skipped(name, &reason);
            }
        }
    }
}

/// Shows that the test above can fail: sled's own flush alone loses records.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "shows what the fdatasync of our own is good for; run by hand"]
async fn a_power_cut_without_our_fdatasync_loses_records() {
    let mut lost = 0;
    for round in 0..3 {
        match cut(false, Doing::Commits).await {
            Ok((gone, acknowledged)) => {
                println!("cut {round}: {acknowledged} acknowledged, {gone} gone");
                lost += gone;
            }
            Err(reason) => return skipped("a_power_cut_without_our_fdatasync_loses_records", &reason),
        }
    }
    assert!(lost > 0);
}
