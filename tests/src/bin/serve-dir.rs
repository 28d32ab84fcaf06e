//! `serve-dir ADDRESS PREFIX FOLDER`: tower-http's `ServeDir`, used as in its documentation. `swarm-bench`
//! compares the orchestrator's serving with it.

use anyhow::{Context, Result};
use axum::Router;
use std::env;
use tower_http::services::ServeDir;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let mut next = || arguments.next().context("usage: serve-dir ADDRESS PREFIX FOLDER");
    let (address, prefix, folder) = (next()?, next()?, next()?);
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, Router::new().nest_service(&prefix, ServeDir::new(folder))).await?;
    Ok(())
}
