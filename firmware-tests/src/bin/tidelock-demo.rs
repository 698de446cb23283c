//! `./x demo`: runs the flow, shows its report, and answers 0 only if every step went as it should.

use clap::Parser;
use firmware_tests::demo::{html, report::Report, run, text};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Boots a guest under emulation in which one device earns its way in and one that lies is refused.
///
/// Starts an emulated TEE-IO network card, an emulated TSM and tidelockd, boots a guest whose image runs tidelock-agent, and
/// measures the path of the data before and after the verdict. Writes report.json and report.html. Exit code 0: every step went
/// as it should; 1: one did not, and the report says which; 2: the run could not be made, and the message says why.
#[derive(Parser)]
#[command(name = "tidelock-demo", version)]
struct Options {
    /// Where report.json and report.html go.
    #[arg(long, value_name = "DIR", default_value = "target/demo")]
    out: PathBuf,
    /// Print the report as JSON on standard output instead of text.
    #[arg(long)]
    json: bool,
    /// Keep the run's directory with the logs of all processes, and say where it is.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match demo(&options) {
        Ok(report) if report.failures.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tidelock-demo: {error}");
            ExitCode::from(2)
        }
    }
}

fn demo(options: &Options) -> Result<Report, Box<dyn std::error::Error>> {
    let directory = tempfile::Builder::new().prefix("tidelock-").tempdir()?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let run_options = run::Options {
        directory: directory.path().into(),
        stop,
    };
    let report = run::run(&run_options, &mut |step| {
        eprintln!("{:>9.1} s  {}", (step.start_ms + step.ms) / 1000.0, step.name);
    });
    if options.keep {
        eprintln!("the run's directory: {}", directory.keep().display());
    }
    let report = report?;
    save(&options.out, &report)?;
    let mut out = anstream::AutoStream::auto(std::io::stdout());
    match options.json {
        true => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
        false => text::write(&mut out, &report)?,
    }
    eprintln!("\nreport: {}", options.out.join("report.html").display());
    Ok(report)
}

fn save(directory: &Path, report: &Report) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    std::fs::write(directory.join("report.json"), serde_json::to_vec_pretty(report)?)?;
    std::fs::write(directory.join("report.html"), html::page(report))
}
