"""Addresses of tours' pictures, which lie in the bucket of assets.

We sign an address and the client talks to S3, so no picture passes through this service. With
`ASSETS_URL`, a content network in front of the bucket, reading needs no signature.
"""

from functools import cached_property
from typing import Any

import anyio.to_thread

from spirit.settings import Settings
from spirit.tours.tour import Picture

JPEG = "image/jpeg"


class Pictures:
    def __init__(self, settings: Settings, bucket: str) -> None:
        self.settings = settings
        self.bucket = bucket
        self.seconds = int(settings.picture_url_ttl.total_seconds())

    @classmethod
    def configured(cls, settings: Settings) -> "Pictures | None":
        bucket = settings.s3_assets_bucket
        return cls(settings, bucket) if bucket else None

    @cached_property
    def client(self) -> Any:
        """Loaded when first needed: a third of a second and 20 MB for each worker."""
        import boto3
        from botocore.config import Config

        key, secret = self.settings.aws_access_key_id, self.settings.aws_secret_access_key
        return boto3.session.Session().client(
            "s3",
            region_name=self.settings.aws_region,
            endpoint_url=self.settings.aws_endpoint_url,
            # Without a key: the role of the host that we run on.
            aws_access_key_id=key.get_secret_value() if key else None,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            config=Config(signature_version="s3v4", connect_timeout=2, read_timeout=2),
        )

    def key(self, tour_id: str) -> str:
        return f"tours/{tour_id}.jpg"

    async def to_read(self, tour_id: str) -> Picture:
        if base := self.settings.assets_url:
            url = f"{base.rstrip('/')}/{self.key(tour_id)}"
            return Picture(url=url, expires_in=None)
        return await self.signed("get_object", tour_id)

    async def to_write(self, tour_id: str) -> Picture:
        return await self.signed("put_object", tour_id, ContentType=JPEG)

    async def signed(self, action: str, tour_id: str, **more: str) -> Picture:
        def sign() -> str:
            parameters = {"Bucket": self.bucket, "Key": self.key(tour_id), **more}
            return self.client.generate_presigned_url(action, parameters, self.seconds)

        # Signing computes, but the role's key may have to be fetched first.
        return Picture(url=await anyio.to_thread.run_sync(sign), expires_in=self.seconds)
