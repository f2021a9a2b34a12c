//! The two ioctls, and the structures that `linux/ipmi.h` gives them.

use std::ffi::{c_int, c_long, c_short, c_uint, c_ushort};
use std::fs::File;
use std::io;
use std::marker::PhantomData;

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

use super::Request;

/// `IPMI_SYSTEM_INTERFACE_ADDR_TYPE`: the BMC by the system's own interface.
const SYSTEM_INTERFACE: c_int = 0x0c;
/// `IPMI_BMC_CHANNEL`
const BMC_CHANNEL: c_short = 0x0f;
/// `IPMI_MAX_ADDR_SIZE`, rounded up.
const ADDRESS_BYTES: usize = 64;

/// `struct ipmi_system_interface_addr`
#[repr(C)]
struct Address {
    addr_type: c_int,
    channel: c_short,
    lun: u8,
}

/// `struct ipmi_msg`
#[repr(C)]
struct Message {
    netfn: u8,
    cmd: u8,
    data_len: c_ushort,
    data: *mut u8,
}

/// `struct ipmi_req`; it borrows what its pointers point to.
#[repr(C)]
struct Send<'a> {
    addr: *const Address,
    addr_len: c_uint,
    msgid: c_long,
    msg: Message,
    borrowed: PhantomData<&'a [u8]>,
}

/// `struct ipmi_recv`; it borrows what its pointers point to.
#[repr(C)]
struct Receive<'a> {
    recv_type: c_int,
    addr: *mut u8,
    addr_len: c_uint,
    msgid: c_long,
    msg: Message,
    borrowed: PhantomData<&'a mut [u8]>,
}

/// `IPMICTL_SEND_COMMAND`
const SEND_COMMAND: Opcode = opcode::read::<Send<'_>>(b'i', 13);
/// `IPMICTL_RECEIVE_MSG_TRUNC`: a longer answer is cut off, not refused for ever.
const RECEIVE_MSG_TRUNC: Opcode = opcode::read_write::<Receive<'_>>(b'i', 11);

/// Sends a request to the BMC.
pub(crate) fn send(file: &File, id: c_long, request: Request<'_>) -> io::Result<()> {
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let address = Address { addr_type: SYSTEM_INTERFACE, channel: BMC_CHANNEL, lun: 0 };
    let mut send = Send {
        addr: &raw const address,
        addr_len: size_of::<Address>() as c_uint,
        msgid: id,
        msg: Message {
            netfn: request.netfn,
            cmd: request.cmd,
            data_len: request.data.len().try_into().map_err(too_long)?,
            data: request.data.as_ptr().cast_mut(),
        },
        borrowed: PhantomData,
    };
    // SAFETY: SEND_COMMAND takes a pointer to a struct ipmi_req, which `Send` is laid out as.
    let command = unsafe { Updater::<SEND_COMMAND, Send<'_>>::new(&mut send) };
    // SAFETY: the driver only reads the address and the data behind the pointers, within the lengths
    // given, and `address` and `request.data` live until the call returns.
    unsafe { ioctl(file, command) }?;
    Ok(())
}

/// Takes an answer that has come: the id of its request, and how many bytes of `data` it has.
pub(crate) fn receive(file: &File, data: &mut [u8]) -> io::Result<(c_long, usize)> {
    let mut address = [0_u64; ADDRESS_BYTES / size_of::<u64>()];
    let mut receive = Receive {
        recv_type: 0,
        addr: address.as_mut_ptr().cast(),
        addr_len: ADDRESS_BYTES as c_uint,
        msgid: 0,
        msg: Message {
            netfn: 0,
            cmd: 0,
            data_len: data.len().try_into().unwrap_or(c_ushort::MAX),
            data: data.as_mut_ptr(),
        },
        borrowed: PhantomData,
    };
    // SAFETY: RECEIVE_MSG_TRUNC takes a pointer to a struct ipmi_recv, which `Receive` is laid out as.
    let command = unsafe { Updater::<RECEIVE_MSG_TRUNC, Receive<'_>>::new(&mut receive) };
    // SAFETY: the driver writes at most `addr_len` and `data_len` bytes behind the pointers, which
    // are the lengths of arrays that live until the call returns.
    let received = unsafe { ioctl(file, command) };
    // EMSGSIZE says that it was cut off; what came is there.
    received.or_else(|e| if e == rustix::io::Errno::MSGSIZE { Ok(()) } else { Err(e) })?;
    Ok((receive.msgid, usize::from(receive.msg.data_len).min(data.len())))
}

#[cfg(test)]
#[cfg(target_pointer_width = "64")]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn structures_and_numbers_are_those_of_the_kernels_header() {
        // As a C compiler has them on 64-bit Linux; the number holds the size.
        assert_eq!((size_of::<Address>(), size_of::<Message>()), (8, 16));
        assert_eq!((size_of::<Send<'_>>(), size_of::<Receive<'_>>()), (40, 48));
        assert_eq!(offset_of!(Message, data), 8);
        assert_eq!((offset_of!(Send<'_>, msgid), offset_of!(Send<'_>, msg)), (16, 24));
        assert_eq!((offset_of!(Receive<'_>, msgid), offset_of!(Receive<'_>, msg)), (24, 32));
        assert_eq!(SEND_COMMAND, 0x8028_690d);
        assert_eq!(RECEIVE_MSG_TRUNC, 0xc030_690b);
    }
}
