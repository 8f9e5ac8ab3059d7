//! Further agents of the same process, each in another interpreter.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::P;
use crate::kernel::*;
use crate::params::*;

section! {
/// Reads where a further agent's page is to be and which interpreter it is for, and starts its owner. Runs in the
/// watcher of the first agent, without the GIL.
pub(crate) unsafe fn open_session(p: P, fd: i32) {
    let mut words = [0_u64; SESSION_WORDS];
    if !read_exactly(fd, &raw mut words as u64, SESSION_WORDS as i64 * 8) {
        return;
    }
    if !start_session(p, words[0] as P, words[1], words[2] as i64) {
        word(&raw mut (*p).refused).fetch_add(1, Ordering::AcqRel);
    }
}

unsafe fn start_session(p: P, page: P, interpreter: u64, id: i64) -> bool {
    const READ_WRITE: i64 = 3;
    // MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
    const FLAGS: i64 = 0x10_0022;
    let session = free_session(p);
    if p != here() || session.is_null() || interpreter == 0 {
        return false;
    }
    let length = DATA_LENGTH as i64;
    let mapped = system(SYS_MMAP, page as i64, length, READ_WRITE, FLAGS, -1, 0);
    if mapped != page as i64 {
        if mapped > 0 {
            // A kernel that does not know MAP_FIXED_NOREPLACE.
            system(SYS_MUNMAP, mapped, length, 0, 0, 0, 0);
        }
        return false;
    }
    let template = ((*p).base + TEMPLATE) as P;
    asm!("rep movsb", inout("rcx") core::mem::size_of::<Params>() => _, inout("rsi") template => _,
        inout("rdi") page => _, options(nostack, preserves_flags));
    (*page).base = page as u64;
    (*page).length = DATA_LENGTH;
    (*page).interpreter = interpreter;
    (*page).interpreter_id = id;
    (*page).shown_id = id;
    (*page).session = session as u64;
    let attributes = &raw mut (*page).attributes;
    call!(p, pthread_attr_init(attributes));
    call!(p, pthread_attr_setstacksize(attributes, (*p).stack_size));
    let mut thread = 0_u64;
    (*session).ended = 0;
    (*session).page = page as u64;
    let failed = call!(p, pthread_create(&raw mut thread, attributes, (*p).owner_entry, page) -> i32);
    if failed != 0 {
        (*session).page = 0;
        system(SYS_MUNMAP, page as i64, length, 0, 0, 0, 0);
        return false;
    }
    (*session).thread = thread;
    true
}

/// A place for one more, after those that have ended were joined.
unsafe fn free_session(p: P) -> *mut Session {
    let sessions = &raw mut (*p).sessions as *mut Session;
    let mut free = core::ptr::null_mut();
    let mut i = 0;
    while i < SESSIONS_AT_MOST {
        let one = sessions.add(i);
        if (*one).thread != 0 && AtomicU64::from_ptr(&raw mut (*one).ended).load(Ordering::Acquire) != 0 {
            call!(p, pthread_join((*one).thread, 0));
            (*one).thread = 0;
        }
        if (*one).thread == 0 {
            free = one;
        }
        i += 1;
    }
    free
}

/// The last thing that a further agent's owner does but for unmapping its page.
pub(crate) unsafe fn end_session(p: P, unmap: bool) {
    let session = (*p).session as *mut Session;
    if session.is_null() {
        return;
    }
    if !unmap {
        AtomicU64::from_ptr(&raw mut (*here()).kept).store(1, Ordering::Release);
    }
    // A page that stays has no descriptors any more.
    lock_pages();
    (*session).page = 0;
    unlock_pages();
    AtomicU64::from_ptr(&raw mut (*session).ended).store(1, Ordering::Release);
}

unsafe fn lock_pages() {
    while word(&raw mut (*here()).pages_lock).swap(1, Ordering::Acquire) != 0 {
        pause(50);
    }
}

unsafe fn unlock_pages() {
    word(&raw mut (*here()).pages_lock).store(0, Ordering::Release);
}

/// Ends the channels of all further agents.
pub(crate) unsafe fn hang_up_sessions(p: P) {
    let sessions = &raw const (*p).sessions as *const Session;
    lock_pages();
    let mut i = 0;
    while i < SESSIONS_AT_MOST {
        let other = (*sessions.add(i)).page as P;
        if !other.is_null() {
            hang_up((*other).descriptors[1]);
            hang_up((*other).descriptors[3]);
        }
        i += 1;
    }
    unlock_pages();
}

/// Waits for all further agents. Whether the pages of one have to stay.
pub(crate) unsafe fn join_sessions(p: P) -> bool {
    if (*p).session != 0 {
        return false;
    }
    let sessions = &raw mut (*p).sessions as *mut Session;
    let mut i = 0;
    while i < SESSIONS_AT_MOST {
        if (*sessions.add(i)).thread != 0 {
            call!(p, pthread_join((*sessions.add(i)).thread, 0));
        }
        i += 1;
    }
    AtomicU64::from_ptr(&raw mut (*p).kept).load(Ordering::Acquire) != 0
}
}
