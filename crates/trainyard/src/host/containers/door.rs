//! The services of a run within a container: they listen on this machine's loopback, and a
//! container has one of its own.
//!
//! A child of this program enters the container's network, listens there under the same address,
//! and hands the socket back: connections are accepted here, and every address that jobs are told
//! stays as it is. It works wherever this user may enter the container: as root, and with an
//! engine that runs as this user.
//!
//! Where that is not so, as with root's engine and its socket, containers call this machine at its
//! address in their network instead, and what they are told has that address in it.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::exit::Exit;

/// A socket that listens at a port of a container's loopback.
///
/// # Errors
///
/// When this user may not enter the container, or the port is taken there.
pub fn listen(pid: i32, port: u16) -> Result<TcpListener, String> {
    let failed = |e: io::Error| e.to_string();
    let (mine, theirs) = UnixStream::pair().map_err(failed)?;
    let program = std::env::current_exe().map_err(failed)?;
    let mut child = Command::new(program)
        .args(["internal-door", &pid.to_string(), &port.to_string()])
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let received = receive(&mine);
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_string(&mut said);
    }
    child.wait().map_err(failed)?;
    match received.map_err(failed)? {
        Some(listener) => Ok(listener),
        None => Err(said.trim().to_owned()),
    }
}

fn receive(socket: &UnixStream) -> io::Result<Option<TcpListener>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message {
            return Ok(fds.next().map(TcpListener::from));
        }
    }
    Ok(None)
}

/// The child: enters, listens, and hands the socket over through its standard input.
pub fn open(pid: i32, port: u16) -> Exit {
    let done = enter(pid)
        .map_err(|e| format!("this user may not enter the container: {e}"))
        .and_then(|()| {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .map_err(|e| format!("port {port} of the container: {e}"))
        })
        .and_then(|listener| send(&listener).map_err(|e| e.to_string()));
    match done {
        Ok(()) => Exit::Success,
        Err(why) => {
            eprintln!("{why}");
            Exit::Invalid
        }
    }
}

fn enter(pid: i32) -> io::Result<()> {
    let of = |who: &str, kind: &str| PathBuf::from(format!("/proc/{who}/ns/{kind}"));
    let pid = pid.to_string();
    let net = std::fs::File::open(of(&pid, "net"))?;
    let same = std::fs::read_link(of(&pid, "user"))? == std::fs::read_link(of("self", "user"))?;
    if !same {
        let user = std::fs::File::open(of(&pid, "user"))?;
        move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))?;
    }
    Ok(move_into_link_name_space(net.as_fd(), Some(LinkNameSpaceType::Network))?)
}

fn send(listener: &TcpListener) -> io::Result<()> {
    let fds = [listener.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let stdin = rustix::stdio::stdin();
    sendmsg(stdin, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::empty())?;
    Ok(())
}
