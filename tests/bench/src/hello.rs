//! What a web server costs that reads the same requests and does nothing: the measure for all others.

use axum::{Form, Json, Router, routing::post};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::Fault;

#[derive(Deserialize)]
struct Greeting {
    tool: String,
}

/// Serves until it is killed.
pub(crate) async fn serve() -> Result<(), Fault> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    axum::serve(listener, Router::new().route("/hello", post(hello))).await?;
    Ok(())
}

async fn hello(Form(greeting): Form<Greeting>) -> Json<Value> {
    Json(json!({ "hello": greeting.tool }))
}
