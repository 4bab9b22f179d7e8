//! What a client is told that speaks plaintext to a server which does not.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const REASON: &str = "this port speaks TLS only";

/// How an HTTP/2 connection begins; three bytes tell it from every method of HTTP/1.
const HTTP2: &[u8] = b"PRI";

/// How much of a request is read and thrown away, so that the answer is not lost together with it.
const DRAINED_BYTES_MAX: usize = 64 * 1024;

const FRAME_SETTINGS: u8 = 4;
const FRAME_GOAWAY: u8 = 7;

/// HTTP/2's error code for a connection that is not secure enough.
const INADEQUATE_SECURITY: u32 = 12;

/// Answers in the client's own protocol, and closes.
pub(super) async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    let mut beginning = [0; HTTP2.len()];
    let mut length = 0;
    // What differs from HTTP/2 before its third byte is not waited for any longer.
    while length < beginning.len() && beginning[..length] == HTTP2[..length] {
        let count = stream.read(&mut beginning[length..]).await?;
        if count == 0 {
            return Ok(());
        }
        length += count;
    }
    let answer = if beginning == *HTTP2 { goaway() } else { text() };
    stream.write_all(&answer).await?;
    stream.shutdown().await?;
    let mut rest = [0; 4096];
    let mut drained = 0;
    while drained < DRAINED_BYTES_MAX {
        match stream.read(&mut rest).await? {
            0 => break,
            count => drained += count,
        }
    }
    Ok(())
}

fn text() -> Vec<u8> {
    let body = format!("{REASON}: use https://\n");
    let head = "HTTP/1.1 426 Upgrade Required\r\nupgrade: TLS/1.2\r\nconnection: close\r\n\
                content-type: text/plain; charset=utf-8\r\n";
    format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Empty settings, which a connection begins with, and the end of the connection.
fn goaway() -> Vec<u8> {
    let mut bytes = frame(FRAME_SETTINGS, &[]);
    let mut payload = 0_u32.to_be_bytes().to_vec();
    payload.extend(INADEQUATE_SECURITY.to_be_bytes());
    payload.extend(REASON.as_bytes());
    bytes.extend(frame(FRAME_GOAWAY, &payload));
    bytes
}

/// A frame of the connection itself, without flags.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("the frames here are short");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.push(kind);
    bytes.push(0);
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}
