//! Getting an agent into a process: what is asked of the attach, and the first message.

use spyhole_agent::bundle::Feature;
use spyhole_agent::frame::frame;
use spyhole_agent::message::{Eval, Load, Placement, Request};
use spyhole_agent::{bundle, compiled};
use spyhole_attach::{AttachError, Interpreter, Link, MakeOpening, Opening, Options};
use spyhole_proc::pidfd::Pidfd;

use crate::conversation::{Work, name_of};
use crate::evaluate::Reach;

pub(crate) fn options(reach: &Reach, interpreter: Interpreter) -> Options {
    Options {
        door: reach.door.clone(),
        override_opt_out: reach.override_opt_out,
        port: reach.port,
        patience: reach.patience,
        interpreter,
    }
}

/// On an overloaded machine the stub's second for its first byte may be over before we send it; then it has left.
pub(crate) fn attach_twice(
    process: &Pidfd,
    options: &Options,
    opening: MakeOpening<'_>,
) -> Result<Link, AttachError> {
    match spyhole_attach::attach(process, options, opening) {
        Err(AttachError::NoAnswer { .. }) => spyhole_attach::attach(process, options, opening),
        other => other,
    }
}

/// The agent for a version: its core, these features, and the first requests.
pub(crate) fn opening(
    minor: u8,
    features: &[Feature],
    requests: &[Request],
    leaves: bool,
) -> Opening {
    let compiled = compiled::for_minor(minor);
    let mut frames = Vec::new();
    for request in loads(minor, features) {
        frames.extend(framed(&request));
    }
    frames.extend(requests.iter().flat_map(framed));
    if leaves {
        frames.extend(framed(&Request::Bye));
    }
    Opening {
        magic: compiled.map_or(0, |c| c.magic),
        compiled: compiled.map(|c| c.core().to_vec()).unwrap_or_default(),
        source: bundle::CORE.as_bytes().to_vec(),
        frames,
    }
}

/// These features, as they are sent.
pub(crate) fn loads(minor: u8, features: &[Feature]) -> impl Iterator<Item = Request> {
    let compiled = compiled::for_minor(minor);
    let wanted = |(_, feature): &(usize, &Feature)| features.contains(feature);
    bundle::ALL.iter().enumerate().filter(wanted).map(move |(place, feature)| {
        let code = compiled.map(|c| c.feature(place).to_vec()).unwrap_or_default();
        let (feature, source) = (feature.name.to_owned(), feature.source.to_owned());
        Request::Load(Load { feature, source, code })
    })
}

pub(crate) fn framed(request: &Request) -> Vec<u8> {
    // What a person can type is far below the limit; more is cut off by the agent as no message.
    frame(&request.encode()).unwrap_or_default()
}

pub(crate) fn first_requests(work: &Work, placement: Placement) -> Vec<Request> {
    let modules = (!work.modules.is_empty()).then(|| Request::Loaded(work.modules.clone()));
    modules.into_iter().chain([request(1, work, placement)]).collect()
}

pub(crate) fn request(number: u32, work: &Work, place: Placement) -> Request {
    Request::Eval(Eval {
        job: number,
        code: work.code.as_str().into(),
        name: name_of(number),
        max: work.max,
        full: work.full,
        want_value: work.want_value,
        console: work.console,
        place,
    })
}
