"""A hostile step: it tries every way out of its sandbox and prints a line of JSON for each.

``python3 tries_inside.py locked`` tries what needs no proxy; ``asked FILE`` sends what a table says.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import ssl
import struct
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 15
PROXY = ("127.0.0.1", 3128)
FORBIDDEN, OUTLET = int(os.environ.get("FORBIDDEN", "1")), int(os.environ.get("OUTLET", "1"))
TRIES: dict[str, Callable[[], object]] = {}
AF_VSOCK, AF_ALG, AF_XDP, NETLINK_ROUTE = 40, 38, 44, 0
PTRACE_ATTACH, IO_URING_SETUP, PIDFD_GETFD, SETNS, UNSHARE = 16, 425, 438, 308, 272


def tried(act: Callable[[], object]) -> Callable[[], object]:
    """Keep a try under its name: what it returns got out, what it raises (``OSError``) is how it was held."""
    TRIES[act.__name__] = act
    return act


def connect(family: int, place: Any, kind: int = socket.SOCK_STREAM) -> str:
    with socket.socket(family, kind) as peer:
        peer.settimeout(2)
        peer.connect(place)
        peer.sendall(b"escaped")
        return f"reached {place}"


def call(number: int, *arguments: Any) -> int:
    """Make a system call; raises ``OSError``."""
    libc = ctypes.CDLL(None, use_errno=True)
    found = int(libc.syscall(number, *arguments))
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found


def reach(name: str, family: int, place: Any, kind: int = socket.SOCK_STREAM) -> None:
    def act() -> str:
        return connect(family, place, kind)

    act.__name__ = name
    tried(act)


V4, V6, UDP = socket.AF_INET, socket.AF_INET6, socket.SOCK_DGRAM
for _name, _place in {
    "tcp_to_the_host_s_loopback": ("127.0.0.1", FORBIDDEN),
    "tcp_to_any_loopback_address": ("127.9.9.9", FORBIDDEN),
    "tcp_to_nowhere_which_is_here": ("0.0.0.0", FORBIDDEN),  # noqa: S104 - not listened on
    "tcp_to_the_gateway": ("172.17.0.1", FORBIDDEN),
    "tcp_to_the_internet": ("1.1.1.1", 443),
    "tcp_to_metadata": ("169.254.169.254", 80),
    "tcp_to_alibaba_s_metadata": ("100.100.100.200", 80),
    "tcp_to_azure_s_wire_server": ("168.63.129.16", 80),
    "tcp_to_a_neighbour": ("192.168.0.1", 80),
}.items():
    reach(_name, V4, _place)
for _name, _place in {
    "udp_dns_to_the_internet": ("8.8.8.8", 53),
    "udp_dns_to_docker_s_resolver": ("127.0.0.11", 53),
    "udp_to_the_host_s_loopback": ("127.0.0.1", FORBIDDEN),
    "udp_multicast_dns": ("224.0.0.251", 5353),
    "udp_broadcast": ("255.255.255.255", 67),
}.items():
    reach(_name, V4, _place, UDP)
reach("ipv6_loopback", V6, ("::1", FORBIDDEN))
reach("ipv6_mapped", V6, ("::ffff:127.0.0.1", FORBIDDEN))
reach("ipv6_internet", V6, ("2606:4700:4700::1111", 443))
reach("ipv6_link_local", V6, ("fe80::1", 80, 0, 1))
reach("ipv6_metadata", V6, ("fd00:ec2::254", 80))
reach("vsock_to_the_host", AF_VSOCK, (2, FORBIDDEN))
reach("abstract_socket_of_the_host", socket.AF_UNIX, f"\0runner-hostile-{FORBIDDEN}")
reach("the_engine_s_socket", socket.AF_UNIX, "/var/run/docker.sock")
reach("the_carrier_s_socket", socket.AF_UNIX, "/.runner/carrier")


@tried
def sends_udp_without_connecting() -> int:
    with socket.socket(V4, UDP) as peer:
        return peer.sendto(b"escaped", ("1.1.1.1", 53))


@tried
def raw_ip() -> object:
    return socket.socket(V4, socket.SOCK_RAW, socket.IPPROTO_ICMP)


@tried
def raw_packets() -> object:
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300)


@tried
def express_data_path() -> object:
    return socket.socket(AF_XDP, socket.SOCK_RAW)


@tried
def kernel_crypto() -> object:
    return socket.socket(AF_ALG, socket.SOCK_SEQPACKET)


@tried
def sctp() -> object:
    return connect_by(socket.socket(V4, socket.SOCK_STREAM, 132))


def connect_by(peer: socket.socket) -> str:
    with peer:
        peer.settimeout(2)
        peer.connect(("127.0.0.1", FORBIDDEN))
        return "connected"


def ask_netlink(message: bytes) -> str:
    """Ask the kernel to change its network; raises ``OSError`` with its answer."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as peer:
        peer.settimeout(2)
        peer.send(message)
        answer = peer.recv(4096)
    (code,) = struct.unpack_from("=i", answer, 16)
    if code:
        raise OSError(-code, os.strerror(-code))
    return "changed"


