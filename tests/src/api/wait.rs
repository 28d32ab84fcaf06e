//! Waits for conditions.

use std::time::Duration;

/// Upper limit for every wait, enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Repeats `ask` until it returns something.
///
/// # Panics
/// It does not in time.
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
