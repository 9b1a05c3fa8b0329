// A plain client in Rust; protocol.md says what it reads and prints.

use std::io::{self, BufRead, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn main() {
    for line in io::stdin().lock().lines() {
        let line = line.unwrap();
        println!("{}", visit(&line.split(' ').collect::<Vec<_>>()).join("\t"));
    }
}

fn visit(words: &[&str]) -> Vec<String> {
    let mut said = Vec::new();
    let start = Instant::now();
    let address: SocketAddr = format!("{}:{}", words[0], words[1]).parse().unwrap();
    let request = format!("{} {}\n", words[2], words[3]);
    let mut patience = None;
    let mut socket = None;
    for word in &words[4..] {
        let (step, option) = word.split_once(':').unwrap_or((word, "0"));
        let option = option.parse().unwrap();
        if step == "patience" {
            patience = Some(Duration::from_millis(option));
            continue;
        }
        let result = if step == "connect" {
            connect(&address, patience).map(|stream| socket = Some(stream))
        } else {
            take(step, option, socket.as_mut().unwrap(), &request, &mut said, start)
        };
        match result {
            Ok(()) => said.push(format!("{step}={}", if step == "read" { "EOF" } else { "ok" })),
            Err(error) => {
                said.push(format!("{step}={:?}: {error}", error.kind()));
                break;
            }
        }
    }
    said.push(format!("end_ms={}", start.elapsed().as_millis()));
    said
}

fn connect(address: &SocketAddr, patience: Option<Duration>) -> io::Result<TcpStream> {
    let socket = match patience {
        Some(patience) => TcpStream::connect_timeout(address, patience)?,
        None => TcpStream::connect(address)?,
    };
    socket.set_read_timeout(patience)?;
    Ok(socket)
}

fn take(
    step: &str,
    option: u64,
    socket: &mut TcpStream,
    request: &str,
    said: &mut Vec<String>,
    start: Instant,
) -> io::Result<()> {
    match step {
        "send" => socket.write_all(request.as_bytes()),
        "shut" => socket.shutdown(Shutdown::Write),
        "read" => read(socket, said, start),
        "write" => {
            for written in 0..option {
                said.push(format!("written={written}"));
                sleep(Duration::from_millis(20));
                socket.write_all(b"more\n")?;
            }
            Ok(())
        }
        _ => panic!("no such step: {step}"),
    }
}

fn read(socket: &mut TcpStream, said: &mut Vec<String>, start: Instant) -> io::Result<()> {
    let mut data = vec![0; 65536];
    let mut received = 0;
    let mut last_ms = 0;
    let mut changed = Vec::new();
    let result = loop {
        match socket.read(&mut data) {
            Ok(0) => break Ok(()),
            Err(error) => break Err(error),
            Ok(count) => {
                last_ms = start.elapsed().as_millis();
                if received == 0 {
                    said.push(format!("first_ms={last_ms}"));
                }
                for byte in &data[..count] {
                    if *byte as usize != received % 251 && changed.len() < 9 {
                        changed.push(received.to_string());
                    }
                    received += 1;
                }
            }
        }
    };
    said.push(format!("bytes={received}"));
    said.push(format!("changed={}", changed.join(",")));
    said.push(format!("last_ms={last_ms}"));
    result
}