def asked(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0x605, 1, 0) + body


@tried
def netlink_adds_a_device() -> str:
    name = struct.pack("=HH8s", 12, 3, b"evil0\0\0\0")
    inner = struct.pack("=HH8s", 12, 1, b"dummy\0\0\0")
    info = struct.pack("=HH", 4 + len(inner), 18) + inner
    return ask_netlink(asked(16, struct.pack("=BBHiII", 0, 0, 0, 0, 0, 0) + name + info))


@tried
def netlink_adds_an_address() -> str:
    address = struct.pack("=HH4s", 8, 2, b"\x0a\x09\x09\x09")
    return ask_netlink(asked(20, struct.pack("=BBBBI", 2, 24, 0, 0, 1) + address))


@tried
def netlink_adds_a_route() -> str:
    head = struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 3, 0, 1, 0)
    return ask_netlink(asked(24, head + struct.pack("=HHI", 8, 4, 1)))


@tried
def takes_a_device_up() -> object:
    with socket.socket(V4, UDP) as peer:
        return fcntl.ioctl(peer, 0x8914, struct.pack("16sh22x", b"lo", 0))


@tried
def makes_a_tunnel_device() -> object:
    device = os.open("/dev/net/tun", os.O_RDWR)
    return fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", b"evil0", 1))


@tried
def makes_a_network_of_its_own() -> int:
    return call(UNSHARE, 0x40000000)


@tried
def joins_the_network_of_pid_1() -> int:
    return call(SETNS, os.open("/proc/1/ns/net", os.O_RDONLY), 0)


@tried
def opens_an_io_uring() -> int:
    return call(IO_URING_SETUP, 8, ctypes.create_string_buffer(256))


@tried
def traces_pid_1() -> int:
    return call(101, PTRACE_ATTACH, 1, 0, 0)


@tried
def takes_a_descriptor_of_pid_1() -> int:
    return call(PIDFD_GETFD, os.pidfd_open(1), 3, 0)


@tried
def writes_frames_as_pid_1() -> int:
    return os.write(os.open("/proc/1/fd/1", os.O_WRONLY), b"o\0\0\0\x09\0\0\0\x07\x01\0\x10\0\0")


@tried
def reads_what_pid_1_hears() -> bytes:
    return os.read(os.open("/proc/1/fd/0", os.O_RDONLY | os.O_NONBLOCK), 10)


@tried
def takes_the_proxy_s_port() -> object:
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        peer.bind(PROXY)
        peer.listen()
    return "bound"


@tried
def takes_the_outlet_s_port() -> object:
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        peer.bind(("127.0.0.1", OUTLET))
        peer.listen()
    return "bound"


def exchange(peer: socket.socket, data: bytes) -> bytes:
    """Send and read to the end, of which a reset is one."""
    said = b""
    try:
        peer.sendall(data)
        while more := peer.recv(65536):
            said += more
    except (ConnectionError, ssl.SSLError, TimeoutError) as error:
        said += f" [{type(error).__name__}]".encode()
    return said


def tell(each: dict[str, Any]) -> bytes:
    """Send what one line of the table says, by the way that it names."""
    host, _, port = each["place"].partition(":")
    place = (host, int(port)) if host else PROXY
    with socket.create_connection(place, timeout=PATIENCE) as peer:
        if each["tunnel"]:
            peer.sendall(f"CONNECT {each['tunnel']} HTTP/1.1\r\nHost: {each['tunnel']}\r\n\r\n".encode())
            if not (answer := peer.recv(4096)).startswith(b"HTTP/1.1 200"):
                return answer
        data = each["send"].encode("latin-1")
        if not each["tls"]:
            return exchange(peer, data)
        context = ssl.create_default_context()
        with context.wrap_socket(peer, server_hostname=each["tls"]) as tls:
            return exchange(tls, data)


def main() -> None:
    """Try everything, come what may."""
    if sys.argv[1] == "asked":
        for each in json.loads(Path(sys.argv[2]).read_text()):
            try:
                got = tell(each).decode("latin-1")
            except OSError as error:
                got = f"[{error}]"
            print(json.dumps({"try": each["try"], "got": got[:600]}), flush=True)
        return
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError("nothing for 5 s")))
    for name, act in TRIES.items():
        signal.alarm(5)
        began = time.monotonic()
        try:
            told = {"got": repr(act()), "held": ""}
        except (OSError, AttributeError) as error:
            told = {"got": "", "held": str(error)}
        signal.alarm(0)
        print(json.dumps({"try": name, **told, "took": round(time.monotonic() - began, 2)}), flush=True)


if __name__ == "__main__":
    main()
