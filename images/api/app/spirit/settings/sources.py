"""Where settings come from: the environment, and for secrets systemd's credentials.

A secret such as `JWT_SECRET` is first looked for in the environment, then in the file `jwt-secret`
of `$CREDENTIALS_DIRECTORY`, so that on a host it stands in no environment and no unit file.
"""

import os
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict


class SettingsError(ValueError):
    """Variables have values that the service cannot work with; one line for each.

    No line shows a value: it may be a secret, or one in the wrong place.
    """

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults

    @classmethod
    def of(cls, error: ValidationError) -> "SettingsError":
        return cls(
            [
                f"{str(fault['loc'][0]).upper()}: {explain(fault)}"
                for fault in error.errors(include_input=False, include_url=False)
            ]
        )


def explain(fault: Any) -> str:
    if fault["type"] == "missing":
        name = str(fault["loc"][0])
        return f"is not set; set it, or give it as the credential {credential_name(name)!r}"
    return fault["msg"].removeprefix("Value error, ")


def credential_name(field: str) -> str:
    """`jwt_secret` is the credential `jwt-secret`."""
    return field.lower().replace("_", "-")


def is_secret(field: FieldInfo) -> bool:
    def mentions(annotation: Any) -> bool:
        # Also inside `Annotated[SecretStr, …] | None`.
        return annotation is SecretStr or any(map(mentions, get_args(annotation)))

    return mentions(field.annotation)


class CredentialsSource(PydanticBaseSettingsSource):
    """Files that systemd's `LoadCredential=` has placed; nothing where there is no such folder."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder or not is_secret(field):
            return None, field_name, False
        file = Path(folder) / credential_name(field_name)
        try:
            # Editors end a file with a newline; no secret of ours ends with one.
            return file.read_text().rstrip("\n") or None, field_name, False
        except FileNotFoundError:
            return None, field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError([f"{field_name.upper()}: cannot read {file}: {error}"]) from None

    def __call__(self) -> dict[str, Any]:
        found = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, name)
            if value is not None:
                found[key] = value
        return found


class Group(BaseSettings):
    """Settings of one subject: each can be read alone, and `Settings` is all of them."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        # Templates leave a variable empty where it is not used.
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, CredentialsSource(settings_cls)

    @classmethod
    def read(cls) -> Self:
        """From the environment and the credentials; `SettingsError` lists every fault."""
        try:
            return cls()
        except ValidationError as error:
            raise SettingsError.of(error) from None
