"""Runs the programs of a built image as a host would: read-only root, own user, fresh /run and /tmp.

`Image` is an image as `deploy build` made it, `Service` one run of it. Tests of the definitions in
`images/` use them; they need root, as the machines of the other tests do.
"""

from .image import Image
from .ports import free_port
from .render import render, settings
from .service import Service
from .wait import eventually

__all__ = ["Image", "Service", "eventually", "free_port", "render", "settings"]
