"""Who may send to a node, and whom it sends to."""

import ipaddress
import re
from dataclasses import dataclass

from mri_n2n.errors import UsageError

_TITLE = re.compile(r"[^\\\x00-\x1f\x7f-\uffff@]{1,16}")


@dataclass(frozen=True)
class Caller:
    """One who may send: an AE title, from one address, or from anywhere if that is empty."""

    title: str
    address: str = ""

    @classmethod
    def parse(cls, text: str) -> "Caller":
        """From AE or AE@ADDRESS."""
        title, _, address = text.partition("@")
        try:
            return cls(checked_title(title), plain_address(address) if address else "")
        except ValueError:
            raise UsageError(f"{address!r} is not an IP address. Say --allow AE, or --allow AE@10.0.0.7.") from None


@dataclass(frozen=True)
class Peer:
    """One to send to."""

    title: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Peer":
        """From AE@HOST:PORT."""
        title, _, place = text.partition("@")
        host, _, port = place.rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise UsageError(f"{text!r} is no place to send to. Say --send-to AE@HOST:PORT.")
        return cls(checked_title(title), host.strip("[]"), int(port))


def checked_title(text: str) -> str:
    """An AE title; raises for what is none."""
    title = text.strip()
    if not _TITLE.fullmatch(title):
        raise UsageError(f"{text!r} is no AE title, expected 1 to 16 characters of ASCII without \\ and @.")
    return title


def plain_address(text: str) -> str:
    """An IP address as it is usually written; an IPv4 one that comes as IPv6 is IPv4. Raises ValueError for others."""
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def admitted(callers: tuple[Caller, ...], title: str, address: str) -> bool:
    """Whether one who calls itself `title`, from `address`, may send."""
    return any(caller.title == title and caller.address in ("", address) for caller in callers)


def known_address(callers: tuple[Caller, ...], address: str) -> bool:
    """Whether anybody may call from `address`."""
    return any(caller.address in ("", address) for caller in callers)
