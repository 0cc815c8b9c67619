//! PostgreSQL to Kafka: reads flags and files, runs, turns the outcome into an exit status.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cdc_agent::cli::agent_main(std::env::args_os())
}
