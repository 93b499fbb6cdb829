//! `demo`
use clap::Args;
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Where the lake goes
    #[arg(long, value_name = "DIR", default_value = "silversmith-demo")]
    dir: std::path::PathBuf,
}
pub(super) async fn run(_args: DemoArgs) -> anyhow::Result<()> {
    anyhow::bail!("demo")
}
