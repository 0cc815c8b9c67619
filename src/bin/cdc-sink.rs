//! Kafka to a warehouse: reads flags and files, runs, turns the outcome into an exit status.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cdc_agent::sink_cli::sink_main(std::env::args_os())
}
