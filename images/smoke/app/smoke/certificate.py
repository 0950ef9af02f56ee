"""The certificate that is *served*: not the file on the host, but what a client is shown."""

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

from smoke.report import Fault

TIMEOUT_SECONDS = 10.0
OLD = ("SSLv3", "TLSv1", "TLSv1.1")


@dataclass(frozen=True)
class Trust:
    """Whom to believe: the machine's authorities, those in a file, or anybody."""

    ca: str | None
    insecure: bool

    def context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError) as error:
            raise Fault(f"cannot read certificates from {self.ca}: {error}") from None
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(frozen=True)
class Shown:
    version: str
    cipher: str
    der: bytes
    # Empty if nobody vouches for it: Python explains only certificates that it believes.
    fields: dict


def shown(host: str, port: int, context: ssl.SSLContext) -> Shown:
    with (
        socket.create_connection((host, port), TIMEOUT_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=host) as wrapped,
    ):
        cipher = wrapped.cipher()
        return Shown(
            version=wrapped.version() or "none",
            cipher=cipher[0] if cipher else "none",
            der=wrapped.getpeercert(binary_form=True) or b"",
            fields=wrapped.getpeercert() or {},
        )


def believing(der: bytes) -> ssl.SSLContext:
    """Believes this one certificate, so that Python explains it; its dates still count."""
    context = ssl.create_default_context(cadata=ssl.DER_cert_to_PEM_cert(der))
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def facts(host: str, port: int, trust: Trust, min_days: int) -> str:
    try:
        seen = shown(host, port, trust.context())
        if not seen.fields:
            seen = shown(host, port, believing(seen.der))
    except ssl.SSLCertVerificationError as error:
        raise Fault(f"the certificate is not to be believed: {error.verify_message}") from None
    if seen.version in OLD:
        raise Fault(f"speaks {seen.version}, which is not safe")
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(seen.fields["notAfter"]), UTC)
    days = (until - datetime.now(UTC)).days
    names = [value for _, value in seen.fields.get("subjectAltName", ())]
    sentence = (
        f"{seen.version} {seen.cipher}; certificate for {', '.join(names) or 'no name'} "
        f"by {issuer(seen.fields)}, until {until:%Y-%m-%d} ({days} days)"
    )
    if days < min_days:
        raise Fault(f"{sentence}, which is less than {min_days} days")
    return sentence


def issuer(fields: dict) -> str:
    parts = {name: value for ((name, value),) in fields.get("issuer", ())}
    return parts.get("organizationName") or parts.get("commonName") or "nobody named"
