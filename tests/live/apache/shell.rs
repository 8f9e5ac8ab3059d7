//! Django under mod_wsgi with the ispy shell and the middleware of the package: its daemons are another user's.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use spyhole_testkit::census;

use super::server::{Server, Site};
use crate::program::{LIMIT, run, run_with_input};

const SITE: &str = r#"
import os
import sys
import time

folder = os.path.dirname(__file__)
run = os.path.join(folder, "run")
sys.path.insert(0, folder)

import django
from django.conf import settings
settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=[])
django.setup()

from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

from spyhole.manager import ShellManager
from spyhole.plugins.wsgi import WSGIApplicationWrapper


def wait(request):
    open(os.path.join(run, "serving"), "w").close()
    while not os.path.exists(os.path.join(run, "go")):
        time.sleep(0.02)
    return HttpResponse("ok")


urlpatterns = [path("wait", wait), path("", lambda request: HttpResponse("ok"))]
ini = os.path.join(run, "ispyd.%d" % os.getpid())
with open(ini, "w") as file:
    file.write("[ispyd]\nlisten = %s/ispyd-%%(pid)s.sock\n[python:console]\nenabled = true\n" % run)
shell_manager = ShellManager(ini)
application = WSGIApplicationWrapper(get_wsgi_application())
open(os.path.join(run, "ready.%d" % os.getpid()), "w").close()
"#;

#[test]
fn django_has_one() {
    if !Path::new("/usr/lib/python3/dist-packages/django").exists() {
        return census::skipped("apache-shell", "needs Django");
    }
    let site = Site { script: SITE, ..Site::django(2) };
    let Some(server) = Server::start("apache-shell", &site) else { return };
    let mut daemons: Vec<i32> =
        server.noted("ready").iter().map(|pid| pid.parse().expect("a pid")).collect();
    daemons.sort_unstable();
    let folder = server.folder.join("run");
    let ini = folder.join("shell.ini").display().to_string();
    fs::write(&ini, format!("[ispyd]\nlisten = {}/ispyd-%(pid)s.sock\n", folder.display()))
        .expect("a file");
    let list: String = daemons
        .iter()
        .enumerate()
        .map(|(at, pid)| format!("{}: (1, '{}/ispyd-{pid}.sock')\n", at + 1, folder.display()))
        .collect();
    run_with_input(&["ispy", &ini], "servers\n").gave(&list);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.get("/wait?page=2&token=hunter2"));
        let serving = folder.join("serving");
        let deadline = Instant::now() + LIMIT;
        while !serving.exists() {
            assert!(Instant::now() < deadline, "nobody serves it: {}", server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        let told = run(["plugin", "wsgi", "requests", "--target", &ini, "--json"]);
        let rows = told.json();
        let rows = rows.as_array().expect("a list");
        let busy = rows.iter().position(|row| row["value"][0].is_object());
        let busy = busy.unwrap_or_else(|| panic!("nobody tells of it: {told:?}"));
        let session = format!(
            "connect {}\n!wsgi\nrequests\nexit\n!process\npid\nexit\n!python\nconsole\ndjango.VERSION[0] > 1\nexit()\n",
            busy + 1
        );
        let talked = run_with_input(&["ispy", &ini], &session);
        let outside = run(["requests", &server.name, "--json"]);
        fs::write(folder.join("go"), "").expect("a file");
        assert_eq!((told.code, rows.len()), (0, 2), "{told:?}");
        let one = &rows[busy]["value"][0];
        assert_eq!(one["environ"]["PATH_INFO"], "'/wait'");
        assert_eq!(one["environ"]["QUERY_STRING"], "'page=2&token=<redacted>'");
        assert!(one["id"].is_u64() && one["duration"].is_f64(), "{one:#}");
        assert_eq!(talked.code, 0, "{talked:?}");
        for part in
            ["PATH_INFO = '/wait'\n", ", in wait\n", &format!("\n{}\n", daemons[busy]), "\nTrue\n"]
        {
            assert!(talked.data.contains(part), "{part}: {talked:?}");
        }
        let outside = outside.json();
        assert_eq!(outside[0]["id"], one["id"], "{outside:#}");
        assert_eq!(outside[0]["path"], "/wait", "{outside:#}");
        let answer = waiting.join().expect("no panic").expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    });
}
