use super::*;
use crate::stat::Ids;

const ALL: u64 = 0x1ff_ffff_ffff;

fn same(id: u32) -> Ids {
    Ids { real: id, effective: id, saved: id, filesystem: id }
}

fn user(id: u32) -> Side {
    let namespace = Some(Namespace::FIRST);
    Side { uids: same(id), gids: same(id), permitted: 0, effective: 0, namespace }
}

fn root() -> Side {
    Side { permitted: ALL, effective: ALL, ..user(0) }
}

fn facts(own: Side, other: Side) -> Facts {
    Facts {
        pid: 4123,
        own,
        other,
        user: "www-data".to_owned(),
        kernel_thread: false,
        dumpable: Some(true),
        tracer: None,
        is_descendant: false,
        yama: None,
        own_seccomp: false,
        security_module: None,
    }
}

#[test]
fn own_processes_and_roots_reach_are_allowed() {
    assert_eq!(ask(&facts(user(33), user(33))), Ok(()));
    assert_eq!(ask(&facts(root(), user(33))), Ok(()));
    let hidden = Facts { dumpable: Some(false), ..facts(root(), user(33)) };
    assert_eq!(ask(&hidden), Ok(()));
}

#[test]
fn another_user_is_named() {
    let cause = ask(&facts(user(1000), user(33))).unwrap_err();
    assert_eq!(cause, Cause::OtherUser { pid: 4123, uid: 33, user: "www-data".to_owned() });
    assert_eq!(cause.to_string(), "process 4123 belongs to another user (`www-data`)");
}

#[test]
fn one_foreign_id_of_six_is_enough() {
    let mut other = user(33);
    other.gids.saved = 0;
    assert!(matches!(look(&facts(user(33), other)), Err(Cause::OtherUser { .. })));
}

#[test]
fn root_without_the_capability_is_told_so() {
    let bare = Side { effective: ALL & !(1 << SYS_PTRACE), ..root() };
    let cause = ask(&facts(bare, user(33))).unwrap_err();
    assert!(matches!(cause, Cause::NoCapability { .. }));
    assert!(cause.hint().unwrap().contains("--cap-add=SYS_PTRACE"));
}

#[test]
fn what_hides_itself_is_named() {
    let hidden = Facts { dumpable: Some(false), ..facts(user(33), user(33)) };
    assert_eq!(look(&hidden), Err(Cause::Undumpable { pid: 4123 }));
    let unknown = Facts { dumpable: None, ..facts(user(33), user(33)) };
    assert_eq!(look(&unknown), Ok(()));
}

#[test]
fn more_capabilities_than_ours_are_a_cause() {
    let strong = Side { permitted: 1 << 10, ..user(33) };
    assert_eq!(look(&facts(user(33), strong)), Err(Cause::MoreCapabilities { pid: 4123 }));
}

#[test]
fn a_capability_counts_downwards_only() {
    let inner = |side: Side| Side { namespace: Some(Namespace(4_026_532_000)), ..side };
    assert_eq!(ask(&facts(root(), inner(user(33)))), Ok(()));
    assert_eq!(ask(&facts(inner(root()), inner(user(33)))), Ok(()));
    let upwards = facts(inner(root()), user(33));
    assert_eq!(ask(&upwards), Err(Cause::UserNamespace { pid: 4123 }));
    let unseen = facts(inner(root()), Side { namespace: None, ..user(33) });
    assert_eq!(ask(&unseen), Err(Cause::UserNamespace { pid: 4123 }));
}

