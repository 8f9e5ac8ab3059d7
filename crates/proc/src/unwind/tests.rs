use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use super::*;
use crate::memory::Live;
use crate::stop::{Attached, SeizeError};
use crate::tracer::Tracer;

/// Counts until it is told to end, which is -1. Says that it began by -2.
#[inline(never)]
extern "C" fn inner(word: &AtomicI32) -> u64 {
    let mut count = std::hint::black_box(1);
    word.store(-2, Ordering::SeqCst);
    while word.load(Ordering::SeqCst) != -1 {
        count = std::hint::black_box(count + 1);
    }
    count
}

#[inline(never)]
extern "C" fn outer(word: &AtomicI32) -> u64 {
    std::hint::black_box(inner(word)) + 1
}

/// A loop of our own is stopped, and its calls are told.
#[test]
fn the_calls_of_a_thread_that_runs_are_told() {
    let pid = std::process::id() as i32;
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "unwind::tests::a_loop", "--ignored", "--nocapture"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap());
    let (mut tid, mut line) = (0, String::new());
    while tid == 0 {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut lines, &mut line).unwrap() > 0);
        tid = line.trim().strip_prefix("loops in ").map_or(0, |tid| tid.parse().unwrap());
    }
    let of = child.id() as i32;
    assert_ne!(pid, of);
    let (registers, stack) = Tracer::start()
        .unwrap()
        .run(move || {
            // On a loaded machine a thread may not get to its stop in the time that there is for one.
            let held = loop {
                match Attached::seize(tid) {
                    Err(SeizeError::Unstoppable { .. }) => {}
                    held => break held.unwrap(),
                }
            };
            let registers = Registers::of(&held.found.registers);
            let at = registers.stack_pointer().unwrap();
            (registers, StackCopy::read(&Live { pid: of }, at, 32 << 10))
        })
        .unwrap();
    let (memory, maps) = (Live { pid: of }, Maps::of(of).unwrap());
    let calls = Unwinder::new(&memory, &maps).calls(registers, &stack);
    let mapping = maps.at(calls[0].at).unwrap();
    let image = Image::of(&memory, &maps, mapping).unwrap();
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    let names: Vec<_> = calls
        .iter()
        .map_while(|call| crate::elf::file::function_at(&file, call.at.0 - image.bias))
        .collect();
    let place = |name: &str| names.iter().position(|one| one.contains(name));
    let (inner, outer) = (place("5inner"), place("5outer"));
    assert!(inner.is_some() && inner < outer, "{names:?}");
    assert!(place("__rust_begin_short_backtrace") > outer, "{names:?}");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
#[ignore = "the other test starts it"]
fn a_loop() {
    let word = Arc::new(AtomicI32::new(0));
    let (own, shown) = (word.clone(), Arc::new(AtomicI32::new(0)));
    let number = shown.clone();
    let looping = std::thread::spawn(move || {
        let tid = std::fs::read_link("/proc/thread-self").unwrap();
        let tid = tid.file_name().unwrap().to_str().unwrap().parse().unwrap();
        number.store(tid, Ordering::SeqCst);
        outer(&own)
    });
    while word.load(Ordering::SeqCst) != -2 {
        std::thread::yield_now();
    }
    println!("\nloops in {}", shown.load(Ordering::SeqCst));
    let _ = std::io::Read::read(&mut std::io::stdin(), &mut [0]);
    word.store(-1, Ordering::SeqCst);
    assert!(looping.join().unwrap() > 1);
}

/// Everything that a table can be damaged to is read within bounds.
#[test]
fn damaged_tables_end_the_calls() {
    let pid = std::process::id() as i32;
    let (live, maps) = (Live { pid }, Maps::of(pid).unwrap());
    let at = Address(outer as *const () as usize as u64);
    let mut own = Unwinder::new(&live, &maps);
    let code = own.function(at).unwrap();
    assert_eq!(code.start, at);
    let index = own.index(at).unwrap();
    struct Damaged {
        live: Live,
        at: Address,
        with: u8,
    }
    impl ReadMemory for Damaged {
        fn read(
            &self,
            address: Address,
            buffer: &mut [u8],
        ) -> Result<(), crate::memory::Unreadable> {
            self.live.read(address, buffer)?;
            let from = self.at.0.wrapping_sub(address.0);
            if let Ok(from) = usize::try_from(from)
                && let Some(byte) = buffer.get_mut(from)
            {
                *byte = self.with;
            }
            Ok(())
        }
    }
    let entry = (0..index.count)
        .map(|n| index.entries.plus(n * 8))
        .find(|place| {
            let begin = i64::from(live.half(*place).unwrap() as i32) as u64;
            index.base.0.wrapping_add(begin) == at.0
        })
        .unwrap();
    let record = live.half(entry.plus(4)).unwrap();
    let record = Address(index.base.0.wrapping_add(i64::from(record as i32) as u64));
    let back = live.half(record.plus(4)).unwrap();
    let common = Address(record.0 + 4 - u64::from(back));
    let registers = Registers([Some(at.0 + 1); REGISTERS]);
    let stack = StackCopy { at: Address(at.0), bytes: vec![0x41; 4096] };
    for place in [index.base, record, common, entry] {
        for byte in 0..48 {
            for with in [0, 1, 0x0a, 0x0f, 0x7f, 0x80, 0xff] {
                let memory = Damaged { live, at: place.plus(byte), with };
                let calls = Unwinder::new(&memory, &maps).calls(registers, &stack);
                assert!(calls.len() <= CALLS_AT_MOST);
            }
        }
    }
}

#[test]
fn the_linkage_table_has_a_formula_of_its_own() {
    let formula = [0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22];
    assert_eq!((linkage(&formula), linkage(&formula[1..])), (Some(11), None));
    let row = Row { linkage: Some(11), ..Row::default() };
    let mut row = row;
    row.rules[RIP] = Rule::Saved(-8);
    let stack =
        StackCopy { at: Address(0x1000), bytes: (0..4_u64).flat_map(u64::to_le_bytes).collect() };
    for (code, frame, returns) in [(0x5006, 0x1008, 0), (0x500b, 0x1010, 1)] {
        let caller = row.caller(&Registers::told(Address(0x1000), Address(code)), &stack).unwrap();
        assert_eq!((caller.0[RSP], caller.0[RIP]), (Some(frame), Some(returns)));
    }
}
