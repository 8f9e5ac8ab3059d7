//! Threads that wait for each other in a ring.
//!
//! It knows who waits for whom, and looks for rings in that. As frames and locks of a process that runs are not read at
//! one moment, a ring is believed when all of it is there a second time.

use std::collections::{HashMap, HashSet, VecDeque};

use spyhole_cpython::Reader;
use spyhole_cpython::frames;
use spyhole_proc::tasks::Tasks;

use crate::model::StackFrame;
use crate::pause::View;
use crate::waiting::{self, Found, Has, Subject, Waiting};
use crate::waits::{Deadlock, DeadlockKind, Line, Member, WaitKind, Who};

/// The deadlocks among all threads. `again` reads what is there now, and `tasks` tells what they do now; `None` where
/// nothing can have changed.
pub(crate) fn of(
    found: &[Option<(Found, Has)>],
    threads: &[Subject<'_>],
    view: &View,
    again: Option<(&Reader<'_>, &dyn Tasks)>,
) -> Vec<Deadlock> {
    let next = |index: usize| match found[index].as_ref()? {
        // Who holds the GIL is not stuck for that.
        (found, Has::Thread(owner, _)) if found.kind != WaitKind::Gil => Some(*owner),
        _ => None,
    };
    let mut rings = rings(threads.len(), next);
    if let Some((reader, tasks)) = again
        && !rings.is_empty()
    {
        let still: HashSet<usize> = unmoved(&rings.concat(), threads, view, reader, tasks);
        let same: Vec<Subject<'_>> = threads.to_vec();
        let now = waiting::all(&mut Waiting::new(*reader, view), &same);
        rings.retain(|ring| {
            ring.iter().all(|index| still.contains(index) && now[*index] == found[*index])
        });
    }
    rings.iter().map(|ring| deadlock(ring, found, threads)).collect()
}

/// Those of these threads that are where they were.
fn unmoved(
    members: &[usize],
    threads: &[Subject<'_>],
    view: &View,
    reader: &Reader<'_>,
    tasks: &dyn Tasks,
) -> HashSet<usize> {
    let same = |index: &usize| {
        let thread = threads[*index];
        let most = thread.seen.stack.frames.len() + 1;
        let now = frames::stack(reader.memory, &view.layout, thread.seen.state.address, most);
        now.frames == thread.seen.stack.frames
            && thread.told.native_id.is_some_and(|tid| tasks.activity(tid) == thread.activity)
    };
    members.iter().copied().filter(same).collect()
}

/// The rings of a graph in which each has one next one at most; each ring begins with its lowest number.
pub(crate) fn rings(count: usize, next: impl Fn(usize) -> Option<usize>) -> Vec<Vec<usize>> {
    let mut rings = Vec::new();
    let mut done = vec![false; count];
    for start in 0..count {
        let mut path: Vec<usize> = Vec::new();
        let mut at = Some(start);
        while let Some(here) = at.filter(|here| *here < count && !done[*here]) {
            done[here] = true;
            path.push(here);
            at = next(here);
        }
        if let Some(first) = at.and_then(|at| path.iter().position(|here| *here == at)) {
            let mut ring = path.split_off(first);
            let lowest = (0..ring.len()).min_by_key(|at| ring[*at]).unwrap_or(0);
            ring.rotate_left(lowest);
            rings.push(ring);
        }
    }
    rings
}

/// The rings of a graph in which each may have many next ones: of each part whose members all lead to each other, one
/// shortest ring.
pub(crate) fn rings_of_many(count: usize, next: impl Fn(usize) -> Vec<usize>) -> Vec<Vec<usize>> {
    let mut rings: Vec<Vec<usize>> = Vec::new();
    let mut done = vec![false; count];
    // Who leads to nobody, or only to such, is in no ring: they are taken away first.
    let edges: Vec<Vec<usize>> = (0..count)
        .map(|index| next(index).into_iter().filter(|to| *to < count).collect())
        .collect();
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut open: Vec<usize> = edges.iter().map(Vec::len).collect();
    for (from, to) in edges.iter().enumerate() {
        to.iter().for_each(|to| before[*to].push(from));
    }
    let mut loose: Vec<usize> = (0..count).filter(|index| open[*index] == 0).collect();
    while let Some(index) = loose.pop() {
        done[index] = true;
        for from in &before[index] {
            open[*from] -= 1;
            if open[*from] == 0 {
                loose.push(*from);
            }
        }
    }
    const RINGS_AT_MOST: usize = 100;
    const STEPS_AT_MOST: usize = 1 << 22;
    let mut steps = 0;
    for start in 0..count {
        if done[start] || rings.len() == RINGS_AT_MOST || steps >= STEPS_AT_MOST {
            continue;
        }
        // Breadth first, back to where it began.
        let mut came: HashMap<usize, usize> = HashMap::new();
        let mut reached = VecDeque::from([start]);
        let mut last = None;
        'search: while let Some(here) = reached.pop_front() {
            steps += 1 + edges[here].len();
            for to in &edges[here] {
                if *to == start {
                    last = Some(here);
                    break 'search;
                }
                if !done[*to] && !came.contains_key(to) {
                    came.insert(*to, here);
                    reached.push_back(*to);
                }
            }
        }
        let Some(mut at) = last else {
            done[start] = true;
            continue;
        };
        let mut ring = vec![at];
        while at != start {
            let Some(from) = came.get(&at).copied() else { break };
            at = from;
            ring.push(at);
        }
        ring.reverse();
        ring.iter().for_each(|index| done[*index] = true);
        rings.push(ring);
    }
    rings
}

fn deadlock(ring: &[usize], found: &[Option<(Found, Has)>], threads: &[Subject<'_>]) -> Deadlock {
    let wanted = |index: usize| found[index].as_ref();
    let members = ring.iter().enumerate().map(|(at, index)| {
        let before = ring[(at + ring.len() - 1) % ring.len()];
        let (holds, taken) = match wanted(before) {
            Some((found, Has::Thread(_, taken))) => (found.what.clone(), taken.clone()),
            _ => (String::new(), None),
        };
        let thread = threads[*index].told;
        Member {
            who: Who::Thread(waiting::named(thread)),
            holds,
            wants: wanted(*index).map(|(found, _)| found.what.clone()).unwrap_or_default(),
            taken,
            now: now(&thread.frames),
        }
    });
    Deadlock { kind: DeadlockKind::Threads, members: members.collect() }
}

/// Where a thread is, in words of its program.
pub(crate) fn now(frames: &[StackFrame]) -> Option<Line> {
    const LIBRARY: [&str; 4] =
        ["threading", "queue", "concurrent.futures._base", "importlib._bootstrap"];
    let own = |frame: &&StackFrame| {
        !frame.module.as_deref().is_some_and(|module| LIBRARY.contains(&module))
    };
    frames.iter().find(own).or(frames.first()).map(waiting::of_frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_found_once() {
        // 0 -> 2 -> 4 -> 2, 1 -> 1, 3 -> 5 -> nobody, 6 -> 4
        let next = [Some(2), Some(1), Some(4), Some(5), Some(2), None, Some(4)];
        assert_eq!(rings(7, |at| next[at]), [vec![2, 4], vec![1]]);
        assert_eq!(rings(3, |at| Some((at + 2) % 3)), [vec![0, 2, 1]]);
        assert_eq!(rings(2, |_| Some(9)), Vec::<Vec<usize>>::new());
        assert!(rings(0, |_| None).is_empty());
    }

    #[test]
    fn rings_among_many_are_found_once() {
        // 0 -> 1, 2; 1 -> 0, 3; 2 -> nobody; 4 -> 0; 5 -> 5
        let next = [vec![1, 2], vec![0, 3], vec![], vec![], vec![0], vec![5, 9]];
        assert_eq!(rings_of_many(6, |at| next[at].clone()), [vec![0, 1], vec![5]]);
        assert_eq!(rings_of_many(3, |at| vec![(at + 2) % 3]), [vec![0, 2, 1]]);
        assert!(rings_of_many(0, |_| Vec::new()).is_empty());
    }
}