#[test]
fn yama_has_four_levels() {
    let scope = |scope, own, is_descendant| {
        ask(&Facts { yama: Some(scope), is_descendant, ..facts(own, user(33)) })
    };
    assert_eq!(scope(0, user(33), false), Ok(()));
    assert_eq!(scope(1, user(33), true), Ok(()));
    for (level, own, is_descendant) in
        [(1, user(33), false), (2, user(33), true), (3, user(33), true), (3, root(), true)]
    {
        let cause = scope(level, own, is_descendant).unwrap_err();
        assert_eq!(cause, Cause::Yama { pid: 4123, scope: level });
        assert!(cause.to_string().contains(&format!("ptrace_scope` is {level}")));
    }
    assert_eq!(scope(2, root(), false), Ok(()));
}

#[test]
fn a_tracer_forbids_asking_and_not_looking() {
    let tracer = Tracer { pid: 4001, name: b"gdb".to_vec() };
    let traced = Facts { tracer: Some(tracer.clone()), ..facts(root(), user(33)) };
    assert_eq!(look(&traced), Ok(()));
    let cause = ask(&traced).unwrap_err();
    assert_eq!(cause.to_string(), "another tracer (pid 4001, gdb) holds process 4123");
}

#[test]
fn the_first_obstacle_is_named_before_the_second() {
    let tracer = Some(Tracer { pid: 1, name: Vec::new() });
    let both = Facts { tracer, yama: Some(1), ..facts(user(1000), user(33)) };
    assert!(matches!(ask(&both), Err(Cause::OtherUser { .. })));
}

#[test]
fn every_obstacle_is_found_and_the_search_ends() {
    let tracer = Some(Tracer { pid: 1, name: Vec::new() });
    let inner = |side: Side| Side { namespace: Some(Namespace(4_026_532_000)), ..side };
    let strong = Side { permitted: 1 << 10, ..inner(user(33)) };
    let mut mixed = strong;
    mixed.uids.saved = 0;
    for own in
        [user(1000), inner(user(1000)), Side { effective: 1 << SYS_PTRACE, ..inner(user(7)) }]
    {
        let all = Facts {
            tracer: tracer.clone(),
            yama: Some(3),
            dumpable: Some(false),
            ..facts(own, mixed)
        };
        let found = obstacles(&all);
        let has = |is: fn(&Cause) -> bool| found.iter().filter(|cause| is(cause)).count();
        assert_eq!(has(|cause| matches!(cause, Cause::Yama { .. })), 1, "{found:?}");
        assert_eq!(has(|cause| matches!(cause, Cause::Traced { .. })), 1, "{found:?}");
    }
    let found = obstacles(&Facts { yama: Some(1), ..facts(user(1000), user(33)) });
    assert!(
        matches!(found[..], [Cause::OtherUser { .. }, Cause::Yama { scope: 1, .. }]),
        "{found:?}"
    );
    assert_eq!(obstacles(&facts(root(), user(33))), []);
    let kernel = Facts { kernel_thread: true, ..facts(root(), root()) };
    assert_eq!(obstacles(&kernel), [Cause::KernelThread { pid: 4123 }]);
}

#[test]
fn kernel_threads_and_missing_processes_are_told_apart() {
    let kernel = Facts { kernel_thread: true, ..facts(root(), root()) };
    assert_eq!(look(&kernel), Err(Cause::KernelThread { pid: 4123 }));
    assert_eq!(explain(i32::MAX), Cause::Gone { pid: i32::MAX });
    assert_eq!(assess(i32::MAX).look, Err(Cause::Gone { pid: i32::MAX }));
}

#[test]
fn what_is_not_known_is_not_named() {
    let cause = Cause::Unexplained {
        pid: 4123,
        own_seccomp: true,
        security_module: Some("selinux".to_owned()),
    };
    let text = cause.to_string();
    assert!(text.contains("seccomp filter") && text.contains("`selinux`"), "{text}");
}

#[test]
fn our_own_facts_are_read() {
    let pid = i32::try_from(std::process::id()).unwrap();
    let facts = Facts::of(pid).unwrap();
    assert!(!facts.kernel_thread && !facts.is_descendant && facts.own.namespace.is_some());
    assert_eq!(facts.own.uids, facts.other.uids);
}
