//! A TCP proxy that holds bytes back for a while: network delay without kernel support.
//!
//! Delay is one-way and per chunk: what is read at time t leaves no earlier than t + delay, in
//! order. Bandwidth is untouched, as on a longer line. The delay is read once per chunk, so a
//! change takes effect at once for new bytes and never reorders old ones.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Delay shared by all connections of one proxy, settable while it runs.
#[derive(Debug, Clone, Default)]
pub struct Delay {
    base_micros: Arc<AtomicU64>,
    jitter_micros: Arc<AtomicU64>,
}

impl Delay {
    /// Sets the one-way delay, and the jitter that is added on top (0 to `jitter`).
    pub fn set(&self, base: Duration, jitter: Duration) {
        let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        self.base_micros.store(micros(base), Ordering::Relaxed);
        self.jitter_micros.store(micros(jitter), Ordering::Relaxed);
    }

    /// The delay for the chunk with this number: the base plus a share of the jitter that is a
    /// fixed function of `chunk`, so that a replay of the same traffic is delayed the same.
    pub fn of_chunk(&self, chunk: u64) -> Duration {
        let base = self.base_micros.load(Ordering::Relaxed);
        let jitter = self.jitter_micros.load(Ordering::Relaxed);
        // Weyl sequence: evenly spread without a generator to share between connections.
        let share = (chunk.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / (1_u64 << 24) as f64;
        Duration::from_micros(base + (jitter as f64 * share) as u64)
    }
}

/// Accepts connections for ever and joins each to `upstream` through the delay.
///
/// # Errors
/// When accepting fails; trouble of a single connection only closes that connection.
pub async fn serve(
    listener: TcpListener,
    upstream: SocketAddr,
    delay: Delay,
) -> std::io::Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        let delay = delay.clone();
        tokio::spawn(async move {
            // A failed connection is closed, which is what its client would see without us.
            let _ = join(client, upstream, delay).await;
        });
    }
}

async fn join(client: TcpStream, upstream: SocketAddr, delay: Delay) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let server = TcpStream::connect(upstream).await?;
    server.set_nodelay(true)?;
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let there = pump(client_read, server_write, delay.clone());
    let back = pump(server_read, client_write, delay);
    // Either side closing for good ends both, or half-closed database sessions would pile up.
    tokio::select! { done = there => done, done = back => done }
}

/// Copies one direction; ends when the reader ends or the writer fails.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    delay: Delay,
) -> std::io::Result<()> {
    // Reading goes on while chunks wait, or the delay would also limit the bandwidth. The queue is
    // bounded; a full one stops reading, as a full socket buffer would.
    let (queue, mut waiting) = mpsc::channel::<(Instant, BytesMut)>(256);
    let read = async move {
        for chunk in 0_u64.. {
            let mut bytes = BytesMut::with_capacity(16 * 1024);
            if from.read_buf(&mut bytes).await? == 0 {
                break;
            }
            if queue.send((Instant::now() + delay.of_chunk(chunk), bytes)).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let write = async {
        while let Some((leaves_at, bytes)) = waiting.recv().await {
            // The timer ticks in milliseconds and rounds up: without a delay it would add one.
            if leaves_at > Instant::now() {
                tokio::time::sleep_until(leaves_at).await;
            }
            to.write_all(&bytes).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_its_bounds_and_is_repeatable() {
        let delay = Delay::default();
        delay.set(Duration::from_millis(20), Duration::from_millis(10));
        for chunk in 0..1_000 {
            let held = delay.of_chunk(chunk);
            assert!(
                held >= Duration::from_millis(20) && held < Duration::from_millis(30),
                "{held:?}"
            );
            assert_eq!(held, delay.of_chunk(chunk));
        }
    }

    // Time is tokio's paused clock, so the delay is exact and the test waits for nothing.
    #[tokio::test(start_paused = true)]
    async fn bytes_arrive_whole_in_order_and_after_the_delay() {
        let delay = Delay::default();
        delay.set(Duration::from_millis(250), Duration::ZERO);
        let (mut client, near) = tokio::io::duplex(64 * 1024);
        let (far, mut server) = tokio::io::duplex(64 * 1024);
        let pumping = tokio::spawn(pump(near, far, delay));
        let start = Instant::now();
        client.write_all(b"first").await.unwrap();
        client.write_all(b" second").await.unwrap();
        drop(client);
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"first second");
        assert_eq!(start.elapsed(), Duration::from_millis(250));
        pumping.await.unwrap().unwrap();
    }
}
