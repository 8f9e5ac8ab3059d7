use spyhole_attach::*;
use std::time::*;
fn main() {
    let pid: i32 = std::env::args().nth(1).unwrap().parse().unwrap();
    if let Ok(n) = std::env::var("DIE") { spyhole_proc::sys::die_after(n.parse().unwrap()); }
    let t = Instant::now();
    let p = spyhole_proc::pidfd::Pidfd::open(pid).unwrap();
    let opts = Options { door: None, override_opt_out: false, patience: Duration::from_secs(2) };
    let src = br#"
import sys
stub_arm(1)
stub_disarm(1)
stub_send(repr((len(sys.modules), stub_now(), stub_ident(), stub_tid(), stub_take(), sys.version)).encode())
"#;
    let l = attach(&p, &opts, &Opening { source: src.to_vec(), frames: vec![] });
    let l = match l {
        Ok(l) => l,
        Err(e) => {
            println!("error: {e} {e:?}");
            return;
        }
    };
    let mut b = [0u8; 4096];
    let n = l.receive(&mut b).unwrap();
    let el = t.elapsed();
    println!("{:?} held {:?} {}", el, l.held, String::from_utf8_lossy(&b[..n]));
    let n = l.receive(&mut b).unwrap();
    println!(
        "then {n} {:?} gone {} {:?}",
        &b[..n],
        l.wait_gone(&p, Duration::from_secs(1)),
        t.elapsed()
    );
}
