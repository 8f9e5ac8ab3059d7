//! `cargo xtask stress`: attach, evaluate, detach, again and again, on a target whose threads are in malloc all the time
//! and on one that forks all the time; neither may come to harm, and both must get on with their work.
//!
//! `--cycles N` (300), `--versions MINORS`, `--write`. What harm is, `ward` knows.

use anyhow::{Context, Result, bail};
use spyhole_testkit::{Interpreter, interpreters};

use crate::client::Client;
use crate::kills::VERSIONS;
use crate::record;
use crate::ward::{Harm, Kind, Tally, Ward};

static MALLOC: Kind =
    Kind { still: false, progress: Some("min(turns.values())"), ..Kind::still("malloc") };
static FORK: Kind = Kind { still: false, progress: Some("children"), ..Kind::still("fork") };

const CYCLES: usize = 300;
/// One cycle among so many is done by two clients at once.
const TWO_AT_ONCE_EACH: usize = 5;
/// The forking target gets this part of the cycles.
const FORK_PART: usize = 3;

pub(crate) fn run(words: &[String]) -> Result<()> {
    let options = Options::parse(words)?;
    let client = Client::released()?;
    let mut text = String::from(
        "| Python | cycles, malloc | cycles, fork | dead | hung | stopped | changed |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut sum = Tally::default();
    for minor in &options.versions {
        let interpreter =
            interpreters::for_version(minor).with_context(|| format!("no python {minor} here"))?;
        let malloc = cycles(&client, &interpreter, &MALLOC, options.cycles)?;
        let fork = cycles(&client, &interpreter, &FORK, options.cycles.div_ceil(FORK_PART))?;
        let mut both = malloc.clone();
        both.add(&fork);
        text.push_str(&format!(
            "| {minor} | {} | {} | {} |\n",
            malloc.trials,
            fork.trials,
            both.cells()
        ));
        println!("python {minor}: {} cycles, {} harms", both.trials, both.harms());
        sum.add(&both);
    }
    text.push_str(&format!("| all | {} | | {} |\n", sum.trials, sum.cells()));
    print!("{text}");
    if options.write {
        let text = format!("{}.\n\n{text}", record::circumstances()?);
        record::write("reliability.md", "stress", &text)?;
    }
    match sum.harms() {
        0 => Ok(()),
        harms => bail!("{harms} targets came to harm"),
    }
}

/// Cycle after cycle on one target; a fresh one after each harm.
fn cycles(
    client: &Client,
    interpreter: &Interpreter,
    kind: &'static Kind,
    count: usize,
) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut ward = Ward::start(interpreter, kind)?;
    let mut harm = ward.check(client)?;
    for cycle in 1..=count {
        tally.trials += 1;
        harm = match harm {
            None if cycle % TWO_AT_ONCE_EACH == 0 => two_at_once(&ward, client)?,
            None => ward.visit(client)?,
            some => some,
        };
        harm = harm.or_else(|| ward.unsettled());
        if harm.is_none() && cycle == count {
            // Whether each of its threads has got on since the beginning.
            harm = ward.check(client)?;
        }
        if let Some(harm) = harm.take() {
            let (version, name) = (interpreter.full_version(), kind.name);
            println!("HARM on python {version} `{name}`, cycle {cycle}: {harm}");
            tally.harm(&harm);
            ward = Ward::start(interpreter, kind)?;
        }
    }
    Ok(tally)
}

fn two_at_once(ward: &Ward, client: &Client) -> Result<Option<Harm>> {
    std::thread::scope(|scope| {
        let other = scope.spawn(|| ward.visit(client));
        let own = ward.visit(client)?;
        let other = other.join().expect("a visit does not panic")?;
        Ok(own.or(other))
    })
}

struct Options {
    cycles: usize,
    versions: Vec<String>,
    write: bool,
}

impl Options {
    fn parse(words: &[String]) -> Result<Self> {
        let versions = VERSIONS.iter().map(|minor| (*minor).to_owned()).collect();
        let mut options = Self { cycles: CYCLES, versions, write: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--write" {
                options.write = true;
                continue;
            }
            let value = words.next().with_context(|| format!("`{word}` needs a value"))?;
            match word.as_str() {
                "--cycles" => options.cycles = value.parse().context("not a number")?,
                "--versions" => options.versions = value.split(',').map(str::to_owned).collect(),
                _ => bail!(
                    "no option `{word}`; there are `--cycles N`, `--versions MINORS`, `--write`"
                ),
            }
        }
        Ok(options)
    }
}
