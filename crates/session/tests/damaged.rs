//! Recorded processes of every version with damaged memory: reading one ends soon, without a panic, and with little
//! memory of ours.
//!
//! `SPYHOLE_DAMAGE=SEED` runs one seed alone, and tells what came of it; `fuzz/` lets a fuzzer choose the damage.

mod damage;

use std::alloc::System;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cap::Cap;
use damage::{Chance, Damaged, Seeded};
use spyhole_proc::capture::Capture;
use spyhole_session::locals::Wanted;
use spyhole_session::objects::{self, Path as ObjectPath, Request};
use spyhole_session::snapshot;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Held by the one test that runs: what the other allocates would count, too.
static ALONE: Mutex<()> = Mutex::new(());

/// How many damaged processes are read. Without optimisation each takes twenty times as long.
const COUNT: u64 = if cfg!(debug_assertions) { 800 } else { 20_000 };
/// What one look may hold at once.
const MEMORY: usize = 320 << 20;
/// Values are read, too.
const LOCALS: Wanted = Wanted { characters: 200, reveal: false };
/// What one look may take, on a machine that does other things, too.
const TIME: Duration = Duration::from_secs(if cfg!(debug_assertions) { 15 } else { 1 });

fn captures() -> Vec<Capture> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["../cpython/tests/captures", "tests/captures"] {
        let entries = fs::read_dir(own.join(folder)).unwrap();
        let mut of_folder: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        of_folder.sort();
        files.extend(of_folder);
    }
    files.iter().map(|file| Capture::parse(&fs::read(file).unwrap()).unwrap()).collect()
}

#[test]
fn a_damaged_process_is_read_within_bounds() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let captures = captures();
    assert!(captures.len() >= 14);
    let one = std::env::var("SPYHOLE_DAMAGE").ok().map(|seed| seed.parse::<u64>().unwrap());
    let seeds = one.map_or(0..COUNT, |seed| seed..seed + 1);
    let (mut looked, mut slowest, mut largest) = (0_u64, (Duration::ZERO, 0), (0_usize, 0));
    let begin = Instant::now();
    for seed in seeds {
        let mut chance = Seeded(seed);
        let capture = &captures[chance.below(captures.len() as u64) as usize];
        let process = Damaged::new(capture, &mut chance);
        let (before, start) = (ALLOCATOR.allocated(), Instant::now());
        let peak = ALLOCATOR.max_allocated();
        let stacks = snapshot::of_still(capture.pid, process.maps(), &process, Some(LOCALS));
        let took = start.elapsed();
        // Only a new highest mark is known; a look that stays below an old one held less than it.
        let held = match ALLOCATOR.max_allocated() {
            highest if highest > peak => highest.saturating_sub(before),
            _ => 0,
        };
        slowest = slowest.max((took, seed));
        largest = largest.max((held, seed));
        looked += u64::from(stacks.is_ok());
        if one.is_some() {
            println!("{took:?}, {held} bytes, {} bytes read: {stacks:#?}", process.bytes_read());
        }
        assert!(took < TIME, "seed {seed} took {took:?}");
        assert!(held < MEMORY, "seed {seed} held {held} bytes");
    }
    println!(
        "{COUNT} looks in {:?}, {looked} with stacks; slowest {slowest:?}, largest {largest:?}",
        begin.elapsed()
    );
    // Damage that is always found at the beginning would test little.
    assert!(one.is_some() || looked > COUNT / 2, "{looked} of {COUNT} came to stacks");
}

/// What `get` follows in them: as much of it as was recorded.
#[test]
fn paths_in_a_damaged_process_end_within_bounds() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let captures = captures();
    let (mut found, mut slowest) = (0_u64, (Duration::ZERO, 0));
    for seed in 0..COUNT {
        let mut chance = Seeded(seed);
        let capture = &captures[chance.below(captures.len() as u64) as usize];
        let process = Damaged::new(capture, &mut chance);
        let paths = [
            "threading:_active".to_owned(),
            "threading._active".to_owned(),
            format!("thread:{}:threads", capture.pid),
            format!("thread:{}:Shelf.items[0]", capture.pid),
            format!("thread:{}:gate", capture.pid),
            "type:Shelf".to_owned(),
        ];
        let path = &paths[chance.below(paths.len() as u64) as usize];
        let path = ObjectPath::parse(path).unwrap();
        let request = Request { path, depth: 20, reveal: false };
        let (before, start) = (ALLOCATOR.allocated(), Instant::now());
        let peak = ALLOCATOR.max_allocated();
        let report = objects::of_still(capture.pid, process.maps(), &process, &request);
        let took = start.elapsed();
        let held = match ALLOCATOR.max_allocated() {
            highest if highest > peak => highest.saturating_sub(before),
            _ => 0,
        };
        slowest = slowest.max((took, seed));
        let is_found =
            |one: &objects::ObjectAnswer| matches!(one.outcome, objects::Outcome::Found(_));
        found += u64::from(report.answers.iter().any(is_found));
        assert!(took < TIME, "seed {seed} took {took:?}");
        assert!(held < MEMORY, "seed {seed} held {held} bytes");
    }
    println!("{COUNT} looks, {found} with something; slowest {slowest:?}");
    assert!(found > COUNT / 5, "{found} of {COUNT} found something");
}

/// What is recorded of asyncio is told without the process: who awaits whom, and both rings.
#[test]
fn recorded_tasks_are_told() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let of_tasks = captures().split_off(10);
    assert_eq!(of_tasks.len(), 4);
    for capture in of_tasks {
        let stacks = snapshot::of_still(capture.pid, &capture.maps(), &capture, None).unwrap();
        let tasks = &stacks.interpreters[0].tasks;
        assert_eq!(tasks.len(), 9, "{}: {tasks:#?}", stacks.python);
        assert_eq!(stacks.deadlocks.len(), 2, "{}", stacks.python);
        let all_of = tasks.iter().find(|task| task.coroutine.as_deref() == Some("all_of")).unwrap();
        let awaits = all_of.awaits.as_ref().unwrap();
        assert_eq!(awaits.tasks.len(), 2, "{}: {awaits:#?}", stacks.python);
        assert_eq!(all_of.awaited_by.len(), 1, "{}", stacks.python);
    }
}

/// A file that was cut or changed is refused, or read as far as it goes.
#[test]
fn a_damaged_file_is_read_within_bounds() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let captures = captures();
    let bytes = captures[3].to_bytes();
    for seed in 0..COUNT / 100 {
        let mut chance = Seeded(seed);
        let mut damaged = bytes.clone();
        if chance.below(2) == 0 {
            damaged.truncate(chance.below(bytes.len() as u64) as usize);
        }
        for _ in 0..chance.below(4) {
            if let Some(byte) = {
                let at = chance.below(damaged.len().max(1) as u64) as usize;
                damaged.get_mut(at)
            } {
                *byte ^= 1 << chance.below(8);
            }
        }
        if let Ok(capture) = Capture::parse(&damaged) {
            let _ = snapshot::of_still(capture.pid, &capture.maps(), &capture, Some(LOCALS));
        }
    }
}
