"""The certificate that is there, and whether another one is due."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509


@dataclass(frozen=True)
class Certificate:
    names: list[str]
    serial: int
    not_before: datetime
    not_after: datetime

    @classmethod
    def read(cls, file: Path) -> "Certificate":
        found = x509.load_pem_x509_certificate(file.read_bytes())
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return cls(
            names=names.get_values_for_type(x509.DNSName),
            serial=found.serial_number,
            not_before=found.not_valid_before.replace(tzinfo=UTC),
            not_after=found.not_valid_after.replace(tzinfo=UTC),
        )

    def is_for(self, names: list[str]) -> bool:
        return set(self.names) == set(names)

    def is_due(self, now: datetime, before: timedelta) -> bool:
        """Whether it is time for a new one. Of one that lives only days, the last third counts."""
        lifetime = self.not_after - self.not_before
        return self.not_after - now < min(before, lifetime / 3)
