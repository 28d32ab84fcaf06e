//! Waiting for what comes by itself.

use std::time::Duration;

/// No condition of these tests takes longer, however busy the machine is.
const LIMIT: Duration = Duration::from_secs(60);

/// Asks again until there is an answer.
///
/// # Panics
/// If there is none in time.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, asked).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}
