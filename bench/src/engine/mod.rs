//! How quickly real containers start and stop on a Docker engine: by the engine's bare API with as many calls at once as serve it
//! best, by Davit, by the engine's own Swarm mode, and by `docker run` one after the other. All on one engine, in turns, so that a
//! slow moment of the machine is everybody's.

mod bare;
mod command_line;
mod davit;
mod dockerd;
mod figures;
mod host;
mod single;
mod swarm;

use std::path::PathBuf;

use serde_json::{Value, json};

use self::bare::Bare;
use self::command_line::CommandLine;
use self::davit::Davit;
use self::figures::Figures;
use self::host::Host;
use self::swarm::Swarm;
use crate::error::Error;
use crate::running::places::Places;

/// Options of `engine`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many containers are started and stopped at once
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    containers: u32,
    /// How often
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How many are started alone, to see how long one takes; 0: none
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    singles: u32,
    /// An engine that runs, used without its Swarm mode [default: one of its own, in a network of its own, which takes root]
    #[arg(long, value_name = "SOCKET")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    places: Places,
}

/// Measures all, in turns.
pub(crate) async fn measure(options: &Options) -> Result<Value, Error> {
    let host = Host::start(options.socket.as_deref(), &options.places).await?;
    println!("{}", host.version);
    let mut davit = Davit::start(&host, &options.places).await?;
    let singles = match options.singles {
        0 => None,
        singles => Some(single::measure(&host, &mut davit, singles).await?),
    };
    let mut figures = Figures::default();
    for round in 1..=options.rounds {
        // Everybody is first once, so that nobody always has the engine as the one before left it.
        let mut turns: [Turn; TURNS] = [Turn::Bare, Turn::Davit, Turn::Swarm, Turn::CommandLine];
        turns.rotate_left(round as usize % TURNS);
        for turn in turns {
            match turn {
                Turn::Bare => {
                    for at_once in bare::AT_ONCE {
                        let times = Bare { host: &host, at_once }.run(options.containers).await?;
                        figures.add(format!("bare API, {at_once} at once"), times);
                    }
                }
                Turn::Davit => figures.add("Davit".to_owned(), Box::pin(davit.run(&host, options.containers)).await?),
                Turn::Swarm if host.is_own() => {
                    figures.add("Swarm mode".to_owned(), Swarm { host: &host }.run(options.containers).await?);
                }
                // Nobody's engine is made a Swarm for a measurement.
                Turn::Swarm => {}
                Turn::CommandLine => {
                    figures.add("docker run".to_owned(), CommandLine { host: &host }.run(options.containers).await?);
                }
            }
        }
        println!("round {round} of {}", options.rounds);
    }
    let summary = figures.summary(options.containers);
    figures::print(&summary, singles.as_ref());
    Ok(json!({
        "containers": options.containers,
        "rounds": options.rounds,
        "engine": host.version,
        "contenders": summary.rows,
        "ratio_to_bare": summary.start_to_bare,
        "ratio_to_swarm": summary.start_to_swarm,
        "stop_ratio_to_bare": summary.stop_to_bare,
        "stop_ratio_to_swarm": summary.stop_to_swarm,
        "single": singles,
    }))
}

const TURNS: usize = 4;

#[derive(Debug, Clone, Copy)]
enum Turn {
    Bare,
    Davit,
    Swarm,
    CommandLine,
}
